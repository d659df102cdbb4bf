//! How deep layers lie, counted from the output: what fine-tuning by layers goes by.

use super::{Network, Op};

impl Network {
    /// How many layers lie between each node and the output, on the longest way: 0 for the last layer and for
    /// all heads, 1 for what the last layer reads, and so on.
    ///
    /// A layer is an operation with parameters, but for normalisation and the vectors of places, which count
    /// with the layer that they follow. Branches side by side end at one depth: a shortcut's convolution has
    /// that of the last one beside it. Of a program, of which no layer is known, all is 0.
    pub fn depths(&self) -> Vec<u32> {
        let heads = self.heads();
        let mut depths = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if heads.contains(&index) {
                depths[index] = 0;
            }
            let depth = depths[index] + u32::from(is_layer(&node.op));
            for &input in &node.inputs {
                depths[input] = depths[input].max(depth);
            }
        }
        depths
    }
}

fn is_layer(op: &Op) -> bool {
    let goes_along = matches!(op, Op::BatchNorm(_) | Op::LayerNorm(_) | Op::Positions(_));
    !goes_along && !op.params().is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::network::zoo;

    /// The layers of an architecture from the output on, those of one depth together.
    fn groups(model: Value, input: &[u32]) -> Vec<String> {
        let model = serde_json::from_value(model).unwrap();
        let network = zoo::build(&model, input, 10).unwrap();
        let depths = network.depths();
        let deepest = *depths.iter().max().unwrap();
        let groups = (0..=deepest).map(|depth| {
            let nodes = network.nodes.iter().zip(&depths);
            let nodes = nodes.filter(|(node, at)| **at == depth && !node.op.params().is_empty());
            nodes.map(|(node, _)| node.name.as_str()).collect::<Vec<_>>().join(" ")
        });
        groups.filter(|group| !group.is_empty()).collect()
    }

    #[test]
    fn a_chain_is_a_layer_after_another_and_normalisation_goes_along() {
        let mlp = json!({"mlp": {"hidden": [8, 4], "batch-norm": true}});
        assert_eq!(groups(mlp, &[1, 4, 4]), ["fc3", "fc2 bn2", "fc1 bn1"]);
    }

    #[test]
    fn a_shortcut_has_the_depth_of_the_layer_that_it_ends_beside() {
        let found = groups(json!({"resnet18": {}}), &[3, 32, 32]);
        assert_eq!(found.len(), 18, "as the name says: {found:?}");
        assert_eq!(found[0], "fc");
        assert_eq!(
            found[3],
            "layer4.0.conv2 layer4.0.bn2 layer4.0.downsample.0 layer4.0.downsample.1"
        );
        assert_eq!(found[17], "conv1 bn1");
    }

    #[test]
    fn what_is_read_is_no_less_deep_than_its_reader() {
        for model in
            ["densenet121", "mobilenet-v2", "shufflenet-v2", "vgg16", "resnet50", "unet", "fcn8s"]
        {
            let model = serde_json::from_value(json!({ model: {} })).unwrap();
            let network = zoo::build(&model, &[3, 64, 64], 10).unwrap();
            let (depths, heads) = (network.depths(), network.heads());
            assert!(heads.iter().all(|&head| depths[head] == 0));
            for (index, node) in network.nodes.iter().enumerate() {
                for &input in node.inputs.iter().filter(|input| !heads.contains(input)) {
                    let least = depths[index] + u32::from(is_layer(&node.op));
                    assert!(depths[input] >= least, "{}: {}", network.arch, node.name);
                }
            }
        }
    }
}
