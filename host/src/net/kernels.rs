//! Layers computed by our own code when training on a CPU, forwards and backwards.
//!
//! burn computes these as sequences of general tensor operations, each of which reads and writes all values; here one
//! pass does what five did.

mod depthwise;
mod function;
mod norm;
mod pool;

pub use depthwise::Depthwise;
pub use norm::{Normalised, Statistics};
pub use pool::Chosen;

use super::conv::Geometry;
use burn::tensor::Tensor;
use ocellus_shared::Window;
use std::sync::Arc;

/// A feature map in this process's memory.
#[derive(Clone, Debug)]
pub struct Map {
    /// `(n, c, h, w)`.
    pub dims: [usize; 4],
    /// The values, columns innermost.
    pub values: Arc<Vec<f32>>,
}

impl Map {
    /// A map of these values.
    pub fn new(dims: [usize; 4], values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), dims.iter().product::<usize>());
        Self { dims, values: Arc::new(values) }
    }

    /// Pixels of a channel.
    fn plane(&self) -> usize {
        self.dims[2] * self.dims[3]
    }
}

/// A layer that has run, with what its backward pass needs.
#[derive(Debug)]
pub enum Kernel {
    /// A convolution over all channels.
    Conv {
        /// Its sizes.
        geometry: Geometry,
        /// Its input.
        x: Map,
        /// Its weights.
        weight: Box<Tensor<1>>,
        /// Names of the weights and the biases that are fitted.
        names: [Option<String>; 2],
    },
    /// A convolution of each channel by itself.
    Depthwise(Depthwise),
    /// A batch normalisation by the batch's own statistics.
    BatchNorm {
        /// Its input, and the statistics.
        normalised: Normalised,
        /// Names of factor and offset, where they are fitted.
        names: Option<[String; 2]>,
    },
    /// `min(max(x, 0), ceiling)`.
    Relu {
        /// Its result.
        y: Map,
        /// Infinite for a plain ReLU.
        ceiling: f32,
    },
    /// A smooth function of every value.
    Function {
        /// Its slope at each of them.
        slopes: Vec<f32>,
    },
    /// The largest value under each window.
    MaxPool(Chosen),
    /// The mean of each channel.
    Mean {
        /// Values of a channel.
        plane: usize,
    },
    /// A product with fixed factors.
    Dropout {
        /// One for each value.
        factors: Vec<f32>,
    },
    /// A sum of two maps.
    Add,
    /// A map times one factor for each channel of each image.
    Mul {
        /// The map.
        x: Map,
        /// The factors, `(n, c, 1, 1)`.
        factors: Map,
    },
}

/// What a backward pass finds.
#[derive(Debug, Default)]
pub struct Found {
    /// Gradients by parameter name.
    pub parameters: Vec<(String, Vec<f32>)>,
    /// The gradient of each input, where it is wanted.
    pub inputs: Vec<Option<Vec<f32>>>,
}

impl Kernel {
    /// Convolves `x`; `bias` is added to each output channel, and `names` says which of weights and biases are fitted.
    pub fn conv(
        x: Map,
        geometry: Geometry,
        weight: Tensor<1>,
        bias: Option<Vec<f32>>,
        names: [Option<String>; 2],
    ) -> (Self, Map) {
        let mut y = geometry.forward(&x.values, &weight);
        if let Some(bias) = bias {
            let plane = geometry.output_dims()[2] * geometry.output_dims()[3];
            let planes = y.chunks_exact_mut(plane).zip(bias.iter().cycle());
            planes.for_each(|(plane, bias)| plane.iter_mut().for_each(|y| *y += bias));
        }
        let map = Map::new(geometry.output_dims(), y);
        (Self::Conv { geometry, x, weight: Box::new(weight), names }, map)
    }

    /// Convolves each channel of `x` with its filter of `weight`, `(c, kh, kw)`; otherwise as [`Kernel::conv`].
    pub fn depthwise(
        x: Map,
        window: Window,
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        names: [Option<String>; 2],
    ) -> (Self, Map) {
        let (kernel, y) = Depthwise::forward(x, window, weight, bias, names);
        (Self::Depthwise(kernel), y)
    }

    /// The mean of each channel of `x`, `(n, c, 1, 1)`.
    pub fn mean(x: &Map) -> (Self, Map) {
        let (plane, [n, c, ..]) = (x.plane(), x.dims);
        let means = x.values.chunks_exact(plane).map(|values| sum(values, |v| v) / plane as f32).collect();
        (Self::Mean { plane }, Map::new([n, c, 1, 1], means))
    }

    /// Clips `x` to `[0, ceiling]`.
    pub fn relu(x: Map, ceiling: f32) -> (Self, Map) {
        let mut values = Arc::unwrap_or_clone(x.values);
        // A value that is not a number must stay one: the trainer looks for it.
        values.iter_mut().for_each(|v| {
            *v = if *v < 0.0 {
                0.0
            } else if *v > ceiling {
                ceiling
            } else {
                *v
            }
        });
        let y = Map::new(x.dims, values);
        (Self::Relu { y: y.clone(), ceiling }, y)
    }

