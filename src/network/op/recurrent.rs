//! Recurrent layers, with PyTorch's names, order of gates and initial values.

use serde::{Deserialize, Serialize};

use super::sequence::steps;
use super::{Init, Param, ParamRole};
use crate::network::Shape;

macro_rules! recurrent {
    ($(#[$doc:meta])* $layer:ident, $gates:literal) => {
        $(#[$doc])*
        ///
        /// # Shapes
        /// - input: `[steps, inputs]`
        /// - output: `[steps, hidden]`; of two directions `[steps, 2 · hidden]`, forwards first
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $layer {
            /// Features of a step.
            pub inputs: u32,
            /// Units of each layer and direction.
            pub hidden: u32,
            /// Layers, each reading the one before; 1 to 4.
            pub layers: u32,
            /// Whether each layer also reads the sequence from its end.
            pub bidirectional: bool,
        }

        impl $layer {
            /// Gates of a unit: rows of the weights for each.
            const GATES: u32 = $gates;

            pub(super) fn params(&self) -> Vec<Param> {
                let directions = 1 + usize::from(self.bidirectional);
                let init = Init::fan_in(self.hidden.into());
                let mut params = Vec::new();
                let mut inputs = self.inputs;
                for names in NAMES.iter().take(self.layers as usize) {
                    for [weight_ih, weight_hh, bias_ih, bias_hh] in names.iter().take(directions) {
                        let rows = Self::GATES * self.hidden;
                        let other = ParamRole::Other;
                        params.extend([
                            Param { name: weight_ih, shape: vec![rows, inputs], role: other, init },
                            Param { name: weight_hh, shape: vec![rows, self.hidden], role: other, init },
                            Param { name: bias_ih, shape: vec![rows], role: ParamRole::Bias, init },
                            Param { name: bias_hh, shape: vec![rows], role: ParamRole::Bias, init },
                        ]);
                    }
                    inputs = self.outputs();
                }
                params
            }

            pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
                let [count, features] = steps(input)?;
                if features != self.inputs {
                    return Err(format!("it takes {} features a step", self.inputs));
                }
                if !(1..=NAMES.len()).contains(&(self.layers as usize)) {
                    return Err(format!("it has 1 to {} layers, not {}", NAMES.len(), self.layers));
                }
                Ok(vec![count, self.outputs()])
            }

            /// Features of a step that is put out.
            pub fn outputs(&self) -> u32 {
                self.hidden * (1 + u32::from(self.bidirectional))
            }

            /// Multiply-accumulates of all steps.
            pub(super) fn operations(&self, output: &[u32]) -> u64 {
                let weights = self.params().into_iter().filter(|param| param.shape.len() == 2);
                let weights: u64 = weights.map(|weight| weight.len()).sum();
                weights * output.first().map_or(0, |&count| count.into())
            }
        }
    };
}

recurrent! {
    /// Gated recurrent unit (Cho et al. 2014, <https://arxiv.org/abs/1406.1078>); the gates are reset,
    /// update, new.
    Gru, 3
}
recurrent! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997); the gates are input, forget, cell, output.
    Lstm, 4
}

/// Names of the weights and biases of each layer, forwards and backwards.
#[rustfmt::skip]
const NAMES: [[[&str; 4]; 2]; 4] = [
    [
        ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"],
        ["weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"],
    ],
    [
        ["weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"],
        ["weight_ih_l1_reverse", "weight_hh_l1_reverse", "bias_ih_l1_reverse", "bias_hh_l1_reverse"],
    ],
    [
        ["weight_ih_l2", "weight_hh_l2", "bias_ih_l2", "bias_hh_l2"],
        ["weight_ih_l2_reverse", "weight_hh_l2_reverse", "bias_ih_l2_reverse", "bias_hh_l2_reverse"],
    ],
    [
        ["weight_ih_l3", "weight_hh_l3", "bias_ih_l3", "bias_hh_l3"],
        ["weight_ih_l3_reverse", "weight_hh_l3_reverse", "bias_ih_l3_reverse", "bias_hh_l3_reverse"],
    ],
];
