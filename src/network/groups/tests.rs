use super::*;
use crate::network::Op;
use crate::network::op::{
    self, AdaptiveAvgPool2d, Add, BatchNorm, ChannelShuffle, Concat, Conv2d, ConvTranspose2d,
    Flatten, LayerNorm, Linear, MaxPool2d, Mul, PadChannels, Relu, Sigmoid,
};

#[track_caller]
fn check(unit: &Unit, expected: &[(&str, usize, &[u32], Part)]) {
    let slices: Vec<(&str, usize, &[u32], Part)> =
        unit.slices().map(|slice| (slice.param, slice.axis, slice.indices, slice.part)).collect();
    assert_eq!(slices, expected);
}

/// The node and the axis of a group's activations.
fn tap(group: &Group) -> (usize, usize) {
    let activation = group.activation.unwrap();
    (activation.node, activation.axis)
}

#[test]
fn a_channel_takes_its_normalisation_and_the_columns_behind_flatten() {
    let mut network = Network::new("test", &[1, 6, 6]);
    network.push("conv", Conv2d::new(1, 3, 3));
    network.push("bn", BatchNorm::new(3));
    network.push("relu", Relu {});
    network.push("pool", MaxPool2d::new(2));
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(12, 2));
    let groups = groups(&network).unwrap();
    assert_eq!(groups.len(), 1, "the logits are pinned");
    assert_eq!((groups[0].producers.as_slice(), tap(&groups[0])), (&[1][..], (3, 0)));
    assert_eq!(groups[0].units.len(), 3);
    check(
        &groups[0].units[1],
        &[
            ("conv.bias", 0, &[1], Part::Makes),
            ("conv.weight", 0, &[1], Part::Makes),
            ("bn.bias", 0, &[1], Part::Carries),
            ("bn.running_mean", 0, &[1], Part::Carries),
            ("bn.running_var", 0, &[1], Part::Carries),
            ("bn.weight", 0, &[1], Part::Carries),
            ("fc.weight", 1, &[4, 5, 6, 7], Part::Reads),
        ],
    );
}

#[test]
fn a_feature_of_an_embedding_is_a_column_that_goes_through_a_sequence() {
    let mut network = Network::of_words("test", &[5], 9);
    network.push("embedding", op::Embedding { rows: 9, features: 2 });
    network.push("transpose", op::Transpose {});
    network.push("conv", op::Conv1d::new(2, 3, 3));
    network.push("relu", Relu {});
    network.push("back", op::Transpose {});
    network.push("pool", op::PoolSteps { how: op::StepPooling::Max });
    network.push("fc", Linear::new(3, 2));
    let groups = groups(&network).unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(tap(&groups[0]), (1, 1));
    check(
        &groups[0].units[1],
        &[("embedding.weight", 1, &[1], Part::Makes), ("conv.weight", 1, &[1], Part::Reads)],
    );
    assert_eq!(tap(&groups[1]), (4, 0));
    check(
        &groups[1].units[2],
        &[
            ("conv.bias", 0, &[2], Part::Makes),
            ("conv.weight", 0, &[2], Part::Makes),
            ("fc.weight", 1, &[2], Part::Reads),
        ],
    );
}

#[test]
fn a_recurrent_unit_is_its_gates_in_every_direction_and_what_reads_its_state() {
    let mut network = Network::new("test", &[1, 4, 6]);
    network.push("conv", Conv2d::new(1, 2, 3));
    network.push("columns", op::Columns {});
    network.push("gru", op::Gru { inputs: 4, hidden: 3, layers: 1, bidirectional: true });
    network.push("pool", op::PoolSteps { how: op::StepPooling::Mean });
    network.push("fc", Linear::new(6, 2));
    let groups = groups(&network).unwrap();
    assert_eq!(groups.len(), 2);
    check(
        &groups[0].units[1],
        &[
            ("conv.bias", 0, &[1], Part::Makes),
            ("conv.weight", 0, &[1], Part::Makes),
            ("gru.weight_ih_l0", 1, &[2, 3], Part::Reads),
            ("gru.weight_ih_l0_reverse", 1, &[2, 3], Part::Reads),
        ],
    );
    assert_eq!(groups[1].units[1].channels, [1, 4]);
    let rows: &[u32] = &[1, 4, 7];
    check(
        &groups[1].units[1],
        &[
            ("gru.bias_hh_l0", 0, rows, Part::Makes),
            ("gru.bias_hh_l0_reverse", 0, rows, Part::Makes),
            ("gru.bias_ih_l0", 0, rows, Part::Makes),
            ("gru.bias_ih_l0_reverse", 0, rows, Part::Makes),
            ("gru.weight_hh_l0", 0, rows, Part::Makes),
            ("gru.weight_hh_l0_reverse", 0, rows, Part::Makes),
            ("gru.weight_ih_l0", 0, rows, Part::Makes),
            ("gru.weight_ih_l0_reverse", 0, rows, Part::Makes),
            ("gru.weight_hh_l0", 1, &[1], Part::Reads),
            ("gru.weight_hh_l0_reverse", 1, &[1], Part::Reads),
            ("fc.weight", 1, &[1, 4], Part::Reads),
        ],
    );
}

