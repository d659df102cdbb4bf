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
        let whole = whole.detach();
        let has_windows = whole.dim() > 2 && whole.size()[2..].iter().product::<i64>() > 1;
        match cuts {
            [] => whole.copy(),
            [(0, rows), (1, columns)] if has_windows => windows(&whole, rows, columns),
            cuts => cuts.iter().fold(whole, |left, (axis, indices)| {
                let indices: Vec<i64> = indices.iter().map(|&index| i64::from(index)).collect();
                selected(&left, *axis as i64, &indices)
            }),
        }
    })
}

/// Some windows of a convolution, without a copy of all that are in the rows that stay.
fn windows(whole: &Tensor, rows: &[u32], columns: &[u32]) -> Tensor {
    let mut size = whole.size();
    let width = size[1];
    let of_row = |row: i64| columns.iter().map(move |&column| row * width + i64::from(column));
    let indices: Vec<i64> = rows.iter().flat_map(|&row| of_row(i64::from(row))).collect();
    size[..2].copy_from_slice(&[rows.len() as i64, columns.len() as i64]);
    selected(&whole.flatten(0, 1), 0, &indices).reshape(size)
}

fn selected(from: &Tensor, axis: i64, indices: &[i64]) -> Tensor {
    from.index_select(axis, &Tensor::from_slice(indices).to_device(from.device()))
}
