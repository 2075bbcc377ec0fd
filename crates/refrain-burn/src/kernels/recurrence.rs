//! Recurrent layers on the CPU: all steps in one operation, with a backward pass through all of them.
//!
//! A thread takes some samples through all steps: a product of matrices and a pass over the gates
//! each. The gradient of the recurrent kernel is one product at the end. Values are
//! `[samples, steps, ..]`.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::functions::{sigmoid, tanh};
use super::panels::{Panels, Spacing};
use super::product::{Matrix, multiply};
use super::transpose::transposed;
use crate::activation::Activation;
use crate::simd;

/// Fewer multiplications than this are not worth a second thread.
const PER_TASK: usize = 1 << 20;

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

    /// How many numbers of each unit the backward pass needs beside the gates and outputs.
    pub(crate) fn extra(self) -> usize {
        match self {
            // The state and its tanh.
            Self::Lstm => 2,
            // The candidate's recurrent part.
            Self::Gru { .. } => 1,
            Self::Simple => 0,
        }
    }

    /// Whether all of the recurrent product is added to the product of the inputs.
    pub(super) fn adds_products(self) -> bool {
        !matches!(self, Self::Gru { .. })
    }

    /// The columns of the recurrent product that are added to the gates, and those that are not: the
    /// candidate's of a GRU, which the reset gate multiplies first.
    fn columns(self, units: usize) -> [Range<usize>; 2] {
        let width = self.gates() * units;
        let added = if self.adds_products() { width } else { 2 * units };
        [0..added, added..width]
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

/// What the forward pass gives beside the gates.
pub(super) struct Outputs {
    /// `[samples, steps, units]`.
    pub outputs: Vec<f32>,
    /// What else the backward pass needs.
    pub extra: Vec<f32>,
}

/// The gradients by the recurrent kernel and the recurrent bias.
pub(super) struct Gradients {
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

    /// All steps. `gates` `[samples, steps, gates × units]` holds the inputs, and then the gates.
    /// `bias` is added to the recurrent product.
    pub(super) fn forward(&self, gates: &mut [f32], recurrent: &[f32], bias: &[f32]) -> Outputs {
        let Self { cell, steps, .. } = *self;
        let [units, width] = sizes(cell, recurrent);
        let samples = gates.len() / (steps * width);
        let mut outputs = vec![0.0; samples * steps * units];
        let mut extra = vec![0.0; outputs.len() * cell.extra()];
        let products = cell.columns(units).map(|of| Panels::new(recurrent, width, of));
        let each = samples_each(samples, steps * units * width);
        let mut rest = &mut extra[..];
        let parts = outputs.chunks_mut(each * steps * units);
        let tasks = parts.zip(gates.chunks_mut(each * steps * width)).map(|(outputs, gates)| {
            let extra = split_off(&mut rest, outputs.len() * cell.extra());
            let (recurrence, products) = (self, &products);
            ForwardTask { recurrence, units, products, bias, gates, outputs, extra }
        });
        run(tasks.collect());
        Outputs { outputs, extra }
    }

    /// The gradients, from those of the outputs and what the forward pass gave. In the place of the
    /// gates come the gradients of the inputs.
    pub(super) fn backward(
        &self,
        gates: &mut [f32],
        outputs: &[f32],
        mut extra: Vec<f32>,
        recurrent: &[f32],
        gradient: &[f32],
    ) -> Gradients {
        let Self { cell, steps, .. } = *self;
        let [units, width] = sizes(cell, recurrent);
        let samples = outputs.len() / (steps * units);
        let transposed = transposed(recurrent, units);
        let columns = cell.columns(units);
        let products = columns.clone().map(|of| {
            let rows = &transposed[of.start * units..of.end * units];
            Panels::new(rows, units, 0..units)
        });
        let mut biases = vec![0.0; samples * width];
        let each = samples_each(samples, steps * units * width);
        let mut rest = &mut extra[..];
        let parts = outputs.chunks(each * steps * units).zip(gradient.chunks(each * steps * units));
        let parts = parts.zip(gates.chunks_mut(each * steps * width));
        let tasks = parts.zip(biases.chunks_mut(each * width)).map(|(part, biases)| {
            let ((outputs, gradient), gates) = part;
            let extra = split_off(&mut rest, outputs.len() * cell.extra());
            let (recurrence, products) = (self, &products);
            BackwardTask { recurrence, units, products, outputs, gradient, gates, extra, biases }
        });
        run(tasks.collect());

        let rows = samples * steps;
        let before = steps_before(outputs, steps, units);
        let before = Matrix::new(&before, rows, units).transposed();
        let [added, apart] = columns;
        let by_gates = Matrix::new(gates, rows, width).columns(added);
        let mut by_recurrent = multiply(before, by_gates);
        if !apart.is_empty() {
            let by_extra = multiply(before, Matrix::new(&extra, rows, apart.len()));
            by_recurrent = side_by_side(&by_recurrent, &by_extra, units);
        }
        // In the order of the samples, on any number of threads.
        let mut bias = vec![0.0; width];
        for row in biases.chunks_exact(width) {
            bias.iter_mut().zip(row).for_each(|(sum, gradient)| *sum += gradient);
        }
        Gradients { recurrent: by_recurrent, bias }
    }
}

/// Samples of one task, each of which takes so many multiplications.
///
/// Samples know nothing of each other: a thread takes some through all steps, and waits for no other
/// between two of them.
fn samples_each(samples: usize, work: usize) -> usize {
    let most = match rayon::current_num_threads() {
        1 => 1,
        threads => 2 * threads,
    };
    let tasks = (samples.saturating_mul(work) / PER_TASK).clamp(1, most);
    samples.div_ceil(tasks).max(1)
}

fn run<T: WithSimd<Output = ()> + Send>(tasks: Vec<T>) {
    match tasks.len() {
        0 | 1 => tasks.into_iter().for_each(simd::dispatch),
        _ => tasks.into_par_iter().for_each(simd::dispatch),
    }
}

fn split_off<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (part, behind) = std::mem::take(rest).split_at_mut(len);
    *rest = behind;
    part
}

