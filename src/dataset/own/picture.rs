//! An image file to pixels, and a mask file to classes.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageReader, Luma};
use png::{BitDepth, ColorType};

use super::cannot_read;
use crate::dataset::DatasetError;
use crate::experiment::spec::Colour;

/// Reads an image into `pixels`, `[channels, height, width]`, and says which height and width it had.
///
/// It is resized with a triangle filter as wide as the scale, as Pillow's `BILINEAR` does. What its file
/// says of rotation is not followed, as in Pillow.
///
/// # Errors
/// A file that is no whole image.
pub(super) fn read_into(
    pixels: &mut [u8],
    path: &Path,
    [height, width]: [u32; 2],
    colour: Colour,
) -> Result<[u32; 2], DatasetError> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let image = reader.map_err(cannot_read(path))?.decode().map_err(|error| {
        let expected = "a whole image; replace the file, or take it out of the folder";
        DatasetError::format(path, "image", error.to_string(), expected)
    })?;
    let had = [image.height(), image.width()];
    match colour {
        Colour::Grey => {
            let image = resized(grey(&image), width, height);
            pixels.copy_from_slice(&image);
        }
        Colour::Rgb => {
            let image = resized(image.into_rgb8(), width, height);
            let area = (height * width) as usize;
            for (index, pixel) in image.pixels().enumerate() {
                for (channel, value) in pixel.0.into_iter().enumerate() {
                    pixels[channel * area + index] = value;
                }
            }
        }
    }
    Ok(had)
}

fn resized<P>(
    image: image::ImageBuffer<P, Vec<u8>>,
    width: u32,
    height: u32,
) -> image::ImageBuffer<P, Vec<u8>>
where
    P: image::Pixel<Subpixel = u8> + 'static,
{
    if image.dimensions() == (width, height) {
        return image;
    }
    imageops::resize(&image, width, height, FilterType::Triangle)
}

/// Luma of ITU-R 601 in the fixed-point arithmetic of Pillow's `convert("L")`.
fn grey(image: &DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.to_luma8();
    }
    let coloured = image.to_rgb8();
    let luma = |&image::Rgb([red, green, blue]): &image::Rgb<u8>| {
        let [red, green, blue] = [red, green, blue].map(u32::from);
        Luma([((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16) as u8])
    };
    let pixels: Vec<u8> = coloured.pixels().flat_map(|pixel| luma(pixel).0).collect();
    GrayImage::from_raw(coloured.width(), coloured.height(), pixels)
        .expect("a value for each pixel")
}

/// A mask as it is in its file.
pub(super) struct Mask {
    pub height: usize,
    pub width: usize,
    /// Row by row.
    pub classes: Vec<u8>,
}

impl Mask {
    /// Reads a PNG of one channel, or with a palette, of whose entries it takes the numbers.
    ///
    /// # Errors
    /// Another kind of file.
    pub(super) fn read(path: &Path) -> Result<Self, DatasetError> {
        let wrong = |error: png::DecodingError| {
            DatasetError::format(path, "mask", error.to_string(), "a whole PNG image")
        };
        let file = File::open(path).map_err(cannot_read(path))?;
        let mut decoder = png::Decoder::new(BufReader::new(file));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(wrong)?;
        let (colour, depth) = reader.output_color_type();
        if !matches!(colour, ColorType::Grayscale | ColorType::Indexed)
            || depth == BitDepth::Sixteen
        {
            let found = format!("{colour:?} with {} bits", depth as u8);
            let expected = "a PNG of one channel with 8 bits or fewer, or with a palette, whose numbers \
                            are the classes";
            return Err(DatasetError::format(path, "mask", found, expected));
        }
        let mut bytes = vec![0; reader.output_buffer_size().unwrap_or_default()];
        let frame = reader.next_frame(&mut bytes).map_err(wrong)?;
        let (height, width) = (frame.height as usize, frame.width as usize);
        let rows = bytes.chunks_exact(frame.line_size).take(height);
        let classes = rows.flat_map(|row| unpacked(row, depth as usize).take(width)).collect();
        Ok(Self { height, width, classes })
    }

