//! Recurrent layers on the CPU: all steps in one operation, with a backward pass through all of them.
//!
//! One matrix product a step and one for the gradient of the recurrent kernel; what lies between two
//! of them is one pass over the gates. Values are `[samples, steps, ..]`.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::functions::{sigmoid, tanh};
use super::product::{Matrix, multiply};
use super::transpose::transposed;
use crate::activation::Activation;
use crate::simd;

/// What a recurrent layer does from one step to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Gates: input, forget, candidate, output.
    Lstm,
    /// Gates: update, reset, candidate.
    Gru {
        reset_after: bool,
    },
    Simple,
}

impl Cell {
    /// How many numbers are made of each unit's input.
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru { .. } => 3,
            Self::Simple => 1,
        }
    }

    /// How many numbers of each unit the backward pass needs.
    pub(crate) fn saved(self) -> usize {
        match self {
            // The gates, the state and its tanh.
            Self::Lstm => 6,
            // The gates, and the candidate's recurrent part.
            Self::Gru { .. } => 4,
            Self::Simple => 1,
        }
    }
}

/// A recurrent layer behind the product with its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recurrence {
    pub cell: Cell,
    pub steps: usize,
    pub activation: Activation,
    pub recurrent_activation: Activation,
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    saved: Vec<f32>,
    outputs: Vec<f32>,
}

