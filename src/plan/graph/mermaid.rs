//! The graph in the language of Mermaid, which Markdown pages of code hosts draw.

use std::fmt::Write as _;

use super::Graph;

/// Writes the graph as a Mermaid flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    let (mut cached, mut partly) = (Vec::new(), Vec::new());
    for (index, shown) in graph.boxes.iter().enumerate() {
        // A name may be a word of the language (`end`), a number is none.
        let (name, kind) = (quoted(&shown.name), shown.kind.as_str());
        let mut label = format!("{name}<br/>{kind} ×{}", shown.count);
        if shown.cached > 0 {
            let _ = write!(label, "<br/>{}", shown.cached());
            let list = if shown.cached == shown.count { &mut cached } else { &mut partly };
            list.push(format!("s{index}"));
        }
        let _ = writeln!(out, "  s{index}[\"{label}\"]");
    }
    for (index, shown) in graph.boxes.iter().enumerate() {
        for (role, input) in &shown.inputs {
            let _ = writeln!(out, "  s{input} -->|\"{}\"| s{index}", quoted(role));
        }
    }
    for (class, colour, members) in [("cached", "#cfe8cf", cached), ("partly", "#eef6e0", partly)] {
        if !members.is_empty() {
            let _ = writeln!(out, "  classDef {class} fill:{colour},stroke:#666,color:#000");
            let _ = writeln!(out, "  class {} {class}", members.join(","));
        }
    }
    out
}

/// A text between double quotes, as Mermaid reads it: HTML, with `#` in place of `&`.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            '`' => out.push_str("#96;"),
            // Two of these start a comment or a directive, also between quotes; `\n` breaks the line.
            '%' => out.push_str("#37;"),
            '\\' => out.push_str("#92;"),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::graph;
    use super::*;

    #[test]
    fn names_that_mean_something_in_mermaid_are_escaped() {
        let mut graph = graph(&["end", "<a> \"#1\" %%{\\n} < end as te|acher"]);
        graph.boxes[1].cached = 2;
        expect![[r##"
            flowchart LR
              s0["end<br/>prune ×2"]
              s1["#lt;a#gt; #quot;#35;1#quot; #37;#37;{#92;n}<br/>prune ×2<br/>cached"]
              s0 -->|"te|acher"| s1
              classDef cached fill:#cfe8cf,stroke:#666,color:#000
              class s1 cached
        "##]]
        .assert_eq(&mermaid(&graph));
    }
}
