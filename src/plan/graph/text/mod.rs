//! The graph drawn in a terminal: a row for each box, lines on the left from what is read to its readers.
//!
//! ```text
//! ○ dense       pretrain   ×3  by seed
//! ├─○ score     evaluate   ×3  by seed
//! │
//! ○ thin        prune     ×18  by criterion, sparsity, seed
//! │
//! ○ tuned       finetune  ×18  by criterion, sparsity, seed
//! ```
//!
//! A line stands in a column from the box that it leaves to the last one that reads it. The readers with
//! most below them come last and go straight on, so that a long chain stays in its column, and a tree of n
//! boxes needs no more than log n columns.

mod lines;
mod order;

use indexmap::IndexMap;

use super::{Graph, GraphBox};
use lines::Lines;
use order::Edges;

/// The lines that belong to a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The index of the box.
    pub shown: usize,
    /// What goes on a line of its own before it, if anything.
    pub above: Option<String>,
    /// What stands before the name, the mark of the box in it: `├─○ `.
    pub prefix: String,
    /// What stands before further lines of the box.
    pub below: String,
    /// Whether lines lead to all that it reads.
    pub is_joined: bool,
}

/// Arranges a graph as rows, every box below what it reads.
pub fn rows(graph: &Graph) -> Vec<Row> {
    let edges = Edges::new(graph);
    let mut lines = Lines::new(&edges);
    edges.order().into_iter().map(|shown| lines.row(graph, shown)).collect()
}