/// The gradients by the inputs, the recurrent kernel and the recurrent bias.
pub(super) struct Gradients {
    pub inputs: Vec<f32>,
    pub recurrent: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Recurrence {
    /// Whether this is what the kernel computes.
    pub(super) fn has_kernel(&self) -> bool {
        self.activation == Activation::Tanh
            && match self.cell {
                Cell::Lstm => self.recurrent_activation == Activation::Sigmoid,
                Cell::Gru { reset_after } => {
                    reset_after && self.recurrent_activation == Activation::Sigmoid
                }
                Cell::Simple => true,
            }
    }

    /// The outputs of all steps: `x` `[samples, steps, gates × units]` in, `[samples, steps, units]`
    /// out. `bias` is added to the recurrent product.
    pub(super) fn forward(&self, x: &[f32], recurrent: &[f32], bias: &[f32]) -> Trace {
        let Self { cell, steps, .. } = *self;
        let [units, width] = sizes(cell, recurrent);
        let samples = x.len() / (steps * width);
        let mut outputs = vec![0.0; samples * steps * units];
        let mut saved = vec![0.0; samples * steps * units * cell.saved()];
        let mut states = vec![0.0; samples * units];
        let mut last = vec![0.0; samples * units];
        let mut products = vec![0.0; samples * width];
        for step in 0..steps {
            if step > 0 {
                products = multiply(
                    Matrix::new(&last, samples, units),
                    Matrix::new(recurrent, units, width),
                );
            }
            (outputs.par_chunks_mut(steps * units))
                .zip(saved.par_chunks_mut(steps * units * cell.saved()))
                .zip(states.par_chunks_mut(units))
                .zip(last.par_chunks_mut(units))
                .zip(products.par_chunks_mut(width))
                .zip(x.par_chunks(steps * width))
                .with_min_len(samples_at_once(width))
                .for_each(|(((((outputs, saved), state), last), product), x)| {
                    let x = &x[step * width..][..width];
                    let saved = &mut saved[step * units * cell.saved()..][..units * cell.saved()];
                    simd::dispatch(Forward { cell, x, product, bias, state, last, saved });
                    outputs[step * units..][..units].copy_from_slice(last);
                });
        }
        Trace { saved, outputs }
    }

    /// The gradients, from those of the outputs.
    pub(super) fn backward(&self, trace: &Trace, recurrent: &[f32], gradient: &[f32]) -> Gradients {
        let Self { cell, steps, .. } = *self;
        let [units, width] = sizes(cell, recurrent);
        let samples = gradient.len() / (steps * units);
        let size = units * cell.saved();
        // Once, and not in each of the products.
        let transposed = transposed(recurrent, units);
        let mut by_inputs = vec![0.0; samples * steps * width];
        let mut by_products = vec![0.0; samples * steps * width];
        let mut by_state = vec![0.0; samples * units];
        let mut by_output = vec![0.0; samples * units];
        let mut by_product = vec![0.0; samples * width];
        let nothing = vec![0.0; size];
        for step in (0..steps).rev() {
            (by_inputs.par_chunks_mut(steps * width))
                .zip(by_products.par_chunks_mut(steps * width))
                .zip(by_state.par_chunks_mut(units))
                .zip(by_output.par_chunks_mut(units))
                .zip(by_product.par_chunks_mut(width))
                .zip(gradient.par_chunks(steps * units))
                .zip(trace.saved.par_chunks(steps * size))
                .zip(trace.outputs.par_chunks(steps * units))
                .with_min_len(samples_at_once(width))
                .for_each(|(row, outputs)| {
                    let (row, saved) = row;
                    let (row, gradient) = row;
                    let ((((by_input, by_products), by_state), by_output), by_product) = row;
                    let (saved_before, before) = match step.checked_sub(1) {
                        Some(before) => {
                            (&saved[before * size..][..size], &outputs[before * units..][..units])
                        }
                        None => (&nothing[..], &nothing[..units]),
                    };
                    for (sum, gradient) in by_output.iter_mut().zip(&gradient[step * units..]) {
                        *sum += gradient;
                    }
                    simd::dispatch(Backward {
                        cell,
                        saved: &saved[step * size..][..size],
                        saved_before,
                        before,
                        by_output,
                        by_state,
                        by_input: &mut by_input[step * width..][..width],
                        by_product,
                    });
                    by_products[step * width..][..width].copy_from_slice(by_product);
                });
            if step > 0 {
                let by_product = Matrix::new(&by_product, samples, width);
                let back = multiply(by_product, Matrix::new(&transposed, width, units));
                by_output.iter_mut().zip(back).for_each(|(sum, back)| *sum += back);
            }
        }
        let mut before = vec![0.0; samples * steps * units];
        let rows = before.chunks_exact_mut(steps * units);
        for (before, outputs) in rows.zip(trace.outputs.chunks_exact(steps * units)) {
            before[units..].copy_from_slice(&outputs[..(steps - 1) * units]);
        }
        let mut bias = vec![0.0; width];
        for row in by_products.chunks_exact(width) {
            bias.iter_mut().zip(row).for_each(|(sum, gradient)| *sum += gradient);
        }
        let rows = samples * steps;
        let recurrent = multiply(
            Matrix::new(&before, rows, units).transposed(),
            Matrix::new(&by_products, rows, width),
        );
        Gradients { inputs: by_inputs, recurrent, bias }
    }
}

impl Trace {
    pub(super) fn outputs(&self) -> &[f32] {
        &self.outputs
    }
}

/// Less than this is not worth another thread.
fn samples_at_once(width: usize) -> usize {
    (1_usize << 14).div_ceil(width)
}

/// Units, and their gates, of a recurrent kernel `[units, gates × units]`.
fn sizes(cell: Cell, recurrent: &[f32]) -> [usize; 2] {
    let units = (recurrent.len() / cell.gates()).isqrt();
    [units, units * cell.gates()]
}

/// One step of one sample.
struct Forward<'a> {
    cell: Cell,
    x: &'a [f32],
    product: &'a mut [f32],
    bias: &'a [f32],
    state: &'a mut [f32],
    last: &'a mut [f32],
    saved: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cell, x, product, bias, state, last, saved } = self;
        let units = last.len();
        product.iter_mut().zip(bias).for_each(|(product, bias)| *product += bias);
        match cell {
            Cell::Lstm => {
                let (gates, states) = saved.split_at_mut(4 * units);
                for ((gate, x), product) in gates.iter_mut().zip(x).zip(&*product) {
                    *gate = x + product;
                }
                gates[..2 * units].iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                gates[2 * units..3 * units].iter_mut().for_each(|gate| *gate = tanh(*gate));
                gates[3 * units..].iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                let [input, forget, candidate, output] = parts(gates, units);
                let (kept, squashed) = states.split_at_mut(units);
                for (((state, input), forget), candidate) in
                    state.iter_mut().zip(input).zip(forget).zip(candidate)
                {
                    *state = forget * *state + input * candidate;
                }
                kept.copy_from_slice(state);
                for (squashed, state) in squashed.iter_mut().zip(&*state) {
                    *squashed = tanh(*state);
                }
                for ((last, output), squashed) in last.iter_mut().zip(output).zip(&*squashed) {
                    *last = output * squashed;
                }
            }
            Cell::Gru { .. } => {
                let (gates, recurrent) = saved.split_at_mut(3 * units);
                for ((gate, x), product) in gates[..2 * units].iter_mut().zip(x).zip(&*product) {
                    *gate = sigmoid(x + product);
                }
                recurrent.copy_from_slice(&product[2 * units..]);
                let (update_reset, candidate) = gates.split_at_mut(2 * units);
                let (update, reset) = update_reset.split_at(units);
                for (((candidate, x), reset), recurrent) in
                    candidate.iter_mut().zip(&x[2 * units..]).zip(reset).zip(&*recurrent)
                {
                    *candidate = tanh(x + reset * recurrent);
                }
                for ((last, update), candidate) in last.iter_mut().zip(update).zip(&*candidate) {
                    *last = update * *last + (1.0 - update) * candidate;
                }
            }
            Cell::Simple => {
                for ((last, x), product) in last.iter_mut().zip(x).zip(&*product) {
                    *last = tanh(x + product);
                }
                saved.copy_from_slice(last);
            }
        }
    }
}

