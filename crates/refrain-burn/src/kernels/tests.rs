//! Our kernels against Burn's composition: values and gradients, on shapes that divide by nothing.

mod dense;
mod softmax;

use burn::tensor::{Device, Tensor, TensorData};
use chacha20::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::conv2d::Kept;
use super::sparse_conv2d::SparseConv2d;
use super::{Cell, Conv2d, Recurrence, composed, flex};
use crate::activation::Activation;
use crate::layers::Windows;

/// Windows of a kernel on images, with padding on both sides as it is given.
fn windows(
    channels: usize,
    input: [usize; 2],
    size: [usize; 2],
    strides: [usize; 2],
    dilation: [usize; 2],
    padding: [(usize, usize); 2],
) -> Option<Windows> {
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = input[axis] + padding[axis].0 + padding[axis].1;
        let covered = (size[axis] - 1) * dilation[axis] + 1;
        output[axis] = padded.checked_sub(covered)? / strides[axis] + 1;
    }
    Some(Windows { channels, input, output, size, strides, dilation, padding })
}

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_into_vec().unwrap()
}

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    // Sums of so many products differ in their order.
    let most = expected.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= 2e-5 * most, "{what}, {at}: {got} {expected}");
    }
}

fn check_conv(conv: &Conv2d, samples: usize, bias: bool, rng: &mut ChaCha8Rng) {
    let what = format!("{samples} samples, bias {bias}, {conv:?}");
    let device = Device::flex().autodiff();
    let Windows { channels, input: [height, width], size, output, .. } = conv.windows;
    let columns = channels * height * width;
    let kernel = [conv.filters, channels / conv.groups, size[0], size[1]];
    let x = TensorData::new(random(rng, samples * columns), [samples, columns]);
    let weight = TensorData::new(random(rng, kernel.iter().product()), kernel);
    let bias = bias.then(|| TensorData::new(random(rng, conv.filters), [conv.filters]));
    let [height, width] = conv.pool.map_or(output, |pool| pool.output);
    let outputs = conv.filters * height * width;
    let upstream = TensorData::new(random(rng, samples * outputs), [samples, outputs]);

    let both = [true, false].map(|ours| {
        let x = Tensor::<2>::from_data(x.clone(), &device).require_grad();
        let weight = Tensor::<4>::from_data(weight.clone(), &device).require_grad();
        let bias = bias.clone().map(|bias| Tensor::<1>::from_data(bias, &device).require_grad());
        let output = if ours {
            flex::conv2d(&x, &weight, bias.as_ref(), conv).unwrap()
        } else {
            composed::conv2d(x.clone(), weight.clone(), bias.clone(), conv)
        };
        let upstream = Tensor::<2>::from_data(upstream.clone(), &device);
        let gradients = (output.clone() * upstream).sum().backward();
        let mut values = vec![
            floats(&output),
            floats(&x.grad(&gradients).unwrap()),
            floats(&weight.grad(&gradients).unwrap()),
        ];
        values.extend(bias.map(|bias| floats(&bias.grad(&gradients).unwrap())));
        values
    });
    let names = ["output", "by input", "by weight", "by bias"];
    for ((ours, theirs), name) in both[0].iter().zip(&both[1]).zip(names) {
        assert_close(ours, theirs, &format!("{name}: {what}"));
    }

    // Without autodiff, and with an input that nobody asks about.
    let plain = Device::flex();
    let bias = || bias.clone().map(|bias| Tensor::from_data(bias, &plain));
    let (input, kernel) =
        (Tensor::from_data(x.clone(), &plain), Tensor::from_data(weight.clone(), &plain));
    let output = flex::conv2d(&input, &kernel, bias().as_ref(), conv).unwrap();
    assert_eq!(floats(&output), both[0][0], "{what}");
    let data = x.clone();
    let x = Tensor::<2>::from_data(x, &device);
    let weight = Tensor::<4>::from_data(weight, &device).require_grad();
    let output = flex::conv2d(&x, &weight, bias().map(Tensor::autodiff).as_ref(), conv).unwrap();
    let upstream = Tensor::<2>::from_data(upstream, &device);
    let gradients = (output * upstream.clone()).sum().backward();
    assert_eq!(floats(&weight.grad(&gradients).unwrap()), both[0][2], "{what}");

    // Frozen weights.
    let x = Tensor::<2>::from_data(data, &device).require_grad();
    let weight = weight.detach();
    let output = flex::conv2d(&x, &weight, bias().map(Tensor::autodiff).as_ref(), conv).unwrap();
    let gradients = (output * upstream).sum().backward();
    assert_eq!(floats(&x.grad(&gradients).unwrap()), both[0][1], "{what}");
}

