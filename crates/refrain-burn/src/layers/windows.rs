//! Windows that slide over images: where they lie, and which shapes that gives.

use std::fmt;

use refrain_core::Result;

use super::{MAX_ELEMENTS, Place};

/// What is done at the edges of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Windows lie within the image, which becomes smaller.
    #[default]
    Valid,
    /// The image is padded so that with strides of 1 it keeps its height and width; in general the
    /// output has `⌈length / stride⌉`. Where the padding is odd, the end gets one more, as in Keras.
    Same,
    /// Of sequences, for [`Conv1d`](super::Conv1d) alone: padded at the beginning, so that no output sees
    /// a later step.
    Causal,
}

impl Padding {
    /// Keras' names of what is done to images.
    pub const NAMES: &[&str] = &["valid", "same"];

    /// Keras' names of what a convolution of sequences can do.
    pub const CONV1D_NAMES: &[&str] = &["valid", "same", "causal"];

    /// The padding of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "valid" => Some(Self::Valid),
            "same" => Some(Self::Same),
            "causal" => Some(Self::Causal),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Same => "same",
            Self::Causal => "causal",
        }
    }

    /// The same, where it does not ask for what only a convolution of sequences can do.
    pub(super) fn without_causal(self, what: &str, place: &Place<'_>) -> Result<Self> {
        match self {
            Self::Causal => Err(place.error(format!(
                "padding is \"causal\"; allowed in a {what} layer: \"valid\" or \"same\""
            ))),
            other => Ok(other),
        }
    }
}

/// A height and a width; from one number where they are equal.
///
/// # Example
/// ```
/// use refrain_burn::layers::HeightWidth;
/// assert_eq!(HeightWidth::from(3), HeightWidth::from([3, 3]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeightWidth(pub(super) [usize; 2]);

impl From<usize> for HeightWidth {
    fn from(length: usize) -> Self {
        Self([length; 2])
    }
}

impl From<[usize; 2]> for HeightWidth {
    fn from(lengths: [usize; 2]) -> Self {
        Self(lengths)
    }
}

impl fmt::Display for HeightWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.0;
        write!(f, "[{height}, {width}]")
    }
}

/// What a layer says of its windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// `kernel_size` or `pool_size`.
    pub option: &'static str,
    pub size: HeightWidth,
    pub strides: HeightWidth,
    pub dilation: HeightWidth,
    pub padding: Padding,
}

/// Windows on images of a known shape. Pairs are height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub channels: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub size: [usize; 2],
    pub strides: [usize; 2],
    pub dilation: [usize; 2],
    /// Before and behind, along each axis.
    pub padding: [(usize, usize); 2],
}

impl Asked {
    /// The windows on the images that come into `place`.
    pub(super) fn on(self, place: &Place<'_>) -> Result<Windows> {
        let padding = self.padding.without_causal(place.type_name, place)?;
        Self { padding, ..self }.on_shape(image(place)?, place)
    }

    pub(super) fn on_shape(
        self,
        [channels, height, width]: [usize; 3],
        place: &Place<'_>,
    ) -> Result<Windows> {
        for (option, HeightWidth(lengths)) in
            [(self.option, self.size), ("strides", self.strides), ("dilation_rate", self.dilation)]
        {
            if lengths.contains(&0) {
                let lengths = as_asked(lengths, place);
                return Err(place.error(format!("{option} is {lengths}; allowed: 1 or more")));
            }
        }
        let mut windows = Windows {
            channels,
            input: [height, width],
            output: [0; 2],
            size: self.size.0,
            strides: self.strides.0,
            dilation: self.dilation.0,
            padding: [(0, 0); 2],
        };
        for axis in 0..2 {
            let (length, stride) = (windows.input[axis], windows.strides[axis]);
            let covered = (windows.size[axis] - 1)
                .checked_mul(windows.dilation[axis])
                .and_then(|between| between.checked_add(1))
                .filter(|&covered| covered <= MAX_ELEMENTS)
                .ok_or_else(|| self.too_large(place))?;
            match self.padding {
                Padding::Valid if covered > length => return Err(self.too_large(place)),
                Padding::Valid => windows.output[axis] = (length - covered) / stride + 1,
                Padding::Causal => {
                    windows.output[axis] = length.div_ceil(stride);
                    windows.padding[axis] = (covered - 1, 0);
                }
                Padding::Same => {
                    let count = length.div_ceil(stride);
                    windows.output[axis] = count;
                    let needed = ((count - 1) * stride + covered).saturating_sub(length);
                    windows.padding[axis] = (needed / 2, needed - needed / 2);
                }
            }
        }
        Ok(windows)
    }

    fn too_large(&self, place: &Place<'_>) -> refrain_core::Error {
        let Self { option, size, dilation, .. } = self;
        let size = as_asked(size.0, place);
        let dilated = match dilation.0 {
            [1, 1] => String::new(),
            dilation => format!(" with dilation_rate {}", as_asked(dilation, place)),
        };
        let most = |axis: usize, dilation: usize| {
            let length = place.input_shape.get(axis).copied().unwrap_or(1);
            (length - 1) / dilation + 1
        };
        if self.padding != Padding::Valid {
            return place.error(format!(
                "{option} {size}{dilated} on its input of shape {:?} is beyond all bounds; allowed: up \
                 to {MAX_ELEMENTS}, dilation included",
                place.input_shape
            ));
        }
        if let [_, _] = place.input_shape {
            return place.error(format!(
                "{option} {size}{dilated} is larger than its input of shape {:?} ([steps, features]); \
                 allowed: up to {}, or padding = \"same\"",
                place.input_shape,
                most(0, dilation.0[1])
            ));
        }
        place.error(format!(
            "{option} {size}{dilated} is larger than its input of shape {:?} ([channels, height, \
             width]); allowed: up to {:?}, or padding = \"same\"",
            place.input_shape,
            [most(1, dilation.0[0]), most(2, dilation.0[1])]
        ))
    }
}

/// Lengths as a layer asks for them: one number where its input is a sequence, a line of height 1.
pub(super) fn as_asked([height, width]: [usize; 2], place: &Place<'_>) -> String {
    match place.input_shape {
        [_, _] => width.to_string(),
        _ => format!("[{height}, {width}]"),
    }
}

impl Windows {
    /// `[channels, height, width]` of the output, for so many channels.
    pub(super) fn output_shape(&self, channels: usize, place: &Place<'_>) -> Result<Vec<usize>> {
        let [height, width] = self.output;
        place.check_elements(&[channels, height, width])?;
        Ok(vec![channels, height, width])
    }
}

/// The input as an image: `[channels, height, width]`.
pub(super) fn image(place: &Place<'_>) -> Result<[usize; 3]> {
    if let &[channels, height, width] = place.input_shape {
        return Ok([channels, height, width]);
    }
    let hint = match place.input_shape {
        [_] => "put it before `flatten` and `dense`".to_owned(),
        [height, width] => format!(
            "{{ type = \"reshape\", target_shape = [1, {height}, {width}] }} before it makes one"
        ),
        _ => "{ type = \"reshape\", target_shape = [channels, height, width] } before it makes one"
            .to_owned(),
    };
    Err(place.error(format!(
        "{} layers take images of shape [channels, height, width], and its input has the shape {:?}; \
         {hint}",
        place.type_name, place.input_shape
    )))
}