/// Draws a graph with the names, kinds and numbers of its boxes, no wider than `width` where names allow it.
pub fn text(graph: &Graph, width: usize) -> Vec<String> {
    let rows = rows(graph);
    let widest = |text: &dyn Fn(&GraphBox) -> String| {
        graph.boxes.iter().map(|shown| length(&text(shown))).max().unwrap_or(0)
    };
    let several = graph.boxes.iter().any(|shown| shown.count != 1);
    let count =
        |shown: &GraphBox| if several { format!("×{}", shown.count) } else { String::new() };
    let kinds = widest(&|shown| shown.kind.as_str().to_owned());
    let (counts, cached) = (widest(&count), widest(&GraphBox::cached));
    let names = rows.iter().map(|row| length(&row.prefix) + length(&graph.boxes[row.shown].name));
    let names = names.max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in &rows {
        let shown = &graph.boxes[row.shown];
        lines.extend(row.above.clone());
        let name = format!("{}{}", row.prefix, shown.name);
        let mut line = format!("{name:names$}  {:kinds$}", shown.kind.as_str());
        for (text, column) in [(count(shown), counts), (shown.cached(), cached)] {
            if column > 0 {
                line = format!("{line}  {text:>column$}");
            }
        }
        let notes = notes(graph, row);
        let fits = length(&line) + 2 + length(&notes) <= width;
        if fits {
            line = format!("{line}  {notes}");
        }
        lines.push(line.trim_end().to_owned());
        if !fits && !notes.is_empty() {
            let indent = format!("{:1$}", row.below, length(&row.prefix) + 2);
            let room = width.saturating_sub(length(&indent));
            lines.extend(wrapped(&notes, room).iter().map(|part| format!("{indent}{part}")));
        }
    }
    lines
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// What the lines do not say: roles, inputs too many to draw, what the stages differ in.
fn notes(graph: &Graph, row: &Row) -> String {
    let shown = &graph.boxes[row.shown];
    let is_usual = shown.inputs.len() < 2 && shown.inputs.iter().all(|(role, _)| role == "from");
    let mut notes: Vec<String> = Vec::new();
    if !(is_usual && row.is_joined) {
        let mut roles: IndexMap<&str, Vec<&str>> = IndexMap::new();
        for (role, input) in &shown.inputs {
            roles.entry(role).or_default().push(&graph.boxes[*input].name);
        }
        let said = roles.iter().map(|(role, names)| match names.as_slice() {
            // The inputs of commands are often called as the stages are.
            [name] if name == role => (*role).to_owned(),
            names => format!("{role} {}", names.join(" or ")),
        });
        notes.push(said.collect::<Vec<_>>().join(", "));
    }
    if !shown.varies.is_empty() {
        notes.push(format!("by {}", shown.varies.join(", ")));
    }
    notes.join("; ")
}

/// Breaks a text at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if used + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
                used += 1 + length(word);
            }
            _ => {
                lines.push(word.to_owned());
                used = length(word);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::tests::graph;
    use super::*;

    #[track_caller]
    fn check(width: usize, lines: &[&str], expected: &Expect) {
        let drawn = text(&graph(lines), width);
        expected.assert_eq(&(drawn.join("\n") + "\n"));
    }

    #[test]
    fn a_chain_goes_straight_down() {
        check(
            80,
            &["a", "b < a", "c < b"],
            &expect![[r#"
            ○ a  prune  ×2
            │
            ○ b  prune  ×2
            │
            ○ c  prune  ×2
        "#]],
        );
    }

    #[test]
    fn leaves_branch_off_and_what_goes_on_comes_last() {
        let lines = ["a", "b < a", "a1 < a", "c < b", "c1 < c", "c2 < c", "lone", "x", "y < x"];
        check(
            80,
            &lines,
            &expect![[r#"
            ○ a     prune  ×2
            ├─○ a1  prune  ×2
            │
            ○ b     prune  ×2
            │
            ○ c     prune  ×2
            ├─○ c1  prune  ×2
            ╰─○ c2  prune  ×2

            ○ lone  prune  ×2

            ○ x     prune  ×2
            │
            ○ y     prune  ×2
        "#]],
        );
    }

    #[test]
    fn several_inputs_are_joined_and_said() {
        let lines = [
            "big",
            "dense",
            "thin < dense",
            "tuned < thin, big as teacher",
            "score < tuned",
            "late < big, dense as teacher",
        ];
        check(
            80,
            &lines,
            &expect![[r#"
            ○ big       prune  ×2
            │ ○ dense   prune  ×2
            ├─┼─○ late  prune  ×2  from big, teacher dense
            │ │
            │ ○ thin    prune  ×2
            │ │
            ╰─○ tuned   prune  ×2  from thin, teacher big
              │
              ○ score   prune  ×2
        "#]],
        );
    }

    #[test]
    fn lines_cross() {
        let lines = ["a", "b < a", "c < a, b as x", "d < b, a as y", "e < c, d as x, a as y"];
        check(
            80,
            &lines,
            &expect![[r#"
            ○ a        prune  ×2
            ├─○ b      prune  ×2
            ├─┼─○ d    prune  ×2  from b, y a
            ├─┴─┼─○ c  prune  ×2  from a, x b
            │   │ │
            ╰───┴─○ e  prune  ×2  from c, x d, y a
        "#]],
        );
    }

    #[test]
    fn long_notes_go_below() {
        let third = "third < first, second as teacher, first as rewind-to";
        check(
            36,
            &["first", "second", third, "after < third"],
            &expect![[r#"
            ○ first     prune  ×2
            │ ○ second  prune  ×2
            │ │
            ○─╯ third   prune  ×2
            │     from first, teacher second,
            │     rewind-to first
            │
            ○ after     prune  ×2
        "#]],
        );
    }

    #[test]
    fn a_role_called_as_its_stage_is_said_once() {
        check(
            80,
            &["a", "b", "c < a as a, b as from"],
            &expect![[r#"
            ○ a    prune  ×2
            │ ○ b  prune  ×2
            │ │
            ○─╯ c  prune  ×2  a, from b
        "#]],
        );
    }

    #[test]
    fn names_that_read_each_other_in_turn_are_drawn_once() {
        check(
            80,
            &["a < c", "b < a", "c < b"],
            &expect![[r#"
            ○ a  prune  ×2  from c
            │
            ○ b  prune  ×2
            │
            ○ c  prune  ×2
        "#]],
        );
    }

    #[test]
    fn what_has_no_column_is_said_in_words() {
        let ends: Vec<String> = (0..20).map(|index| format!("end{index}")).collect();
        let inputs: Vec<String> = (0..20).map(|index| format!("end{index} as i{index}")).collect();
        let all = format!("all < {}", inputs.join(", "));
        let lines: Vec<&str> = ends.iter().chain([&all]).map(String::as_str).collect();
        let drawn = text(&graph(&lines), 80).join("\n");
        assert!(drawn.contains("i19 end19"), "{drawn}");
    }

    /// 6,000 boxes, of which box n reads what `input` says.
    #[track_caller]
    fn check_linear(input: &dyn Fn(usize) -> Option<usize>) {
        let template = graph(&["s"]).boxes.remove(0);
        let boxes = (0..6000).map(|index| GraphBox {
            name: format!("s{index}"),
            inputs: input(index).map(|input| ("from".to_owned(), input)).into_iter().collect(),
            ..template.clone()
        });
        let lines = text(&Graph { boxes: boxes.collect() }, 80);
        assert!(lines.len() <= 12_000, "{}", lines.len());
        let longest = lines.iter().map(|line| length(line)).max();
        assert!(longest < Some(80), "{longest:?}");
    }

    #[test]
    fn a_chain_of_thousands_is_narrow() {
        check_linear(&|index| index.checked_sub(1));
    }

    #[test]
    fn a_chain_with_a_leaf_at_each_link_is_narrow() {
        check_linear(&|index| index.checked_sub(1 + index % 2));
    }

    #[test]
    fn a_star_is_narrow() {
        check_linear(&|index| (index > 0).then_some(0));
    }

    #[test]
    fn pairs_that_are_far_apart_are_narrow() {
        check_linear(&|index| index.checked_sub(3000));
    }
}
