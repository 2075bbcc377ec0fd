//! The softmax against Burn's.

use burn::tensor::{Device, Tensor, TensorData, activation};
use chacha20::ChaCha8Rng;
use rand::SeedableRng as _;

use super::super::flex;
use super::{assert_close, floats, random};

/// Output and the gradient by the input.
fn values<const D: usize>(shape: [usize; D], seed: u64, ours: bool) -> [Vec<f32>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let device = Device::flex().autodiff();
    let mut tensor = |scale: f32| {
        let values = random(&mut rng, shape.iter().product());
        let values: Vec<f32> = values.into_iter().map(|x| x * scale).collect();
        Tensor::<D>::from_data(TensorData::new(values, shape), &device)
    };
    let (x, upstream) = (tensor(20.0).require_grad(), tensor(1.0));
    let output = match ours {
        true => flex::softmax(&x).unwrap(),
        false => activation::softmax(x.clone(), D - 1),
    };
    assert_eq!(output.dims(), shape);
    let gradients = (output.clone() * upstream).sum().backward();
    [floats(&output), floats(&x.grad(&gradients).unwrap())]
}

fn is_that_of_burn<const D: usize>(shape: [usize; D]) {
    let [ours, burns] = [true, false].map(|ours| values(shape, 3, ours));
    assert_close(&ours[0], &burns[0], &format!("{shape:?}, output"));
    assert_close(&ours[1], &burns[1], &format!("{shape:?}, gradient"));
}

/// Rows shorter and longer than a vector, and enough of them for several threads.
#[test]
fn softmax_is_that_of_burn() {
    for shape in [[1, 1], [1, 2], [5, 3], [128, 10], [3, 16], [7, 33], [37, 1000], [3000, 70]] {
        is_that_of_burn(shape);
    }
    is_that_of_burn([17]);
    is_that_of_burn([2, 3, 5]);
    is_that_of_burn([4, 2, 40, 40]);
}

#[test]
fn softmax_bits_are_those_of_one_thread() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| values([3001, 70], 5, true))
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn softmax_of_what_is_not_finite_or_turned_round() {
    let device = Device::flex();
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let rows = [
        [0.0, -infinity, 0.0],
        [nan, 0.0, 0.0],
        [0.0, infinity, 0.0],
        [1e30, -1e30, 0.0],
        [-infinity, -infinity, -infinity],
        [0.0, -86.0, -110.0],
    ];
    let x = Tensor::<2>::from_data(rows, &device);
    let values = floats(&flex::softmax(&x).unwrap());
    let row = |at: usize| &values[3 * at..][..3];
    assert_eq!(row(0), [0.5, 0.0, 0.5]);
    for at in [1, 2, 4] {
        assert!(row(at).iter().all(|p| p.is_nan()), "{:?}", row(at));
    }
    assert_eq!(row(3), [1.0, 0.0, 0.0]);
    assert!(row(5)[1] > 0.0);
    assert_eq!(row(5)[2], 0.0);

    // Columns that lie where rows would.
    let columns = Tensor::<2>::from_data(x.clone().transpose().to_data(), &device);
    let turned = flex::softmax(&columns.transpose()).unwrap();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&floats(&turned)), bits(&values));

    let none = Tensor::<2>::zeros([0, 3], &device);
    assert!(flex::softmax(&none).is_none());
    assert_eq!(super::super::softmax(none).dims(), [0, 3]);
}