/// For each step the outputs of the step before; of the first, 0.
fn steps_before(outputs: &[f32], steps: usize, units: usize) -> Vec<f32> {
    let mut before = vec![0.0; outputs.len()];
    let rows = before.chunks_exact_mut(steps * units).zip(outputs.chunks_exact(steps * units));
    for (before, outputs) in rows {
        before[units..].copy_from_slice(&outputs[..(steps - 1) * units]);
    }
    before
}

/// The columns of two matrices with as many rows as one.
fn side_by_side(left: &[f32], right: &[f32], rows: usize) -> Vec<f32> {
    let [left, right] = [left, right].map(|matrix| matrix.chunks_exact(matrix.len() / rows));
    left.zip(right).flat_map(|(left, right)| left.iter().chain(right).copied()).collect()
}

/// Units, and their gates, of a recurrent kernel `[units, gates × units]`.
fn sizes(cell: Cell, recurrent: &[f32]) -> [usize; 2] {
    let units = (recurrent.len() / cell.gates()).isqrt();
    [units, units * cell.gates()]
}

/// Some samples, forward.
struct ForwardTask<'a> {
    recurrence: &'a Recurrence,
    units: usize,
    /// With the recurrent kernel: what is added to the gates, and the rest.
    products: &'a [Panels; 2],
    bias: &'a [f32],
    gates: &'a mut [f32],
    outputs: &'a mut [f32],
    extra: &'a mut [f32],
}