#[test]
fn the_second_layer_of_a_recurrent_network_reads_the_first() {
    let mut network = Network::new("test", &[5, 2]);
    network.push("lstm", op::Lstm { inputs: 2, hidden: 3, layers: 2, bidirectional: true });
    network.push("pool", op::PoolSteps { how: op::StepPooling::Last });
    network.push("fc", Linear::new(6, 2));
    let groups = groups(&network).unwrap();
    let reads: Vec<(&str, &[u32])> = groups[0].units[2]
        .slices()
        .filter(|slice| slice.part == Part::Reads && slice.param.contains("_ih"))
        .map(|slice| (slice.param, slice.indices))
        .collect();
    let read: &[u32] = &[2, 5];
    assert_eq!(reads, [("lstm.weight_ih_l1", read), ("lstm.weight_ih_l1_reverse", read)]);
}

#[test]
fn a_head_is_its_projections_and_the_features_of_a_residual_stream_go_together() {
    let mut network = Network::of_words("test", &[5], 9);
    let embedded = network.push("embedding", op::Embedding { rows: 9, features: 4 });
    let attended = network.push("attention", op::Attention::new(4, 2));
    network.push_from("add", Add {}, &[embedded, attended]);
    network.push("norm", LayerNorm::new(4));
    network.push("pool", op::PoolSteps { how: op::StepPooling::Mean });
    network.push("fc", Linear::new(4, 2));
    let groups = groups(&network).unwrap();
    assert_eq!(summary(&network), [(vec!["embedding", "attention"], 4), (vec!["attention"], 2)]);
    assert_eq!(groups[1].activation, None);
    check(
        &groups[1].units[1],
        &[
            ("attention.in_proj_bias", 0, &[2, 3, 6, 7, 10, 11], Part::Makes),
            ("attention.in_proj_weight", 0, &[2, 3, 6, 7, 10, 11], Part::Makes),
            ("attention.out_proj.weight", 1, &[2, 3], Part::Reads),
        ],
    );
    check(
        &groups[0].units[3],
        &[
            ("embedding.weight", 1, &[3], Part::Makes),
            ("attention.out_proj.bias", 0, &[3], Part::Makes),
            ("attention.out_proj.weight", 0, &[3], Part::Makes),
            ("attention.in_proj_weight", 1, &[3], Part::Reads),
            ("norm.bias", 0, &[3], Part::Carries),
            ("norm.weight", 0, &[3], Part::Carries),
            ("fc.weight", 1, &[3], Part::Reads),
        ],
    );
    let dependencies = Dependencies::of(&network).unwrap();
    let [features, heads] = dependencies.groups() else { panic!("two groups") };
    let left = dependencies.without([&features.units[0], &heads.units[1]]).network;
    let attention = op::Attention { features: 3, heads: 1, head_width: Some(2) };
    assert_eq!(left.nodes[2].op, Op::from(attention));
    assert_eq!(left.nodes[4].op, Op::from(LayerNorm { zeros: 1, ..LayerNorm::new(3) }));
    assert_eq!(left.shapes().unwrap()[6], [2]);
}

#[test]
fn a_depthwise_convolution_carries_its_channels() {
    let mut network = Network::new("test", &[1, 6, 6]);
    network.push("one", Conv2d::new(1, 2, 1));
    network.push("depth", Conv2d { groups: 2, bias: false, ..Conv2d::new(2, 4, 3) });
    network.push("two", Conv2d { bias: false, ..Conv2d::new(4, 3, 1) });
    let groups = groups(&network).unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(tap(&groups[0]), (1, 0), "without a ReLU it is the producer's output");
    check(
        &groups[0].units[1],
        &[
            ("one.bias", 0, &[1], Part::Makes),
            ("one.weight", 0, &[1], Part::Makes),
            ("depth.weight", 0, &[2, 3], Part::Carries),
            ("two.weight", 1, &[2, 3], Part::Reads),
        ],
    );
}

