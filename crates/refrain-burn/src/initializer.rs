//! Initial weights by Keras' names and formulas.

use std::f64::consts::TAU;

use chacha20::ChaCha8Rng;
use rand::{Rng, RngExt as _, SeedableRng as _};

/// Standard deviation of a normal distribution cut off at two of its own.
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// How a weight begins. Values are a function of (seed, layer), the same on every device.
///
/// # Example
/// ```
/// use refrain_burn::Initializer;
/// assert_eq!(Initializer::from_name("he_normal"), Some(Initializer::HeNormal));
/// let kernel = Initializer::GlorotUniform.kernel([3, 3], 42, 0);
/// assert!(kernel.iter().all(|weight| weight.abs() <= 1.0));
/// assert_eq!(kernel, Initializer::GlorotUniform.kernel([3, 3], 42, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initializer {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// Uniform within ±√(6 / (inputs + outputs)).
    GlorotUniform,
    /// Normal of variance 2 / (inputs + outputs), cut off at two deviations.
    GlorotNormal,
    /// Uniform within ±√(6 / inputs).
    HeUniform,
    /// Normal of variance 2 / inputs, cut off at two deviations.
    HeNormal,
    /// Uniform within ±√(3 / inputs).
    LecunUniform,
    /// Normal of variance 1 / inputs, cut off at two deviations.
    LecunNormal,
    /// Uniform within ±0.05.
    RandomUniform,
    /// Normal of deviation 0.05.
    RandomNormal,
    /// Normal of deviation 0.05, cut off at two deviations.
    TruncatedNormal,
    /// Rows or columns, whichever are fewer, are of length 1 and at right angles.
    Orthogonal,
}

impl Initializer {
    const ALL: [(&str, Self); 12] = [
        ("zeros", Self::Zeros),
        ("ones", Self::Ones),
        ("glorot_uniform", Self::GlorotUniform),
        ("glorot_normal", Self::GlorotNormal),
        ("he_uniform", Self::HeUniform),
        ("he_normal", Self::HeNormal),
        ("lecun_uniform", Self::LecunUniform),
        ("lecun_normal", Self::LecunNormal),
        ("random_uniform", Self::RandomUniform),
        ("random_normal", Self::RandomNormal),
        ("truncated_normal", Self::TruncatedNormal),
        ("orthogonal", Self::Orthogonal),
    ];

    /// The initialiser of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, initializer)| *initializer)
    }

    /// Keras' names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    /// Keras' name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("zeros", |(name, _)| name)
    }

    /// A kernel `[inputs, outputs]`, row-major; `layer` tells layers of one seed apart.
    pub fn kernel(self, shape: [usize; 2], seed: u64, layer: u64) -> Vec<f32> {
        self.fill(shape, &mut stream(Seed::Of(seed), layer))
    }

    /// A convolution's kernel, `[filters, inputs of each]`; each input reaches `area` outputs of a
    /// filter.
    pub(crate) fn filters(
        self,
        inputs: usize,
        filters: usize,
        area: usize,
        rng: &mut Stream,
    ) -> Vec<f32> {
        let kernel = self.spread([inputs, filters], area, rng);
        if kernel.is_empty() {
            return kernel;
        }
        let of_filter = |filter: usize| kernel.iter().copied().skip(filter).step_by(filters);
        (0..filters).flat_map(of_filter).collect()
    }

    /// Values of this shape; none where the stream has none.
    pub(crate) fn fill(self, shape: [usize; 2], rng: &mut Stream) -> Vec<f32> {
        self.spread(shape, 1, rng)
    }

    /// A kernel `[inputs, outputs]` where each input reaches `area` times as many outputs.
    pub(crate) fn spread(
        self,
        [inputs, outputs]: [usize; 2],
        area: usize,
        rng: &mut Stream,
    ) -> Vec<f32> {
        let Some(rng) = &mut rng.0 else {
            return Vec::new();
        };
        let (fan_in, fan_out) = (inputs as f64, outputs as f64 * area as f64);
        let mut fill = |mut next: Box<dyn FnMut(&mut ChaCha8Rng) -> f64>| {
            (0..inputs * outputs).map(|_| next(rng) as f32).collect()
        };
        let uniform = |limit: f64| -> Box<dyn FnMut(&mut ChaCha8Rng) -> f64> {
            Box::new(move |rng| rng.random_range(-limit..=limit))
        };
        let cut_normal = |variance: f64| -> Box<dyn FnMut(&mut ChaCha8Rng) -> f64> {
            let deviation = variance.sqrt() / CUT_DEVIATION;
            Box::new(move |rng| deviation * cut_normal(rng))
        };
        match self {
            Self::Zeros => fill(Box::new(|_| 0.0)),
            Self::Ones => fill(Box::new(|_| 1.0)),
            Self::GlorotUniform => fill(uniform((6.0 / (fan_in + fan_out)).sqrt())),
            Self::GlorotNormal => fill(cut_normal(2.0 / (fan_in + fan_out))),
            Self::HeUniform => fill(uniform((6.0 / fan_in).sqrt())),
            Self::HeNormal => fill(cut_normal(2.0 / fan_in)),
            Self::LecunUniform => fill(uniform((3.0 / fan_in).sqrt())),
            Self::LecunNormal => fill(cut_normal(1.0 / fan_in)),
            Self::RandomUniform => fill(uniform(0.05)),
            Self::RandomNormal => fill(Box::new(|rng| 0.05 * normal(rng))),
            // Keras gives the deviation before the cut here, and not after it.
            Self::TruncatedNormal => fill(Box::new(|rng| 0.05 * self::cut_normal(rng))),
            Self::Orthogonal => orthogonal(inputs, outputs, rng),
        }
    }
}

/// What the initial weights of a model follow from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seed {
    Of(u64),
    /// There are none: the model is asked for its shapes alone.
    Outline,
}

/// The random numbers of one layer; none for an outline.
pub(crate) struct Stream(Option<ChaCha8Rng>);

pub(crate) fn stream(seed: Seed, layer: u64) -> Stream {
    let Seed::Of(seed) = seed else {
        return Stream(None);
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    // Apart from the streams for the data's order and for the steps, which are keyed likewise.
    key[8] = b'w';
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(layer);
    Stream(Some(rng))
}

/// Standard normal, by Box and Muller.
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    // In (0, 1]: the logarithm of 0 would be infinite.
    let radius = 1.0 - rng.random::<f64>();
    let angle = TAU * rng.random::<f64>();
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

/// Standard normal, drawn again where it is beyond two deviations.
fn cut_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let drawn = normal(rng);
        if drawn.abs() <= 2.0 {
            return drawn;
        }
    }
}

/// The Q of a QR decomposition of a normal matrix, by Gram and Schmidt; signs as if R's diagonal
/// were above 0, as Keras makes it. Cost: fewer² × more.
fn orthogonal(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (fewer, more) = (inputs.min(outputs), inputs.max(outputs));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(fewer);
    while vectors.len() < fewer {
        let mut vector: Vec<f64> = (0..more).map(|_| normal(rng)).collect();
        // Twice, or rounding would leave the later vectors not quite at right angles.
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 1e-9 {
            vector.iter_mut().for_each(|x| *x /= length);
            vectors.push(vector);
        }
    }
    let at = |input: usize, output: usize| {
        if inputs <= outputs { vectors[input][output] } else { vectors[output][input] }
    };
    (0..inputs)
        .flat_map(|input| (0..outputs).map(move |output| (input, output)))
        .map(|(input, output)| at(input, output) as f32)
        .collect()
}
