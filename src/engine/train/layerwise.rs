//! Training by layers: their learning rates, and the epochs from which they are trained.

use std::collections::{BTreeMap, BTreeSet};

use graftwork::experiment::spec::{LayerRates, Unfreeze};
use graftwork::network::{Network, most_exact};
use indexmap::IndexMap;

use crate::model::{Model, Parameter};

/// The factor on the learning rate of each layer of a network.
///
/// - stated: factors by pattern, which count before those of `rates`
pub fn factors(
    rates: &LayerRates,
    stated: &IndexMap<String, f64>,
    network: &Network,
) -> IndexMap<String, f64> {
    let (depths, heads) = (network.depths(), network.heads());
    let layers = network.nodes.iter().enumerate().filter(|(_, node)| !node.op.params().is_empty());
    let factors = layers.map(|(index, node)| {
        let factor = most_exact(stated, &node.name).copied();
        let factor = factor.unwrap_or_else(|| rates.factor(depths[index], heads.contains(&index)));
        (node.name.clone(), factor)
    });
    factors.collect()
}

/// From which epoch on each layer is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfreezing {
    /// By node, 1-based; `None` for never. A node that is not in here stays as it is.
    from_epoch: BTreeMap<usize, Option<u32>>,
}

impl Unfreezing {
    /// What is trained when, of all that a network has left to train.
    pub fn new(settings: &Unfreeze, model: &Model) -> Self {
        let network = model.network();
        let (depths, heads) = (network.depths(), network.heads());
        let trained = model.params().values().filter(|parameter| parameter.is_trained());
        let nodes: BTreeSet<usize> = trained.map(|parameter| parameter.node).collect();
        let groups: BTreeSet<u32> = nodes.iter().map(|&node| depths[node]).collect();
        let from_epoch = |&node: &usize| {
            let is_head = heads.contains(&node);
            match settings {
                Unfreeze::Never(_) => is_head.then_some(1),
                Unfreeze::AtOnce(settings) if !is_head => Some(1 + settings.after_epochs),
                Unfreeze::AtOnce(_) => Some(1),
                Unfreeze::Gradual(settings) => {
                    let above = groups.range(..depths[node]).count() as u32;
                    Some(1 + above.saturating_mul(settings.every_epochs))
                }
            }
        };
        Self { from_epoch: nodes.iter().map(|node| (*node, from_epoch(node))).collect() }
    }

    /// Freezes and thaws layers as an epoch (1-based) has them; their batch-norm keeps its statistics while
    /// they are frozen.
    pub fn apply(&self, model: &mut Model, epoch: u32) {
        for parameter in model.params_mut().values_mut() {
            if let Some(from) = self.from_epoch.get(&parameter.node) {
                parameter.frozen = from.is_none_or(|from| from > epoch);
            }
        }
        model.update_gradient_flags();
    }

    /// Freezes for good what is never trained.
    pub fn apply_for_good(&self, model: &mut Model) {
        self.apply(model, u32::MAX);
    }

    /// Names of the layers by the epoch from which they are trained.
    pub fn groups<'a>(&self, network: &'a Network) -> BTreeMap<u32, Vec<&'a str>> {
        let mut groups: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for (&node, from) in &self.from_epoch {
            if let Some(from) = from {
                groups.entry(*from).or_default().push(&network.nodes[node].name);
            }
        }
        groups
    }
}

/// Number of values that training changes; what is masked is not.
pub fn trained_params(model: &Model) -> u64 {
    let trained = model.params().values().filter(|parameter| parameter.is_trained());
    let count = |parameter: &Parameter| match &parameter.mask {
        Some(mask) => mask.count_nonzero(None::<i64>).int64_value(&[]) as u64,
        None => parameter.value.numel() as u64,
    };
    trained.map(count).sum()
}

