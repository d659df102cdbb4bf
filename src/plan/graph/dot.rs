//! The graph in the language of Graphviz.

use std::fmt::Write as _;

use super::Graph;

/// Writes the graph for `dot -Tsvg` and its like; `name` is the graph's.
pub fn dot(graph: &Graph, name: &str) -> String {
    let mut out = format!("digraph {} {{\n  rankdir=LR;\n", quoted(name));
    out.push_str(
        "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n",
    );
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    for shown in &graph.boxes {
        let kind = shown.kind.as_str();
        let mut lines = vec![shown.name.clone(), format!("{kind} ×{}", shown.count)];
        lines.extend(Some(shown.cached()).filter(|cached| !cached.is_empty()));
        let colour = match shown.cached {
            0 => "",
            cached if cached == shown.count => ", fillcolor=\"#cfe8cf\"",
            _ => ", fillcolor=\"#eef6e0\"",
        };
        let (id, label) = (quoted(&shown.id), quoted(&lines.join("\n")));
        let _ = writeln!(out, "  {id} [label={label}{colour}];");
    }
    for shown in &graph.boxes {
        for (role, input) in &shown.inputs {
            let (input, id) = (quoted(&graph.boxes[*input].id), quoted(&shown.id));
            let _ = writeln!(out, "  {input} -> {id} [label={}];", quoted(role));
        }
    }
    out.push_str("}\n");
    out
}

/// A text in double quotes, as Graphviz reads it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::graph;
    use super::*;

    #[test]
    fn names_that_mean_something_in_dot_are_quoted() {
        let mut graph = graph(&["graph", "a\"b\\ < graph as te->acher"]);
        graph.boxes[0].cached = 1;
        graph.boxes[1].cached = 2;
        expect![[r##"
            digraph "digits" {
              rankdir=LR;
              node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];
              edge [fontname="sans-serif", fontsize=10];
              "graph" [label="graph\nprune ×2\n1 cached", fillcolor="#eef6e0"];
              "a\"b\\" [label="a\"b\\\nprune ×2\ncached", fillcolor="#cfe8cf"];
              "graph" -> "a\"b\\" [label="te->acher"];
            }
        "##]]
        .assert_eq(&dot(&graph, "digits"));
    }
}