#[test]
fn convolutions_of_many_shapes() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tried = 0;
    while tried < 150 {
        let mut pick = |range: std::ops::RangeInclusive<usize>| rng.random_range(range);
        let groups = [1, 1, 1, 2, 3][pick(0..=4)];
        let channels = groups * pick(1..=4);
        let filters = groups * pick(1..=14);
        let input = [pick(1..=14), pick(1..=20)];
        let size = [pick(1..=4), pick(1..=4)];
        let strides = if pick(0..=2) == 0 { [pick(1..=3), pick(1..=3)] } else { [1, 1] };
        let dilation = if pick(0..=3) == 0 { [pick(1..=2), pick(1..=3)] } else { [1, 1] };
        let padding = [(pick(0..=1), pick(0..=2)), (pick(0..=2), pick(0..=1))];
        let (samples, bias, relu) = (pick(1..=9), pick(0..=1) == 0, pick(0..=1) == 0);
        let Some(windows) = windows(channels, input, size, strides, dilation, padding) else {
            continue;
        };
        let pool = match pick(0..=2) {
            0 => self::windows(filters, windows.output, [2, 2], [2, 2], [1, 1], [(0, 0); 2]),
            1 => {
                let (size, strides) = ([pick(1..=3), pick(1..=3)], [pick(1..=3), pick(1..=3)]);
                let padding = [(0, pick(0..=size[0] / 2)), (pick(0..=size[1] / 2), 0)];
                self::windows(filters, windows.output, size, strides, [1, 1], padding)
            }
            _ => None,
        };
        check_conv(&Conv2d { windows, filters, groups, relu, pool }, samples, bias, &mut rng);
        tried += 1;
    }
}

/// Behind a pooling few positions have a gradient: another way back.
#[test]
fn convolutions_with_few_gradients() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (mut tried, mut of_some_bands) = (0, 0);
    while tried < 60 {
        let mut pick = |range: std::ops::RangeInclusive<usize>| rng.random_range(range);
        let groups = [1, 1, 2][pick(0..=2)];
        let channels = groups * pick(5..=20);
        let filters = groups * pick(1..=6);
        let input = [pick(4..=26), pick(4..=26)];
        let size = [pick(1..=4), pick(2..=5)];
        let strides = if pick(0..=2) == 0 { [pick(1..=2), pick(1..=2)] } else { [1, 1] };
        let dilation = if pick(0..=2) == 0 { [pick(1..=2), pick(1..=2)] } else { [1, 1] };
        let padding = [(pick(0..=1), pick(0..=2)), (pick(0..=2), pick(0..=1))];
        let (samples, bias, relu) = (pick(1..=3), pick(0..=1) == 0, pick(0..=1) == 0);
        let windows = windows(channels, input, size, strides, dilation, padding);
        let Some(windows) = windows.filter(|windows| windows.output.iter().all(|&n| n > 1)) else {
            continue;
        };
        let (size, strides) = ([2, pick(2..=3)], [pick(1..=2), 2]);
        let pool = self::windows(filters, windows.output, size, strides, [1, 1], [(0, 0); 2]);
        let conv = Conv2d { windows, filters, groups, relu, pool };
        let Some(bands) = SparseConv2d::new(&conv).map(|sparse| sparse.bands()) else {
            continue;
        };
        check_conv(&conv, samples, bias, &mut rng);
        tried += 1;
        of_some_bands += usize::from(bands > 1);
    }
    assert!(of_some_bands > 5, "{of_some_bands} of {tried}");
}

