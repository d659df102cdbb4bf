//! What happens to images once, when they are read: colour, size.
//!
//! All of it is computed on the CPU, so that every device gets the same bytes.

use graftwork::dataset::Part;
use tch::{Kind, Tensor};

use super::DataError;

/// Images that are changed together, so that the floats of a large set are never all there at once.
const CHUNK: i64 = 1000;

/// How stored images become the network's input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    stored: [u32; 3],
    /// Heights and widths to resize to, one after the other.
    sizes: Vec<[u32; 2]>,
    colour: Colour,
}

#[derive(Debug, PartialEq, Eq)]
enum Colour {
    Keep,
    ToGrey,
    FromGrey,
}

impl Change {
    /// - size: what the experiment resizes to; a network of another input gets that resized again
    pub(super) fn new(
        name: &str,
        stored: [u32; 3],
        size: Option<[u32; 2]>,
        input: [u32; 3],
    ) -> Result<Self, DataError> {
        let colour = match (stored[0], input[0]) {
            (stored, wanted) if stored == wanted => Colour::Keep,
            (1, 3) => Colour::FromGrey,
            (3, 1) => Colour::ToGrey,
            (stored, wanted) => {
                return Err(DataError::Channels { name: name.to_owned(), stored, wanted });
            }
        };
        let mut sizes = vec![[stored[1], stored[2]]];
        sizes.extend(size);
        sizes.push([input[1], input[2]]);
        sizes.dedup();
        sizes.remove(0);
        Ok(Self { stored, sizes, colour })
    }

    /// The images as `[N, C, H, W]` bytes on the CPU.
    pub(super) fn apply(&self, part: &Part) -> Tensor {
        let [channels, height, width] = self.stored.map(i64::from);
        let all =
            Tensor::from_slice(&part.pixels).view([part.len() as i64, channels, height, width]);
        if *self == (Self { stored: self.stored, sizes: Vec::new(), colour: Colour::Keep }) {
            return all;
        }
        let chunks: Vec<_> =
            all.split(CHUNK, 0).into_iter().map(|chunk| self.apply_to(chunk)).collect();
        Tensor::cat(&chunks, 0)
    }

    fn apply_to(&self, pixels: Tensor) -> Tensor {
        let pixels = if self.colour == Colour::ToGrey { grey(&pixels) } else { pixels };
        let pixels = self.sizes.iter().fold(pixels, |pixels, size| resize(&pixels, *size));
        if self.colour == Colour::FromGrey { pixels.repeat([1, 3, 1, 1]) } else { pixels }
    }
}

/// Bilinear without antialiasing, half-pixel centres (PyTorch's `align_corners=False`), rounded.
pub(super) fn resize(pixels: &Tensor, [height, width]: [u32; 2]) -> Tensor {
    pixels
        .to_kind(Kind::Float)
        .upsample_bilinear2d([i64::from(height), i64::from(width)], false, None, None)
        .round_()
        .clamp_(0, 255)
        .to_kind(Kind::Uint8)
}

/// Luma of ITU-R 601: 0.299 red + 0.587 green + 0.114 blue, in the fixed-point arithmetic that
/// Pillow's `convert("L")` uses.
fn grey(pixels: &Tensor) -> Tensor {
    let channel = |index| pixels.narrow(1, index, 1).to_kind(Kind::Int);
    let sum = channel(0) * 19595 + channel(1) * 38470 + channel(2) * 7471 + 0x8000;
    sum.bitwise_right_shift_tensor_scalar(16).to_kind(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        stored: [u32; 3],
        size: Option<[u32; 2]>,
        input: [u32; 3],
        pixels: &[u8],
    ) -> (Vec<i64>, Vec<u8>) {
        let change = Change::new("usps", stored, size, input).unwrap();
        let n = pixels.len() / stored.iter().product::<u32>() as usize;
        let tensor = change.apply(&Part { pixels: pixels.to_vec(), labels: vec![0; n] });
        (tensor.size(), tensor.contiguous().view([-1]).try_into().unwrap())
    }

    /// The numbers are those of PyTorch's definition, in Python:
    ///
    /// ```python
    /// def resize(x, H, W):
    ///     h, w = len(x), len(x[0])
    ///     def source(i, n, N):
    ///         at = max((i + 0.5) * n / N - 0.5, 0)
    ///         return int(at), min(int(at) + 1, n - 1), at - int(at)
    ///     def pixel(i, j):
    ///         (top, bottom, down), (left, right, along) = source(i, h, H), source(j, w, W)
    ///         mix = lambda row: (1 - along) * row[left] + along * row[right]
    ///         return round((1 - down) * mix(x[top]) + down * mix(x[bottom]))
    ///     return [[pixel(i, j) for j in range(W)] for i in range(H)]
    /// up = resize([[0, 50, 100], [150, 200, 250]], 4, 5)
    /// print(up, resize(up, 2, 2))
    /// ```
    #[test]
    fn sizes_change_as_pytorch_defines_it() {
        let stored = [0, 50, 100, 150, 200, 250];
        let up = [
            0, 20, 50, 80, 100, //
            38, 58, 88, 118, 138, //
            112, 132, 162, 192, 212, //
            150, 170, 200, 230, 250,
        ];
        let down = [34, 104, 146, 216];
        assert_eq!(
            change([1, 2, 3], Some([4, 5]), [1, 4, 5], &stored),
            (vec![1, 1, 4, 5], up.to_vec())
        );
        assert_eq!(change([1, 2, 3], None, [1, 4, 5], &stored).1, up);
        assert_eq!(change([1, 2, 3], Some([4, 5]), [1, 2, 2], &stored).1, down);
    }

    /// ```python
    /// from PIL import Image
    /// colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (10, 20, 30), (200, 3, 77)]
    /// print([Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)) for colour in colours])
    /// ```
    #[test]
    fn colours_become_grey_as_in_pillow() {
        let colours =
            [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30], [200, 3, 77]];
        let (size, grey) = change([3, 1, 1], None, [1, 1, 1], colours.as_flattened());
        assert_eq!(size, [6, 1, 1, 1]);
        assert_eq!(grey, [76, 150, 29, 255, 18, 70]);
    }

    #[test]
    fn grey_becomes_colour_by_repetition() {
        let (size, pixels) = change([1, 1, 2], None, [3, 1, 2], &[1, 2, 3, 4]);
        assert_eq!(size, [2, 3, 1, 2]);
        assert_eq!(pixels, [1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4]);
    }

    #[test]
    fn other_channels_are_refused() {
        let error = Change::new("usps", [1, 2, 2], None, [2, 2, 2]).unwrap_err();
        assert!(
            error.to_string().starts_with("dataset `usps` has images of 1 channels"),
            "{error}"
        );
    }

    #[test]
    fn more_images_than_a_chunk_keep_their_order() {
        let pixels: Vec<u8> = (0..2500).map(|image| (image % 251) as u8).collect();
        let (size, resized) = change([1, 1, 1], None, [1, 2, 2], &pixels);
        assert_eq!(size, [2500, 1, 2, 2]);
        assert!(resized.chunks_exact(4).zip(&pixels).all(|(four, one)| four == [*one; 4]));
    }
}