/// One step of one sample, backwards.
struct Backward<'a> {
    cell: Cell,
    saved: &'a [f32],
    /// Of the step before.
    saved_before: &'a [f32],
    /// The output of the step before.
    before: &'a [f32],
    /// In: by the output of this step. Out: by that of the step before, but for the product.
    by_output: &'a mut [f32],
    /// By the state, which an LSTM alone has.
    by_state: &'a mut [f32],
    by_input: &'a mut [f32],
    by_product: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cell, saved, saved_before, before, by_output, by_state, by_input, by_product } =
            self;
        let units = before.len();
        match cell {
            Cell::Lstm => {
                let [input, forget, candidate, output, _, squashed] = parts(saved, units);
                let state_before = &saved_before[4 * units..][..units];
                let (by_gate_input, rest) = by_input.split_at_mut(units);
                let (by_forget, rest) = rest.split_at_mut(units);
                let (by_candidate, by_gate_output) = rest.split_at_mut(units);
                let by_gate_output = &mut by_gate_output[..units];
                let (by_output, by_state) = (&mut by_output[..units], &mut by_state[..units]);
                let by_candidate = &mut by_candidate[..units];
                for i in 0..units {
                    let squash = 1.0 - squashed[i] * squashed[i];
                    let by_this = by_state[i] + by_output[i] * output[i] * squash;
                    by_gate_output[i] = by_output[i] * squashed[i] * output[i] * (1.0 - output[i]);
                    by_gate_input[i] = by_this * candidate[i] * input[i] * (1.0 - input[i]);
                    by_forget[i] = by_this * state_before[i] * forget[i] * (1.0 - forget[i]);
                    by_candidate[i] = by_this * input[i] * (1.0 - candidate[i] * candidate[i]);
                    by_state[i] = by_this * forget[i];
                    by_output[i] = 0.0;
                }
                by_product.copy_from_slice(by_input);
            }
            Cell::Gru { .. } => {
                let [update, reset, candidate, recurrent] = parts(saved, units);
                let (by_update, rest) = by_input.split_at_mut(units);
                let (by_reset, by_candidate) = rest.split_at_mut(units);
                let by_candidate = &mut by_candidate[..units];
                let by_output = &mut by_output[..units];
                for i in 0..units {
                    let squash = 1.0 - candidate[i] * candidate[i];
                    let by_squashed = by_output[i] * (1.0 - update[i]) * squash;
                    by_update[i] =
                        by_output[i] * (before[i] - candidate[i]) * update[i] * (1.0 - update[i]);
                    by_reset[i] = by_squashed * recurrent[i] * reset[i] * (1.0 - reset[i]);
                    by_candidate[i] = by_squashed;
                    by_output[i] *= update[i];
                }
                by_product.copy_from_slice(by_input);
                let by_recurrent = &mut by_product[2 * units..];
                by_recurrent.iter_mut().zip(reset).for_each(|(by, reset)| *by *= reset);
            }
            Cell::Simple => {
                for ((by_input, by_output), last) in
                    by_input.iter_mut().zip(by_output.iter_mut()).zip(saved)
                {
                    *by_input = *by_output * (1.0 - last * last);
                    *by_output = 0.0;
                }
                by_product.copy_from_slice(by_input);
            }
        }
    }
}

/// The values of `N` gates.
#[inline(always)]
fn parts<const N: usize>(values: &[f32], units: usize) -> [&[f32]; N] {
    std::array::from_fn(|i| &values[i * units..][..units])
}
