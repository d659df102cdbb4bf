//! The network that is left when units are taken out.

use graftwork::network::groups::Remainder;
use tch::{Tensor, no_grad};

use super::{Model, Parameter};

impl Model {
    /// The network that is left, with what it keeps of every value and mask; nothing else changes.
    ///
    /// - remainder: of this model's network
    #[must_use]
    pub fn without(&self, remainder: &Remainder) -> Self {
        let params = remainder.network.params().into_iter().map(|named| {
            let whole = &self.params[&named.name];
            let cuts = remainder.kept.get(&named.name).map_or(&[][..], Vec::as_slice);
            let copy = Parameter {
                value: kept(&whole.value, cuts),
                mask: whole.mask.as_ref().map(|mask| kept(mask, cuts)),
                ..*whole
            };
            (named.name, copy)
        });
        let params = params.collect();
        Self::assemble(remainder.network.clone(), params, self.program.clone(), self.device)
    }
}

/// A copy of what is left of a tensor: for each axis that is cut the indices that stay.
pub(crate) fn kept(whole: &Tensor, cuts: &[(usize, Vec<u32>)]) -> Tensor {
    no_grad(|| {
        if cuts.is_empty() {
            return whole.detach().copy();
        }
        cuts.iter().fold(whole.detach(), |left, (axis, indices)| {
            let indices: Vec<i64> = indices.iter().map(|&index| i64::from(index)).collect();
            left.index_select(*axis as i64, &Tensor::from_slice(&indices).to_device(left.device()))
        })
    })
}