/// Large enough to be split between threads; the same bits each time.
#[test]
fn convolutions_on_several_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for (channels, side, filters, pooled, samples) in [
        (1, 28, 32, true, 33),
        (32, 13, 64, true, 17),
        (16, 12, 24, false, 40),
        (3, 32, 8, false, 1),
    ] {
        let one = [1, 1];
        let windows = windows(channels, [side; 2], [3, 3], one, one, [(0, 0); 2]).unwrap();
        let pool = self::windows(filters, windows.output, [2, 2], [2, 2], one, [(0, 0); 2]);
        let pool = pool.filter(|_| pooled);
        let conv = Conv2d { windows, filters, groups: 1, relu: true, pool };
        check_conv(&conv, samples, true, &mut rng);
    }
}

/// Ours and Burn's, values and gradients, where outputs are cut off or are beyond the last kernel, too.
#[test]
fn transposed_convolutions_of_many_shapes() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let device = Device::flex().autodiff();
    for _ in 0..80 {
        let mut pick = |range: std::ops::RangeInclusive<usize>| rng.random_range(range);
        let (channels, filters, samples) = (pick(1..=9), pick(1..=5), pick(1..=7));
        let (output, size) = ([pick(1..=9), pick(1..=12)], [pick(1..=4), pick(1..=4)]);
        let strides = if pick(0..=1) == 0 { [pick(1..=3), pick(1..=3)] } else { [1, 1] };
        let dilation = if strides == [1, 1] { [pick(1..=2), pick(1..=2)] } else { [1, 1] };
        let (mut input, mut padding) = ([0; 2], [(0, 0); 2]);
        for axis in 0..2 {
            let covered = (size[axis] - 1) * dilation[axis] + 1;
            let whole = (output[axis] - 1) * strides[axis] + covered;
            let before = pick(0..=covered - 1).min(whole - 1);
            input[axis] = pick((whole - before).saturating_sub(2).max(1)..=whole - before + 1);
            padding[axis] = (before, (whole - before).saturating_sub(input[axis]));
        }
        let windows =
            Windows { channels: filters, input, output, size, strides, dilation, padding };
        let conv = Conv2d { windows, filters: channels, groups: 1, relu: false, pool: None };
        let columns = channels * output[0] * output[1];
        let outputs = filters * input[0] * input[1];
        let kernel = [channels, filters, size[0], size[1]];
        let x = TensorData::new(random(&mut rng, samples * columns), [samples, columns]);
        let weight = TensorData::new(random(&mut rng, kernel.iter().product()), kernel);
        let upstream = TensorData::new(random(&mut rng, samples * outputs), [samples, outputs]);
        let both = [true, false].map(|ours| {
            let x = Tensor::<2>::from_data(x.clone(), &device).require_grad();
            let weight = Tensor::<4>::from_data(weight.clone(), &device).require_grad();
            let output = if ours {
                flex::conv2d_transpose(&x, &weight, &conv).unwrap()
            } else {
                composed::conv2d_transpose(x.clone(), weight.clone(), &conv)
            };
            let upstream = Tensor::<2>::from_data(upstream.clone(), &device);
            let gradients = (output.clone() * upstream).sum().backward();
            [
                floats(&output),
                floats(&x.grad(&gradients).unwrap()),
                floats(&weight.grad(&gradients).unwrap()),
            ]
        });
        let [ours, burns] = both;
        for ((ours, burns), name) in
            ours.iter().zip(&burns).zip(["output", "by input", "by weight"])
        {
            assert_close(ours, burns, &format!("{samples} samples, {conv:?}: {name}"));
        }
    }
}