#[test]
fn a_grouped_convolution_ties_the_same_place_of_every_group() {
    let mut network = Network::new("test", &[1, 6, 6]);
    network.push("one", Conv2d { bias: false, ..Conv2d::new(1, 4, 1) });
    network.push("grouped", Conv2d { groups: 2, bias: false, ..Conv2d::new(4, 6, 3) });
    network.push("relu", Relu {});
    network.push("two", Conv2d { bias: false, ..Conv2d::new(6, 3, 1) });
    let groups = groups(&network).unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!((groups[0].units.len(), groups[1].units.len()), (2, 3));
    assert_eq!(groups[0].units[0].channels, [0, 2]);
    check(
        &groups[0].units[1],
        &[("one.weight", 0, &[1, 3], Part::Makes), ("grouped.weight", 1, &[1], Part::Reads)],
    );
    assert_eq!(groups[1].units[2].channels, [2, 5]);
    check(
        &groups[1].units[2],
        &[("grouped.weight", 0, &[2, 5], Part::Makes), ("two.weight", 1, &[2, 5], Part::Reads)],
    );
}

/// Names of the producers of each group, and how many units it has.
fn summary(network: &Network) -> Vec<(Vec<&str>, usize)> {
    let name = |&node: &usize| network.nodes[node].name.as_str();
    let groups = groups(network).unwrap();
    groups
        .iter()
        .map(|group| (group.producers.iter().map(name).collect(), group.units.len()))
        .collect()
}

/// `input → stem → … → fc` around what a test puts between.
fn between(middle: impl FnOnce(&mut Network, usize)) -> Network {
    let mut network = Network::new("test", &[1, 6, 6]);
    let stem = network.push("stem", Conv2d { padding: 1, ..Conv2d::new(1, 4, 3) });
    middle(&mut network, stem);
    network.push("pool", AdaptiveAvgPool2d::global());
    let last = network.shapes().unwrap().last().unwrap()[0];
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(last, 2));
    network
}

#[test]
fn a_residual_sum_ties_the_layers_that_it_adds() {
    let network = between(|network, stem| {
        network.push("conv1", Conv2d::new(4, 3, 1));
        let conv2 = network.push("conv2", Conv2d::new(3, 4, 1));
        network.push_from("add", Add {}, &[conv2, stem]);
    });
    assert_eq!(summary(&network), [(vec!["stem", "conv2"], 4), (vec!["conv1"], 3)]);
    let groups = groups(&network).unwrap();
    let readers: Vec<&str> = groups[0].units[3].slices().map(|slice| slice.param).collect();
    let expected =
        ["stem.bias", "stem.weight", "conv1.weight", "conv2.bias", "conv2.weight", "fc.weight"];
    assert_eq!(readers, expected);
}

#[test]
fn joined_channels_keep_their_places() {
    let network = between(|network, stem| {
        let conv = network.push("conv", Conv2d::new(4, 2, 1));
        network.push_from("concat", Concat { axis: 0 }, &[conv, stem]);
    });
    assert_eq!(summary(&network), [(vec!["stem"], 4), (vec!["conv"], 2)]);
    let groups = groups(&network).unwrap();
    let fc = groups[0].units[1].slices().last().unwrap();
    assert_eq!((fc.param, fc.indices), ("fc.weight", &[3][..]));
}

#[test]
fn a_gate_goes_with_the_channel_that_it_scales() {
    let network = between(|network, stem| {
        network.push("squeeze", AdaptiveAvgPool2d::global());
        network.push("fc1", Conv2d::new(4, 2, 1));
        network.push("relu", Relu {});
        network.push("fc2", Conv2d::new(2, 4, 1));
        let gate = network.push("sigmoid", Sigmoid {});
        network.push_from("scale", Mul {}, &[stem, gate]);
    });
    assert_eq!(summary(&network), [(vec!["stem", "fc2"], 4), (vec!["fc1"], 2)]);
}