    /// Multiplies each value of `x` with its factor.
    pub fn dropout(x: Map, factors: Vec<f32>) -> (Self, Map) {
        let mut values = Arc::unwrap_or_clone(x.values);
        multiply(&mut values, &factors);
        (Self::Dropout { factors }, Map::new(x.dims, values))
    }

    /// Adds two maps of one shape.
    pub fn add(a: Map, b: &Map) -> (Self, Map) {
        let mut values = Arc::unwrap_or_clone(a.values);
        values.iter_mut().zip(b.values.iter()).for_each(|(a, b)| *a += b);
        (Self::Add, Map::new(a.dims, values))
    }

    /// Multiplies each channel of `x` with its factor, `(n, c, 1, 1)`.
    pub fn mul(x: Map, factors: Map) -> (Self, Map) {
        let mut values = x.values.to_vec();
        let planes = values.chunks_exact_mut(x.plane()).zip(factors.values.iter());
        planes.for_each(|(plane, factor)| plane.iter_mut().for_each(|v| *v *= factor));
        let y = Map::new(x.dims, values);
        (Self::Mul { x, factors }, y)
    }

    /// Whether it has parameters that are fitted.
    pub fn has_parameters(&self) -> bool {
        match self {
            Self::Conv { names, .. } => names.iter().any(Option::is_some),
            Self::Depthwise(kernel) => kernel.names.iter().any(Option::is_some),
            Self::BatchNorm { names, .. } => names.is_some(),
            _ => false,
        }
    }

    /// The gradients for the gradient `dy` of its result; of its inputs only the `wanted` ones.
    pub fn backward(&self, mut dy: Vec<f32>, wanted: &[bool]) -> Found {
        match self {
            Self::Conv { geometry, x, weight, names } => {
                let weights = (&**weight, names[0].is_some());
                let (dw, dx) = geometry.backward(&x.values, weights, &dy, wanted[0]);
                let db = names[1].as_ref().map(|_| channel_sums(&dy, geometry.output_dims()));
                let gradients = [dw, db].into_iter().zip(names);
                let parameters = gradients.filter_map(|(g, name)| Some((name.clone()?, g?))).collect();
                Found { parameters, inputs: vec![dx] }
            }
            Self::Depthwise(kernel) => kernel.backward(&dy, wanted[0]),
            Self::BatchNorm { normalised, names } => {
                let gradients = normalised.backward(&mut dy);
                let parameters = names.iter().flatten().cloned().zip(gradients).collect();
                Found { parameters, inputs: vec![Some(dy)] }
            }
            Self::Relu { y, ceiling } => {
                let passes = |y: f32| y > 0.0 && y < *ceiling;
                dy.iter_mut().zip(y.values.iter()).for_each(|(d, &y)| *d = if passes(y) { *d } else { 0.0 });
                Found { inputs: vec![Some(dy)], ..Found::default() }
            }
            Self::Function { slopes } => {
                multiply(&mut dy, slopes);
                Found { inputs: vec![Some(dy)], ..Found::default() }
            }
            Self::Mean { plane } => {
                let spread = dy.iter().flat_map(|d| std::iter::repeat_n(d / *plane as f32, *plane));
                Found { inputs: vec![Some(spread.collect())], ..Found::default() }
            }
            Self::MaxPool(chosen) => Found { inputs: vec![Some(chosen.backward(&dy))], ..Found::default() },
            Self::Dropout { factors } => {
                multiply(&mut dy, factors);
                Found { inputs: vec![Some(dy)], ..Found::default() }
            }
            Self::Mul { x, factors } => {
                let planes = dy.chunks_exact(x.plane()).zip(x.values.chunks_exact(x.plane()));
                let sums = planes.map(|(dy, x)| dot(dy, x)).collect();
                let planes = dy.chunks_exact_mut(x.plane()).zip(factors.values.iter());
                planes.for_each(|(dy, factor)| dy.iter_mut().for_each(|d| *d *= factor));
                Found { inputs: vec![Some(dy), Some(sums)], ..Found::default() }
            }
            Self::Add => Found { inputs: vec![wanted[0].then(|| dy.clone()), Some(dy)], ..Found::default() },
        }
    }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    values.iter_mut().zip(factors).for_each(|(v, f)| *v *= f);
}

/// The sum of each channel's values of maps `(n, c, h, w)`.
fn channel_sums(values: &[f32], dims: [usize; 4]) -> Vec<f32> {
    let mut sums = vec![0f64; dims[1]];
    for (i, plane) in values.chunks_exact(dims[2] * dims[3]).enumerate() {
        sums[i % dims[1]] += f64::from(sum(plane, |v| v));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Sum of `term` of every value, in several lanes: an addition must not wait for the one before it.
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let chunks = values.chunks_exact(lanes.len());
    let rest: f32 = chunks.remainder().iter().map(|&v| term(v)).sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane += term(v));
    }
    lanes.iter().sum::<f32>() + rest
}

/// Sum of the products of two rows of values, in several lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a, b) = (a.chunks_exact(lanes.len()), b.chunks_exact(lanes.len()));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    lanes.iter().sum::<f32>() + rest
}