impl WithSimd for ForwardTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { recurrence, units, products: [to_gates, to_extra], bias, .. } = self;
        let Self { gates, outputs, extra, .. } = self;
        let Recurrence { cell, steps, .. } = *recurrence;
        let (width, size) = (units * cell.gates(), units * cell.extra());
        let samples = outputs.len() / (steps * units);
        let spacing = |stride: usize| Spacing { rows: samples, stride: steps * stride };
        let nothing = vec![0.0; units.max(size)];
        for step in 0..steps {
            if !bias.is_empty() {
                // The candidate's bias is part of what the reset gate multiplies.
                let [added, apart] = cell.columns(units);
                for sample in 0..samples {
                    let at = sample * steps + step;
                    add(&mut gates[at * width..][..width], &bias[added.clone()]);
                    add(&mut extra[at * size..][..size], &bias[apart.clone()]);
                }
            }
            if let Some(before) = step.checked_sub(1) {
                let outputs = (&outputs[before * units..], spacing(units));
                to_gates.add_product(simd, outputs, (&mut gates[step * width..], spacing(width)));
                to_extra.add_product(simd, outputs, (&mut extra[step * size..], spacing(size)));
            }
            for sample in 0..samples {
                let at = sample * steps + step;
                let (extra_past, extra) = extra.split_at_mut(at * size);
                let (past, output) = outputs.split_at_mut(at * units);
                let (extra_before, before) = match step {
                    0 => (&nothing[..size], &nothing[..units]),
                    _ => (&extra_past[(at - 1) * size..], &past[(at - 1) * units..]),
                };
                simd.vectorize(Forward {
                    cell,
                    before,
                    extra_before,
                    gates: &mut gates[at * width..][..width],
                    extra: &mut extra[..size],
                    output: &mut output[..units],
                });
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// One step of one sample, behind the product.
struct Forward<'a> {
    cell: Cell,
    /// Of the step before.
    before: &'a [f32],
    extra_before: &'a [f32],
    gates: &'a mut [f32],
    extra: &'a mut [f32],
    output: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cell, before, extra_before, gates, extra, output } = self;
        let units = output.len();
        match cell {
            Cell::Lstm => {
                gates[..2 * units].iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                gates[2 * units..3 * units].iter_mut().for_each(|gate| *gate = tanh(*gate));
                gates[3 * units..].iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                let [input, forget, candidate, gate] = parts(gates, units);
                let (state, squashed) = extra.split_at_mut(units);
                for ((((state, input), forget), candidate), before) in
                    state.iter_mut().zip(input).zip(forget).zip(candidate).zip(extra_before)
                {
                    *state = forget * before + input * candidate;
                }
                for (squashed, state) in squashed.iter_mut().zip(&*state) {
                    *squashed = tanh(*state);
                }
                for ((output, gate), squashed) in output.iter_mut().zip(gate).zip(&*squashed) {
                    *output = gate * squashed;
                }
            }
            Cell::Gru { .. } => {
                let (update_reset, candidate) = gates.split_at_mut(2 * units);
                update_reset.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
                let (update, reset) = update_reset.split_at(units);
                for ((candidate, reset), recurrent) in candidate.iter_mut().zip(reset).zip(&*extra)
                {
                    *candidate = tanh(*candidate + reset * recurrent);
                }
                for (((output, update), candidate), before) in
                    output.iter_mut().zip(update).zip(&*candidate).zip(before)
                {
                    *output = update * before + (1.0 - update) * candidate;
                }
            }
            Cell::Simple => {
                gates.iter_mut().for_each(|gate| *gate = tanh(*gate));
                output.copy_from_slice(gates);
            }
        }
    }
}

/// Some samples, backward.
struct BackwardTask<'a> {
    recurrence: &'a Recurrence,
    units: usize,
    /// With the transposed recurrent kernel, as forward.
    products: &'a [Panels; 2],
    outputs: &'a [f32],
    gradient: &'a [f32],
    /// Gradients come in the place of both.
    gates: &'a mut [f32],
    extra: &'a mut [f32],
    /// Of each sample.
    biases: &'a mut [f32],
}

impl WithSimd for BackwardTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { recurrence, units, products: [by_gates, by_extra], outputs, .. } = self;
        let Self { gradient, gates, extra, biases, .. } = self;
        let Recurrence { cell, steps, .. } = *recurrence;
        let (width, size) = (units * cell.gates(), units * cell.extra());
        let samples = biases.len() / width;
        let spacing = |stride: usize| Spacing { rows: samples, stride: steps * stride };
        let mut by_state = vec![0.0; samples * units];
        let mut by_output = vec![0.0; samples * units];
        let nothing = vec![0.0; units.max(size)];
        for step in (0..steps).rev() {
            for sample in 0..samples {
                let at = sample * steps + step;
                let (extra_past, extra) = extra.split_at_mut(at * size);
                let (extra_before, before) = match step {
                    0 => (&nothing[..size], &nothing[..units]),
                    _ => (&extra_past[(at - 1) * size..], &outputs[(at - 1) * units..][..units]),
                };
                simd.vectorize(Backward {
                    cell,
                    before,
                    extra_before,
                    gradient: &gradient[at * units..][..units],
                    by_output: &mut by_output[sample * units..][..units],
                    by_state: &mut by_state[sample * units..][..units],
                    gates: &mut gates[at * width..][..width],
                    extra: &mut extra[..size],
                    bias: &mut biases[sample * width..][..width],
                });
            }
            if step > 0 {
                let by_output = &mut by_output[..];
                let target = Spacing { rows: samples, stride: units };
                let gates = (&gates[step * width..], spacing(width));
                by_gates.add_product(simd, gates, (by_output, target));
                let extra = (&extra[step * size..], spacing(size));
                by_extra.add_product(simd, extra, (by_output, target));
            }
        }
    }
}

