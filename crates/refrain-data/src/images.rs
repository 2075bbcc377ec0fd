//! Labelled images as plain arrays.

/// Labelled grey images of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// `[channels, height, width]` of one image.
    pub shape: [usize; 3],
    /// All pixels, image after image, each in row-major order; 0 to 1.
    pub pixels: Vec<f32>,
    /// One label an image, 0 to `classes` − 1.
    pub labels: Vec<u32>,
    /// Number of different labels.
    pub classes: usize,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