#[test]
fn one_gate_for_all_channels_stays() {
    let network = between(|network, stem| {
        let gate = network.push("gate", Conv2d::new(4, 1, 1));
        network.push_from("scale", Mul {}, &[stem, gate]);
    });
    assert_eq!(summary(&network), [(vec!["stem"], 4)]);
}

#[test]
fn a_shuffle_ties_the_same_place_of_every_run_and_moves_it() {
    let network = between(|network, _| {
        network.push("shuffle", ChannelShuffle { groups: 2 });
        let split = network.nodes.len() - 1;
        let left = network.push_from("left", op::Slice { axis: 0, from: 0, to: 1 }, &[split]);
        network.push_from("right", op::Slice { axis: 0, from: 1, to: 4 }, &[split]);
        let right = network.push("conv", Conv2d::new(3, 2, 1));
        network.push_from("concat", Concat { axis: 0 }, &[left, right]);
    });
    // 0 1 2 3 are dealt out as 0 2 1 3; 0 goes left, 2 1 3 right; {0, 2} and {1, 3} are tied.
    let groups = groups(&network).unwrap();
    assert_eq!(summary(&network), [(vec!["stem"], 2), (vec!["conv"], 2)]);
    check(
        &groups[0].units[0],
        &[
            ("stem.bias", 0, &[0, 2], Part::Makes),
            ("stem.weight", 0, &[0, 2], Part::Makes),
            ("conv.weight", 1, &[0], Part::Reads),
            ("fc.weight", 1, &[0], Part::Reads),
        ],
    );
    check(
        &groups[0].units[1],
        &[
            ("stem.bias", 0, &[1, 3], Part::Makes),
            ("stem.weight", 0, &[1, 3], Part::Makes),
            ("conv.weight", 1, &[1, 2], Part::Reads),
        ],
    );
}

#[test]
fn channels_of_zeros_are_no_units_until_something_is_added_to_them() {
    let padded = between(|network, _| {
        network.push("pad", PadChannels { before: 1, after: 0 });
    });
    assert_eq!(summary(&padded), [(vec!["stem"], 4)]);
    let added = between(|network, stem| {
        let pad = network.push("pad", PadChannels { before: 1, after: 0 });
        let conv = network.push_from("conv", Conv2d::new(4, 5, 1), &[stem]);
        network.push_from("add", Add {}, &[pad, conv]);
    });
    assert_eq!(summary(&added), [(vec!["stem", "conv"], 4), (vec!["conv"], 1)]);
}

#[test]
fn a_transposed_convolution_has_its_inputs_along_the_first_axis() {
    let mut network = Network::new("test", &[1, 3, 3]);
    network.push("one", Conv2d { bias: false, ..Conv2d::new(1, 2, 1) });
    network.push("up", ConvTranspose2d::new(2, 3, 2));
    network.push("two", Conv2d { bias: false, ..Conv2d::new(3, 1, 1) });
    let groups = groups(&network).unwrap();
    check(
        &groups[0].units[1],
        &[("one.weight", 0, &[1], Part::Makes), ("up.weight", 0, &[1], Part::Reads)],
    );
    check(
        &groups[1].units[2],
        &[
            ("up.bias", 0, &[2], Part::Makes),
            ("up.weight", 1, &[2], Part::Makes),
            ("two.weight", 1, &[2], Part::Reads),
        ],
    );
}

#[test]
fn what_would_change_others_by_going_stays() {
    let behind = |op: Op| {
        let mut network = Network::new("test", &[5, 3]);
        network.push("fc1", Linear::new(3, 4));
        network.push("between", op);
        network.push("norm", LayerNorm::new(4));
        network.push("fc2", Linear::new(4, 6));
        network.push("relu", Relu {});
        network.push("fc3", Linear::new(6, 2));
        network
    };
    let relu = behind(Relu {}.into());
    assert_eq!(summary(&relu), [(vec!["fc1"], 4), (vec!["fc2"], 6)]);
    // Zeros have a share of a softmax, and a sigmoid makes halves of them.
    for op in [Op::from(op::Softmax { axis: 1 }), Op::from(Sigmoid {})] {
        let network = behind(op);
        assert_eq!(summary(&network), [(vec!["fc2"], 6)]);
        let groups = groups(&network).unwrap();
        assert_eq!((groups[0].units.len(), tap(&groups[0]).1), (6, 1));
        let fc3 = groups[0].units[2].slices().last().unwrap();
        assert_eq!((fc3.param, fc3.axis, fc3.indices), ("fc3.weight", 1, &[2][..]));
    }
}