/// Outputs and the gradient of the input are each sample's own; the gradients of weights are summed
/// by threads, always in the same order.
#[test]
fn bits_depend_on_the_number_of_threads_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let one = [1, 1];
    let windows = windows(8, [12; 2], [3, 3], one, one, [(1, 1); 2]).unwrap();
    let pool = self::windows(32, [12; 2], [2, 2], [2, 2], one, [(0, 0); 2]);
    let conv = Conv2d { windows, filters: 32, groups: 1, relu: true, pool };
    let samples = 37;
    let x = random(&mut rng, samples * 8 * 144);
    let weight = random(&mut rng, 32 * 8 * 9);
    let upstream = random(&mut rng, samples * 32 * 36);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let forward = conv.forward(&x, &weight, None);
            let kept = Kept {
                input: &x,
                weight: &weight,
                output: &forward.output,
                largest: &forward.largest,
            };
            let backward = conv.backward(kept, &upstream, true);
            (forward.output, forward.largest, backward.input, backward.weight, backward.bias)
        })
    };
    let single = run(1);
    for threads in [1, 2, 3, 8] {
        let several = run(threads);
        assert_eq!(several, run(threads), "{threads} threads");
        let (output, largest, by_input, by_weight, by_bias) = several;
        assert_eq!(
            (output, largest, by_input),
            (single.0.clone(), single.1.clone(), single.2.clone())
        );
        assert_close(&by_weight, &single.3, "by weight");
        assert_close(&by_bias, &single.4, "by bias");
    }
}

#[test]
fn recurrent_bits_are_those_of_one_thread() {
    let (samples, steps, units) = (41, 9, 70);
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    for cell in [Cell::Lstm, Cell::Gru { reset_after: true }, Cell::Simple] {
        let recurrence = Recurrence {
            cell,
            steps,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
        };
        let width = units * cell.gates();
        let x = random(&mut rng, samples * steps * width);
        let recurrent = random(&mut rng, units * width);
        let bias = random(&mut rng, width);
        let upstream = random(&mut rng, samples * steps * units);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut gates = x.clone();
                let forward = recurrence.forward(&mut gates, &recurrent, &bias);
                let (outputs, extra) = (forward.outputs, forward.extra);
                let back = recurrence.backward(&mut gates, &outputs, extra, &recurrent, &upstream);
                (outputs, gates, back.recurrent, back.bias)
            })
        };
        let single = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == single, "{threads} threads, {cell:?}");
        }
    }
}

/// The inputs are written over, but not where somebody else still has them.
#[test]
fn inputs_that_others_have_stay() {
    let device = Device::flex();
    let recurrence = Recurrence {
        cell: Cell::Lstm,
        steps: 3,
        activation: Activation::Tanh,
        recurrent_activation: Activation::Sigmoid,
    };
    let x = Tensor::<2>::ones([6, 20], &device);
    let recurrent = Tensor::ones([5, 20], &device);
    let at = flex::place_of_recurrence(&x, &recurrent, None, &recurrence).unwrap();
    let run = || flex::recurrence(at, x.clone(), recurrent.clone(), None, &recurrence);
    let outputs = floats(&run());
    assert_eq!((floats(&x), floats(&run())), (vec![1.0; 120], outputs));
}

#[test]
fn no_samples_are_no_error() {
    let windows = windows(2, [4, 4], [3, 3], [1, 1], [1, 1], [(0, 0); 2]).unwrap();
    let conv = Conv2d { windows, filters: 3, groups: 1, relu: true, pool: None };
    let x = Tensor::<2>::zeros([0, 32], &Device::flex());
    let weight = Tensor::<4>::ones([3, 2, 3, 3], &Device::flex());
    assert_eq!(super::conv2d(x, weight, None, &conv).dims(), [0, 12]);
}

