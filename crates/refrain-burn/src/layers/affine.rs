//! Images moved, turned and stretched: each output is read from a place of the input.

use burn::tensor::{Int, Tensor, TensorData};

/// What lies beyond the edges of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FillMode {
    /// The image mirrored: `d c b a | a b c d | d c b a`.
    #[default]
    Reflect,
    /// The image again: `a b c d | a b c d | a b c d`.
    Wrap,
    /// One value.
    Constant,
    /// The nearest pixel: `a a a a | a b c d | d d d d`.
    Nearest,
}

impl FillMode {
    /// Keras' names.
    pub const NAMES: &[&str] = &["reflect", "wrap", "constant", "nearest"];

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "reflect" => Some(Self::Reflect),
            "wrap" => Some(Self::Wrap),
            "constant" => Some(Self::Constant),
            "nearest" => Some(Self::Nearest),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reflect => "reflect",
            Self::Wrap => "wrap",
            Self::Constant => "constant",
            Self::Nearest => "nearest",
        }
    }

    /// The place within `length` that stands for `at`; `None`: the fill value.
    fn place(self, at: i64, length: usize) -> Option<usize> {
        let length = length as i64;
        let place = match self {
            // Most are within the image, and divisions are slow.
            _ if (0..length).contains(&at) => at,
            Self::Constant => return None,
            Self::Nearest => at.clamp(0, length - 1),
            Self::Wrap => at.rem_euclid(length),
            Self::Reflect => {
                let at = at.rem_euclid(2 * length);
                at.min(2 * length - 1 - at)
            }
        };
        usize::try_from(place).ok()
    }
}

/// How a value between pixels is had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The mean of the four pixels around, the nearer the more.
    #[default]
    Bilinear,
    /// The nearest pixel.
    Nearest,
}

impl Interpolation {
    /// Keras' names.
    pub const NAMES: &[&str] = &["bilinear", "nearest"];

    /// The interpolation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "bilinear" => Some(Self::Bilinear),
            "nearest" => Some(Self::Nearest),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Nearest => "nearest",
        }
    }

    /// Pixels around a coordinate, with their shares.
    fn around(self, at: f64) -> [(i64, f64); 2] {
        match self {
            Self::Nearest => [(at.round() as i64, 1.0), (0, 0.0)],
            Self::Bilinear => {
                let below = at.floor();
                let share = at - below;
                [(below as i64, 1.0 - share), (below as i64 + 1, share)]
            }
        }
    }

    fn pixels(self) -> usize {
        match self {
            Self::Bilinear => 2,
            Self::Nearest => 1,
        }
    }
}

/// `[a, b, c, d, e, f]`: the output at (x, y) is read at (a x + b y + c, d x + e y + f).
pub(super) type Matrix = [f64; 6];

/// Moves images by so many pixels to the right and down.
pub(super) fn translation([down, right]: [f64; 2]) -> Matrix {
    [1.0, 0.0, -right, 0.0, 1.0, -down]
}

/// Turns images around their middle, by an angle in radians.
pub(super) fn rotation(angle: f64, size: [usize; 2]) -> Matrix {
    let [y, x] = middle(size);
    let (sin, cos) = angle.sin_cos();
    [cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos]
}

/// Stretches images around their middle: what was so long becomes one pixel.
pub(super) fn zoom([height, width]: [f64; 2], size: [usize; 2]) -> Matrix {
    let [y, x] = middle(size);
    [width, 0.0, x * (1.0 - width), 0.0, height, y * (1.0 - height)]
}

/// Turns images over.
pub(super) fn flip([vertical, horizontal]: [bool; 2], [height, width]: [usize; 2]) -> Matrix {
    let along = |flips: bool, length: usize| {
        if flips { (-1.0, (length - 1) as f64) } else { (1.0, 0.0) }
    };
    let ((x, x_from), (y, y_from)) = (along(horizontal, width), along(vertical, height));
    [x, 0.0, x_from, 0.0, y, y_from]
}

fn middle(size: [usize; 2]) -> [f64; 2] {
    size.map(|length| (length - 1) as f64 / 2.0)
}

/// How pixels between and beyond those of an image are had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampling {
    pub mode: FillMode,
    pub value: f64,
    pub interpolation: Interpolation,
}

impl Sampling {
    /// Images `[samples, channels × height × width]`, each read through its own matrix.
    pub(super) fn apply(
        self,
        x: Tensor<2>,
        [channels, height, width]: [usize; 3],
        matrices: &[Matrix],
    ) -> Tensor<2> {
        let samples = matrices.len();
        let positions = height * width;
        let device = x.device();
        let plain = device.clone().without_autodiff();
        let corners = self.interpolation.pixels();
        let mut places = vec![vec![0_i32; samples * positions]; corners * corners];
        let mut shares = vec![vec![0.0_f32; samples * positions]; corners * corners];
        let mut fill = vec![0.0_f32; samples * positions];
        let mut at = 0;
        for &[a, b, c, d, e, f] in matrices {
            for y in 0..height {
                for x in 0..width {
                    let (x, y) = (x as f64, y as f64);
                    let around = |at: f64, length: usize| {
                        let around = self.interpolation.around(at);
                        around.map(|(at, share)| (self.mode.place(at, length), share))
                    };
                    let columns = around(a * x + b * y + c, width);
                    let rows = around(d * x + e * y + f, height);
                    for (i, (row, row_share)) in rows.into_iter().take(corners).enumerate() {
                        for (j, (column, column_share)) in
                            columns.into_iter().take(corners).enumerate()
                        {
                            let share = (row_share * column_share) as f32;
                            match row.zip(column) {
                                Some((row, column)) => {
                                    // Within a sample, whose elements are counted in 31 bits.
                                    places[i * corners + j][at] = (row * width + column) as i32;
                                    shares[i * corners + j][at] = share;
                                }
                                None => fill[at] += share * self.value as f32,
                            }
                        }
                    }
                    at += 1;
                }
            }
        }

        let shape = [samples, 1, positions];
        let all_channels = [samples, channels, positions];
        let float = |values: Vec<f32>| {
            let values = Tensor::<3>::from_data(TensorData::new(values, shape), &plain);
            if x.is_autodiff() { values.to_device(&device) } else { values }
        };
        let images = x.clone().reshape(all_channels);
        let mut sum = None;
        for (places, shares) in places.into_iter().zip(shares) {
            let places = Tensor::<3, Int>::from_data(TensorData::new(places, shape), &device);
            let read = images.clone().gather(2, places.expand(all_channels)) * float(shares);
            sum = Some(match sum {
                None => read,
                Some(sum) => sum + read,
            });
        }
        let Some(mut sum) = sum else {
            return x;
        };
        if self.mode == FillMode::Constant && self.value != 0.0 {
            sum = sum + float(fill);
        }
        sum.reshape([samples, channels * positions])
    }
}