#[cfg(test)]
mod tests {
    use graftwork::network::op::{BatchNorm, Conv2d, Flatten, Linear, Relu};
    use serde_json::{Value, json};
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// conv1 bn1 conv2 fc.
    fn model() -> Model {
        let mut network = Network::new("test", &[1, 3, 3]);
        network.push("conv1", Conv2d::new(1, 2, 2));
        network.push("bn1", BatchNorm::new(2));
        network.push("relu1", Relu {});
        network.push("conv2", Conv2d::new(2, 3, 2));
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(3, 2));
        Model::new(network, 1, Device::Cpu)
    }

    fn check_factors(rates: Value, stated: Value, expected: [(&str, f64); 4]) {
        let rates: LayerRates = serde_json::from_value(rates).unwrap();
        let stated = serde_json::from_value(stated).unwrap();
        let found = factors(&rates, &stated, model().network());
        assert_eq!(found.len(), 4);
        for (layer, factor) in expected {
            assert!((found[layer] - factor).abs() < 1e-12, "{layer}: {}", found[layer]);
        }
    }

    #[test]
    fn rates_are_by_depth_and_stated_factors_count_before_them() {
        let (first, second) = (1.0 / 2.6, 1.0 / 6.76);
        let all = [("fc", 1.0), ("conv2", first), ("bn1", second), ("conv1", second)];
        check_factors(json!({"discriminative": {}}), json!({}), all);
        let stated = json!({"bn*": 0.0, "f*": 3.0});
        let all = [("fc", 3.0), ("conv2", 0.5), ("bn1", 0.0), ("conv1", 0.25)];
        check_factors(json!({"decay": {"factor": 0.5}}), stated, all);
        let all = [("fc", 1.0), ("conv2", 0.1), ("bn1", 0.1), ("conv1", 0.1)];
        check_factors(json!({"backbone": {}}), json!({}), all);
    }

    /// The layers that are trained in each of the first epochs.
    #[track_caller]
    fn check(settings: Value, frozen: &[&str], expected: &[&str]) {
        let mut model = model();
        let frozen: Vec<String> = frozen.iter().map(|&name| name.to_owned()).collect();
        super::super::freeze(&mut model, &frozen);
        let unfreezing = Unfreezing::new(&serde_json::from_value(settings).unwrap(), &model);
        unfreezing.apply_for_good(&mut model);
        for (epoch, expected) in (1..).zip(expected) {
            unfreezing.apply(&mut model, epoch);
            let mut names = Vec::new();
            for parameter in model.params().values() {
                assert_eq!(parameter.value.requires_grad(), parameter.is_trained());
                let name = model.network().nodes[parameter.node].name.as_str();
                if parameter.is_trained() && !names.contains(&name) {
                    names.push(name);
                }
            }
            assert_eq!(names.join(" "), *expected, "epoch {epoch}");
        }
    }

    #[test]
    fn layers_thaw_from_the_top() {
        let all = "conv1 bn1 conv2 fc";
        check(json!({"gradual": {}}), &[], &["fc", "conv2 fc", all, all]);
        check(
            json!({"gradual": {"every-epochs": 2}}),
            &[],
            &["fc", "fc", "conv2 fc", "conv2 fc", all],
        );
        check(json!({"at-once": {"after-epochs": 2}}), &[], &["fc", "fc", all]);
        check(json!({"never": {}}), &[], &["fc", "fc", "fc"]);
    }

    #[test]
    fn frozen_layers_are_no_group() {
        check(json!({"gradual": {}}), &["fc", "bn1"], &["conv2", "conv1 conv2", "conv1 conv2"]);
        check(json!({"at-once": {}}), &["conv2"], &["fc", "conv1 bn1 fc"]);
    }

    #[test]
    fn groups_are_named_by_their_first_epoch() {
        let model = model();
        let settings = serde_json::from_value(json!({"gradual": {"every-epochs": 3}})).unwrap();
        let groups = Unfreezing::new(&settings, &model).groups(model.network());
        let expected = [(1, vec!["fc"]), (4, vec!["conv2"]), (7, vec!["conv1", "bn1"])];
        assert_eq!(groups, BTreeMap::from(expected));
    }

    #[test]
    fn masked_and_frozen_values_are_not_trained() {
        let mut model = model();
        // 2·1·4 + 2, 2·2, 3·2·4 + 3, 2·3 + 2.
        assert_eq!(trained_params(&model), 10 + 4 + 27 + 8);
        let mask = Tensor::from_slice(&[1_f32, 0.0, 0.0, 0.0, 1.0, 1.0]).view([2, 3]);
        model.params_mut()["fc.weight"].mask = Some(mask.to_kind(Kind::Float));
        super::super::freeze(&mut model, &["conv1".to_owned()]);
        assert_eq!(trained_params(&model), 4 + 27 + 5);
    }
}