#[test]
fn nan_stays_nan() {
    let windows = windows(1, [4, 4], [3, 3], [1, 1], [1, 1], [(0, 0); 2]).unwrap();
    let pool = self::windows(1, [2, 2], [2, 2], [2, 2], [1, 1], [(0, 0); 2]);
    for pool in [None, pool] {
        let conv = Conv2d { windows, filters: 1, groups: 1, relu: true, pool };
        let mut x = vec![1.0; 16];
        x[5] = f32::NAN;
        let x = Tensor::from_data(TensorData::new(x, [1, 16]), &Device::flex());
        let weight = Tensor::ones([1, 1, 3, 3], &Device::flex());
        let output = flex::conv2d(&x, &weight, None, &conv).unwrap();
        assert!(floats(&output).iter().all(|x| x.is_nan()), "{pool:?}");
    }
}

/// Where gradients are checkpointed, Burn's own operations recompute what they need.
#[test]
fn checkpointed_gradients_are_left_to_burn() {
    let windows = windows(1, [4, 4], [3, 3], [1, 1], [1, 1], [(0, 0); 2]).unwrap();
    let conv = Conv2d { windows, filters: 1, groups: 1, relu: false, pool: None };
    let device = Device::flex().autodiff().gradient_checkpointing();
    let x = Tensor::<2>::ones([1, 16], &device);
    let weight = Tensor::<4>::ones([1, 1, 3, 3], &device);
    assert!(flex::conv2d(&x, &weight, None, &conv).is_none());
    assert_eq!(floats(&super::conv2d(x, weight, None, &conv)), [9.0; 4]);
}

fn check_recurrence(
    cell: Cell,
    [samples, steps, units]: [usize; 3],
    bias: bool,
    rng: &mut ChaCha8Rng,
) {
    let what = format!("{samples} samples, {steps} steps, {units} units, bias {bias}, {cell:?}");
    let device = Device::flex().autodiff();
    let width = cell.gates() * units;
    let x = TensorData::new(random(rng, samples * steps * width), [samples * steps, width]);
    let recurrent = TensorData::new(random(rng, units * width), [units, width]);
    let bias = bias.then(|| TensorData::new(random(rng, width), [width]));
    let shape = [samples, steps * units];
    let upstream = TensorData::new(random(rng, samples * steps * units), shape);
    let recurrence = Recurrence {
        cell,
        steps,
        activation: Activation::Tanh,
        recurrent_activation: Activation::Sigmoid,
    };
    let both = [true, false].map(|ours| {
        let x = Tensor::<2>::from_data(x.clone(), &device).require_grad();
        let recurrent = Tensor::<2>::from_data(recurrent.clone(), &device).require_grad();
        let bias = bias.clone().map(|bias| Tensor::<1>::from_data(bias, &device).require_grad());
        let output = if ours {
            let at = flex::place_of_recurrence(&x, &recurrent, bias.as_ref(), &recurrence);
            let (x, recurrent, bias) = (x.clone(), recurrent.clone(), bias.clone());
            flex::recurrence(at.unwrap(), x, recurrent, bias, &recurrence)
        } else {
            composed::recurrence(x.clone(), recurrent.clone(), bias.clone(), &recurrence)
        };
        let upstream = Tensor::<2>::from_data(upstream.clone(), &device);
        let gradients = (output.clone() * upstream).sum().backward();
        let mut values = vec![
            floats(&output),
            floats(&x.grad(&gradients).unwrap()),
            floats(&recurrent.grad(&gradients).unwrap()),
        ];
        values.extend(bias.map(|bias| floats(&bias.grad(&gradients).unwrap())));
        values
    });
    let names = ["output", "by input", "by recurrent kernel", "by bias"];
    for ((ours, theirs), name) in both[0].iter().zip(&both[1]).zip(names) {
        assert_close(ours, theirs, &format!("{what}, {name}"));
    }
}

#[test]
fn recurrence_is_that_of_burn_step_by_step() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for cell in [Cell::Lstm, Cell::Gru { reset_after: true }, Cell::Simple] {
        for shape in [[1, 1, 1], [3, 4, 5], [2, 7, 16], [5, 2, 33], [40, 3, 130]] {
            check_recurrence(cell, shape, false, &mut rng);
            check_recurrence(cell, shape, true, &mut rng);
        }
    }
}