    /// The first pixel that is neither a class nor [`MaskFolder::IGNORED`](crate::experiment::spec::MaskFolder::IGNORED): row, column, value.
    pub(super) fn stray(&self, classes: usize, ignored: u8) -> Option<(usize, usize, u8)> {
        let is_stray =
            |&(_, &value): &(usize, &u8)| usize::from(value) >= classes && value != ignored;
        let (index, &value) = self.classes.iter().enumerate().find(is_stray)?;
        Some((index / self.width, index % self.width, value))
    }

    /// Resizes it into `classes`, `[height, width]`: each pixel is the one that its middle falls on.
    pub(super) fn resize_into(&self, classes: &mut [u8], [height, width]: [u32; 2]) {
        let source = |at: usize, of: u32, from: usize| (2 * at + 1) * from / (2 * of as usize);
        let columns: Vec<usize> =
            (0..width as usize).map(|column| source(column, width, self.width)).collect();
        for (row, line) in classes.chunks_exact_mut(width as usize).enumerate() {
            let from = &self.classes[source(row, height, self.height) * self.width..];
            line.iter_mut().zip(&columns).for_each(|(class, &column)| *class = from[column]);
        }
    }
}

/// The values of a row in which each has so many bits, the highest first.
fn unpacked(row: &[u8], bits: usize) -> impl Iterator<Item = u8> + '_ {
    let mask = (0xff_u16 >> (8 - bits)) as u8;
    row.iter()
        .flat_map(move |byte| (0..8 / bits).rev().map(move |place| (byte >> (place * bits)) & mask))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::super::tests::message;
    use super::*;

    fn read(
        path: &Path,
        size: [u32; 2],
        colour: Colour,
    ) -> Result<(Vec<u8>, [u32; 2]), DatasetError> {
        let mut pixels = vec![0; (colour.channels() * size[0] * size[1]) as usize];
        let had = read_into(&mut pixels, path, size, colour)?;
        Ok((pixels, had))
    }

    #[track_caller]
    fn is_near(found: &[u8], expected: &[u8]) {
        assert_eq!(found.len(), expected.len());
        // Pillow rounds between its two passes.
        let differ = found.iter().zip(expected).any(|(one, other)| one.abs_diff(*other) > 1);
        assert!(!differ, "{found:?} is not {expected:?}");
    }

    /// ```python
    /// im = Image.new("L", (4, 3))
    /// im.putdata([0, 50, 100, 150, 200, 250, 10, 60, 110, 160, 210, 5])
    /// print(list(im.resize((2, 2), Image.BILINEAR).getdata()))
    /// print(list(im.resize((5, 4), Image.BILINEAR).getdata()))
    /// ```
    #[test]
    fn grey_images_are_resized_as_pillow_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let pixels = vec![0, 50, 100, 150, 200, 250, 10, 60, 110, 160, 210, 5];
        GrayImage::from_raw(4, 3, pixels.clone()).unwrap().save(&path).unwrap();
        assert_eq!(read(&path, [3, 4], Colour::Grey).unwrap(), (pixels, [3, 4]));
        let (down, _) = read(&path, [2, 2], Colour::Grey).unwrap();
        is_near(&down, &[95, 96, 164, 97]);
        let (up, _) = read(&path, [4, 5], Colour::Grey).unwrap();
        #[rustfmt::skip]
        let pillow = [0, 35, 75, 115, 150, 125, 160, 109, 59, 94, 166, 201, 151, 72, 39, 110, 145, 185, 149, 5];
        is_near(&up, &pillow);
        let (coloured, _) = read(&path, [2, 2], Colour::Rgb).unwrap();
        assert_eq!(coloured, down.repeat(3));
    }

    /// ```python
    /// im = Image.new("RGB", (6, 5))
    /// im.putdata([(37 * i % 256, (91 * i + 13) % 256, (211 * i + 7) % 256) for i in range(30)])
    /// print(list(im.resize((3, 2), Image.BILINEAR).getdata()), list(im.convert("L").getdata()))
    /// ```
    #[test]
    fn coloured_images_become_planes_and_grey_as_in_pillow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let pixel = |i: u32| [37 * i % 256, (91 * i + 13) % 256, (211 * i + 7) % 256];
        let pixels: Vec<u8> = (0..30).flat_map(pixel).map(|value| value as u8).collect();
        RgbImage::from_raw(6, 5, pixels).unwrap().save(&path).unwrap();
        let (planes, had) = read(&path, [2, 3], Colour::Rgb).unwrap();
        assert_eq!(had, [5, 6]);
        #[rustfmt::skip]
        let pillow = [
            99, 72, 125, 165, 122, 68, 102, 121, 151, 145, 113, 109, 182, 137, 61, 189, 109, 108,
        ];
        is_near(&planes, &pillow);
        #[rustfmt::skip]
        let luma = [
            8, 97, 156, 65, 125, 184, 122, 105, 165, 74, 133, 192, 131, 190, 22, 82, 141, 50, 139, 198,
            107, 90, 149, 88, 147, 206, 115, 175, 7, 96,
        ];
        assert_eq!(read(&path, [5, 6], Colour::Grey).unwrap().0, luma);
    }

    #[test]
    fn a_file_that_is_no_whole_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        RgbImage::new(40, 40).save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read(&path, [2, 2], Colour::Rgb).unwrap_err();
        let message = message(&error, folder.path());
        assert!(message.starts_with("a.png, image: "), "{message}");
        assert!(
            message.ends_with(
                "; expected a whole image; replace the file, or take it out of the folder"
            )
        );
    }

    fn write_mask(path: &Path, colour: ColorType, depth: BitDepth, size: [u32; 2], data: &[u8]) {
        let file = File::create(path).unwrap();
        let mut encoder = png::Encoder::new(file, size[1], size[0]);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == ColorType::Indexed {
            encoder.set_palette(vec![9; 3 * 16]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
    }

    #[test]
    fn masks_are_numbers_whatever_their_bits_and_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        for (colour, depth, data, expected) in [
            (ColorType::Grayscale, BitDepth::Eight, vec![0, 1, 2, 255, 4, 5], [0, 1, 2, 255, 4, 5]),
            (ColorType::Indexed, BitDepth::Eight, vec![0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
            (ColorType::Indexed, BitDepth::Four, vec![0x01, 0x20, 0x34, 0x50], [0, 1, 2, 3, 4, 5]),
            (
                ColorType::Grayscale,
                BitDepth::Two,
                vec![0b0001_1000, 0b1101_1000],
                [0, 1, 2, 3, 1, 2],
            ),
            (
                ColorType::Grayscale,
                BitDepth::One,
                vec![0b0110_0000, 0b1010_0000],
                [0, 1, 1, 1, 0, 1],
            ),
        ] {
            write_mask(&path, colour, depth, [2, 3], &data);
            let mask = Mask::read(&path).unwrap();
            assert_eq!((mask.height, mask.width), (2, 3));
            assert_eq!(mask.classes, expected, "{colour:?} {depth:?}");
        }
        write_mask(&path, ColorType::Rgb, BitDepth::Eight, [1, 1], &[1, 2, 3]);
        let error = Mask::read(&path).err().unwrap();
        assert_eq!(
            message(&error, folder.path()),
            "mask.png, mask: Rgb with 8 bits; expected a PNG of one channel with 8 bits or fewer, or with a \
             palette, whose numbers are the classes"
        );
    }

    /// ```python
    /// im = Image.new("L", (4, 3)); im.putdata(range(12))
    /// for size in [(2, 2), (5, 4), (3, 1)]: print(list(im.resize(size, Image.NEAREST).getdata()))
    /// ```
    #[test]
    fn masks_are_resized_to_the_nearest_pixel_as_pillow_does() {
        let mask = Mask { height: 3, width: 4, classes: (0..12).collect() };
        let resized = |height: u32, width: u32| {
            let mut classes = vec![0; (height * width) as usize];
            mask.resize_into(&mut classes, [height, width]);
            classes
        };
        assert_eq!(resized(2, 2), [1, 3, 9, 11]);
        assert_eq!(resized(4, 5), [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11]);
        assert_eq!(resized(1, 3), [4, 6, 7]);
        assert_eq!(mask.stray(9, 11), Some((2, 1, 9)));
        assert_eq!(mask.stray(11, 11), None);
    }
}
