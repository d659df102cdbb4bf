//! A network in the language of Graphviz.

use std::fmt::Write as _;

use super::{Extents, Network, ShapeError};

/// Writes the network for `dot -Tsvg` and its like: a box for each operation, and what it puts out.
///
/// # Errors
/// As [`Network::shapes`].
pub fn dot(network: &Network) -> Result<String, ShapeError> {
    let layers = network.layers()?;
    // Rust's quoting is that of Graphviz for what names of layers and operations are made of.
    let mut out = format!("digraph {:?} {{\n", network.arch);
    out.push_str(
        "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n",
    );
    for layer in &layers {
        let mut lines = vec![layer.name.clone()];
        // The name of many an operation is in that of its node: `relu1`.
        if !layer.name.contains(layer.op) {
            lines.push(layer.op.to_owned());
        }
        lines.push(Extents(&layer.output).to_string());
        let colour = if layer.params > 0 { ", fillcolor=\"#dbe7f5\"" } else { "" };
        let _ = writeln!(out, "  {:?} [label={:?}{colour}];", layer.name, lines.join("\n"));
    }
    for node in &network.nodes {
        for &input in &node.inputs {
            let _ = writeln!(out, "  {:?} -> {:?};", network.nodes[input].name, node.name);
        }
    }
    out.push_str("}\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::network::op::{Add, Conv2d, Relu};

    #[test]
    fn branches_are_drawn_where_they_leave_and_meet() {
        let mut network = Network::new("small", &[3, 4, 4]);
        let stem = network.push("stem", Conv2d::new(3, 2, 1));
        let relu = network.push("relu", Relu {});
        network.push_from("sum", Add {}, &[relu, stem]);
        expect![[r##"
            digraph "small" {
              node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];
              "input" [label="input\n3×4×4"];
              "stem" [label="stem\nconv2d\n2×4×4", fillcolor="#dbe7f5"];
              "relu" [label="relu\n2×4×4"];
              "sum" [label="sum\nadd\n2×4×4"];
              "input" -> "stem";
              "stem" -> "relu";
              "relu" -> "sum";
              "stem" -> "sum";
            }
        "##]]
        .assert_eq(&dot(&network).unwrap());
    }
}