#[test]
fn a_layer_across_positions_keeps_the_features_of_all_of_them() {
    let mut network = Network::new("test", &[1, 2, 3]);
    network.push("conv", Conv2d::new(1, 4, 1)); // [4, 2, 3]
    network.push("rows", Linear::new(3, 5)); // over the width, for each channel
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(40, 2));
    let groups = groups(&network).unwrap();
    assert_eq!(summary(&network), [(vec!["rows"], 5)]);
    let fc = groups[0].units[1].slices().last().unwrap();
    assert_eq!(fc.indices, [1, 6, 11, 16, 21, 26, 31, 36]);
}

#[test]
fn a_domain_specific_layer_is_cut_in_every_copy() {
    let mut network = Network::new("test", &[2]);
    network.push("fc1", Linear { bias: false, ..Linear::new(2, 2) });
    network.push("fc2", Linear { bias: false, ..Linear::new(2, 2) });
    network.domains = vec!["mnist".to_owned(), "usps".to_owned()];
    network.nodes[1].specific = true;
    let groups = groups(&network).unwrap();
    check(
        &groups[0].units[0],
        &[
            ("private.mnist.fc1.weight", 0, &[0], Part::Makes),
            ("private.usps.fc1.weight", 0, &[0], Part::Makes),
            ("fc2.weight", 1, &[0], Part::Reads),
        ],
    );
}

#[test]
fn the_input_and_the_output_are_in_no_group() {
    let mut network = Network::new("test", &[3]);
    network.push("fc", Linear::new(3, 4));
    assert_eq!(groups(&network).unwrap(), []);
}

#[test]
fn what_is_left_is_an_ordinary_network_and_says_what_stays_of_each_parameter() {
    let network = between(|network, stem| {
        let pad = network.push("pad", PadChannels { before: 1, after: 0 });
        let conv = network.push_from("conv", Conv2d::new(4, 5, 1), &[stem]);
        network.push_from("add", Add {}, &[pad, conv]);
    });
    let dependencies = Dependencies::of(&network).unwrap();
    // Channels 1 and 3 of the stem, and channel 0 of `conv`, which is added to a channel of zeros.
    let groups = dependencies.groups();
    let units = [&groups[0].units[1], &groups[0].units[3], &groups[1].units[0]];
    let left = dependencies.without(units);
    let ops: Vec<&Op> = left.network.nodes.iter().map(|node| &node.op).collect();
    assert_eq!(ops[1], &Op::from(Conv2d { padding: 1, ..Conv2d::new(1, 2, 3) }));
    assert_eq!(ops[2], &Op::from(PadChannels { before: 0, after: 0 }));
    assert_eq!(ops[3], &Op::from(Conv2d::new(2, 2, 1)));
    assert_eq!(ops[7], &Op::from(Linear::new(2, 2)));
    assert_eq!(left.network.shapes().unwrap().last().unwrap(), &[2]);
    assert_eq!(left.kept["stem.weight"], [(0, vec![0, 2])]);
    assert_eq!(left.kept["conv.weight"], [(0, vec![1, 3]), (1, vec![0, 2])]);
    assert_eq!(left.kept["fc.weight"], [(1, vec![1, 3])]);
    assert!(!left.kept.contains_key("fc.bias"));
}

#[test]
fn nothing_is_emptied_and_floors_are_kept() {
    let network = between(|network, stem| {
        let left = network.push_from("left", op::Slice { axis: 0, from: 0, to: 1 }, &[stem]);
        let right = network.push_from("right", op::Slice { axis: 0, from: 1, to: 4 }, &[stem]);
        network.push_from("concat", Concat { axis: 0 }, &[right, left]);
    });
    let dependencies = Dependencies::of(&network).unwrap();
    let units = &dependencies.groups()[0].units;
    let taken = |least: f64| {
        let stem = |node: usize| if node == 1 { least } else { 0.0 };
        let mut floors = Floors::new(&dependencies, stem);
        units.iter().map(|unit| floors.take(unit)).collect::<Vec<_>>()
    };
    // The first is all that goes left, the last all that is left on the right.
    assert_eq!(taken(0.0), [false, true, true, false]);
    assert_eq!(taken(0.5), [false, true, true, false]);
    assert_eq!(taken(0.6), [false, true, false, false]);
    assert_eq!(taken(1.0), [false; 4]);
}
