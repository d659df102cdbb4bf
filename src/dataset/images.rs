//! Datasets of images.

/// A whole dataset of images in memory, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The dataset's name, as in experiment files.
    pub name: String,
    /// Shape of one image, `[channels, height, width]`.
    pub shape: [u32; 3],
    /// Number of classes; every label is below it.
    pub classes: u32,
    /// What the classes are, by label.
    pub class_names: Vec<String>,
    /// The owner's training split.
    pub train: Part,
    /// The owner's test split.
    pub test: Part,
}

/// The images of one split and their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The pixels, 0 (black) to 255, in the order image, channel, row, column.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u8>,
}

impl Part {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.pixels.append(&mut other.pixels);
        self.labels.append(&mut other.labels);
    }

    /// The images at `indices`, in that order; `pixels` is the number of bytes of one image.
    pub(super) fn select(&self, indices: &[usize], pixels: usize) -> Self {
        let mut part = Self::default();
        for &index in indices {
            part.pixels.extend_from_slice(&self.pixels[index * pixels..(index + 1) * pixels]);
            part.labels.push(self.labels[index]);
        }
        part
    }
}