/// One step of one sample, backwards.
struct Backward<'a> {
    cell: Cell,
    /// Of the step before.
    before: &'a [f32],
    extra_before: &'a [f32],
    gradient: &'a [f32],
    /// In: by the output of this step, but for `gradient`. Out: by that of the step before, but for
    /// the products.
    by_output: &'a mut [f32],
    /// By the state, which an LSTM alone has.
    by_state: &'a mut [f32],
    /// Out: the gradients by the inputs.
    gates: &'a mut [f32],
    /// Out: those by what of the product is not added to the gates.
    extra: &'a mut [f32],
    /// The gradients by the product are added to it.
    bias: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cell, before, extra_before, gradient, by_output, by_state, .. } = self;
        let Self { gates, extra, bias, .. } = self;
        let units = before.len();
        let (by_output, gradient) = (&mut by_output[..units], &gradient[..units]);
        match cell {
            Cell::Lstm => {
                let [state_before, _] = parts(extra_before, units);
                let [_, squashed] = parts(extra, units);
                let by_state = &mut by_state[..units];
                let (input, rest) = gates.split_at_mut(units);
                let (forget, rest) = rest.split_at_mut(units);
                let (candidate, output) = rest.split_at_mut(units);
                let (candidate, output) = (&mut candidate[..units], &mut output[..units]);
                for i in 0..units {
                    let by_this_output = by_output[i] + gradient[i];
                    let squash = 1.0 - squashed[i] * squashed[i];
                    let by_this = by_state[i] + by_this_output * output[i] * squash;
                    by_state[i] = by_this * forget[i];
                    by_output[i] = 0.0;
                    let by_input = by_this * candidate[i] * input[i] * (1.0 - input[i]);
                    candidate[i] = by_this * input[i] * (1.0 - candidate[i] * candidate[i]);
                    input[i] = by_input;
                    forget[i] = by_this * state_before[i] * forget[i] * (1.0 - forget[i]);
                    output[i] = by_this_output * squashed[i] * output[i] * (1.0 - output[i]);
                }
                add(bias, gates);
            }
            Cell::Gru { .. } => {
                let extra = &mut extra[..units];
                let (update, rest) = gates.split_at_mut(units);
                let (reset, candidate) = rest.split_at_mut(units);
                let candidate = &mut candidate[..units];
                for i in 0..units {
                    let by_this = by_output[i] + gradient[i];
                    let squash = 1.0 - candidate[i] * candidate[i];
                    let by_squashed = by_this * (1.0 - update[i]) * squash;
                    by_output[i] = by_this * update[i];
                    update[i] =
                        by_this * (before[i] - candidate[i]) * update[i] * (1.0 - update[i]);
                    candidate[i] = by_squashed;
                    let by_recurrent = by_squashed * reset[i];
                    reset[i] = by_squashed * extra[i] * reset[i] * (1.0 - reset[i]);
                    extra[i] = by_recurrent;
                }
                let (of_gates, of_extra) = bias.split_at_mut(2 * units);
                add(of_gates, gates);
                add(of_extra, extra);
            }
            Cell::Simple => {
                for ((gate, by_output), gradient) in
                    gates.iter_mut().zip(by_output.iter_mut()).zip(gradient)
                {
                    *gate = (*by_output + gradient) * (1.0 - *gate * *gate);
                    *by_output = 0.0;
                }
                add(bias, gates);
            }
        }
    }
}

/// The values of `N` gates.
#[inline(always)]
fn parts<const N: usize>(values: &[f32], units: usize) -> [&[f32]; N] {
    std::array::from_fn(|i| &values[i * units..][..units])
}
