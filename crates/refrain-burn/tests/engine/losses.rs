//! Losses and their gradients.

use refrain_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use refrain_burn::{
    AnyLoss, BinaryCrossentropy, CategoricalCrossentropy, ClosingActivation, Ctc, FromTargets as _,
    Loss, MeanSquaredError, SparseCategoricalCrossentropy, Targets,
};

use crate::{assert_close, floats, rows};

/// Below every f32 in use here; the last digits differ between JAX and Burn.
const TOLERANCE: f32 = 2e-6;

struct Case<'a> {
    name: &'a str,
    columns: usize,
    outputs: &'a [f32],
    sample_weight: Option<&'a [f32]>,
    loss: f32,
    gradient: &'a [f32],
}

/// Mean over samples of the weighted values, and its gradient with respect to the outputs.
fn differentiate<S: Loss<Tensor<2>>>(
    loss: &S,
    targets: &S::Targets,
    columns: usize,
    outputs: &[f32],
    sample_weight: Option<&[f32]>,
) -> (f32, Vec<f32>) {
    let device = Device::flex().autodiff();
    let outputs = rows(outputs, columns, &device).require_grad();
    loss.check(&outputs, targets).unwrap();
    let mut values = loss.forward(outputs.clone(), targets.clone());
    let samples = values.dims()[0];
    if let Some(weights) = sample_weight {
        values = values * Tensor::from_data(weights, &device);
    }
    let mean = values.sum() / samples as f32;
    let gradients = mean.backward();
    (mean.into_scalar::<f32>(), floats(outputs.grad(&gradients).unwrap()))
}

#[track_caller]
fn check<S: Loss<Tensor<2>>>(loss: S, targets: S::Targets, case: Case<'_>) {
    let Case { name, columns, outputs, sample_weight, .. } = case;
    let (value, gradient) = differentiate(&loss, &targets, columns, outputs, sample_weight);
    assert_close(&[value], &[case.loss], TOLERANCE, name);
    assert_close(&gradient, case.gradient, TOLERANCE, name);
}

fn labels(labels: &[i64]) -> Tensor<1, Int> {
    let data = TensorData::new(labels.to_vec(), [labels.len()]);
    Tensor::from_data(data, &Device::flex())
}

fn targets(values: &[f32], columns: usize) -> Tensor<2> {
    rows(values, columns, &Device::flex())
}

/// Of two samples, half of a third.
const SIXTH: f32 = 0.166_666_67;
const LOGITS: &[f32] = &[2.0, -1.0, 0.5, 0.0, 0.0, 0.0];
const EXTREME_LOGITS: &[f32] = &[1e4, -1e4, 0.0, 1e4, -1e4, 0.0];
const PROBABILITIES: &[f32] = &[0.7, 0.2, 0.1, 0.5, 0.25, 0.25];
const EXTREME_PROBABILITIES: &[f32] = &[1.0, 0.0, 1e-45, 1.0, 0.0, 1e-45];

#[test]
fn sparse_categorical_crossentropy() {
    let on_logits = SparseCategoricalCrossentropy::new().from_logits(true);
    let case = |name, outputs, loss, gradient| Case {
        name,
        columns: 3,
        outputs,
        sample_weight: None,
        loss,
        gradient,
    };
    check(
        on_logits,
        labels(&[0, 2]),
        case(
            "logits",
            LOGITS,
            0.669_961_8,
            &[-0.107_201_49, 0.019_556_286, 0.087_645_195, SIXTH, SIXTH, -0.333_333_3],
        ),
    );
    check(
        on_logits,
        labels(&[1, 0]),
        case("extreme logits", EXTREME_LOGITS, 1e4, &[0.5, -0.5, 0.0, 0.0, 0.0, 0.0]),
    );
    check(
        on_logits,
        labels(&[0, 2]),
        Case {
            sample_weight: Some(&[2.0, 0.5]),
            ..case(
                "sample weights",
                LOGITS,
                0.515_964_4,
                &[-0.214_402_97, 0.039_112_57, 0.175_290_4, 0.083_333_336, 0.083_333_336, -SIXTH],
            )
        },
    );
    let on_probabilities = SparseCategoricalCrossentropy::new();
    check(
        on_probabilities,
        labels(&[0, 2]),
        case(
            "probabilities",
            PROBABILITIES,
            0.871_484_6,
            &[-0.214_285_73, 0.5, 0.5, 0.5, 0.5, -1.5],
        ),
    );
    check(
        on_probabilities,
        labels(&[0, 2]),
        case(
            "rows that do not sum to 1",
            &[7.0, 2.0, 1.0, 0.5, 0.25, 0.05],
            1.564_631_8,
            &[-0.021_428_574, 0.05, 0.05, 0.624_999_94, 0.624_999_94, -9.375],
        ),
    );
    check(
        on_probabilities,
        labels(&[0, 1]),
        case("0, 1 and the least f32", EXTREME_PROBABILITIES, 8.059_048, &[0.0; 6]),
    );
}

#[test]
fn categorical_crossentropy() {
    let case = |name, outputs, loss, gradient| Case {
        name,
        columns: 3,
        outputs,
        sample_weight: None,
        loss,
        gradient,
    };
    let mixed = targets(&[1.0, 0.0, 0.0, 0.2, 0.3, 0.5], 3);
    let on_logits = CategoricalCrossentropy::new().from_logits(true);
    check(
        on_logits,
        mixed.clone(),
        case(
            "logits",
            LOGITS,
            0.669_961_8,
            &[
                -0.107_201_49,
                0.019_556_286,
                0.087_645_195,
                0.066_666_67,
                0.016_666_666,
                -0.083_333_33,
            ],
        ),
    );
    check(
        on_logits,
        targets(&[0.0, 1.0, 0.0, 1.0, 0.0, 0.0], 3),
        case("extreme logits", EXTREME_LOGITS, 1e4, &[0.5, -0.5, 0.0, 0.0, 0.0, 0.0]),
    );
    let on_probabilities = CategoricalCrossentropy::new();
    check(
        on_probabilities,
        mixed,
        case(
            "probabilities",
            PROBABILITIES,
            0.802_169_9,
            &[-0.214_285_73, 0.5, 0.5, 0.3, -0.1, -0.5],
        ),
    );
    check(
        on_probabilities,
        targets(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 3),
        case("0, 1 and the least f32", EXTREME_PROBABILITIES, 8.059_048, &[0.0; 6]),
    );
}

#[test]
fn binary_crossentropy() {
    let case = |name, outputs, loss, gradient| Case {
        name,
        columns: 2,
        outputs,
        sample_weight: None,
        loss,
        gradient,
    };
    let sure = || targets(&[1.0, 0.0, 1.0, 0.0], 2);
    let on_logits = BinaryCrossentropy::new().from_logits(true);
    check(
        on_logits,
        targets(&[1.0, 0.0, 0.3, 1.0], 2),
        case(
            "logits",
            &[2.0, -1.0, 0.0, 0.5],
            0.401_853_47,
            &[-0.029_800_728, 0.067_235_35, 0.05, -0.094_385_17],
        ),
    );
    check(
        on_logits,
        sure(),
        case("extreme logits", &[1e4, -1e4, -1e4, 1e4], 5e3, &[0.0, 0.0, -0.25, 0.25]),
    );
    let on_probabilities = BinaryCrossentropy::new();
    check(
        on_probabilities,
        targets(&[1.0, 0.0, 0.3, 1.0], 2),
        case(
            "probabilities",
            &[0.9, 0.2, 0.5, 0.6],
            0.383_119_23,
            &[-0.277_777_8, 0.3125, 0.2, -0.416_666_66],
        ),
    );
    check(
        on_probabilities,
        targets(&[1.0, 0.0, 1.0, 1.0], 2),
        case("0, 1 and the least f32", &[1.0, 0.0, 0.0, 1e-45], 8.059_048, &[0.0; 4]),
    );
}

/// Where the output is right and sure, the loss is small and not 0: no cancellation.
#[test]
fn binary_crossentropy_of_sure_logits_does_not_cancel() {
    let loss = BinaryCrossentropy::new().from_logits(true);
    let targets = targets(&[1.0, 0.0, 1.0, 0.0], 2);
    let (value, gradient) = differentiate(&loss, &targets, 2, &[15.0, -15.0, 30.0, -30.0], None);
    let relative = |got: f32, expected: f32| (got / expected - 1.0).abs();
    assert!(relative(value, 1.529_511_7e-7) < 1e-5, "{value}");
    for (got, expected) in
        gradient.iter().zip([-7.647_558e-8, 7.647_558e-8, -2.339_405_7e-14, 2.339_405_7e-14])
    {
        assert!(relative(*got, expected) < 1e-5, "{gradient:?}");
    }
}

#[test]
fn mean_squared_error() {
    let met = || targets(&[1.0, 2.0, 3.0, 4.0], 2);
    let outputs = &[1.5, 0.0, 3.0, 1.0];
    let case = Case {
        name: "mse",
        columns: 2,
        outputs,
        sample_weight: None,
        loss: 3.3125,
        gradient: &[0.25, -1.0, 0.0, -1.5],
    };
    check(MeanSquaredError::new(), met(), case);
    let weighted = Case {
        name: "weights 2 and 0",
        columns: 2,
        outputs,
        sample_weight: Some(&[2.0, 0.0]),
        loss: 2.125,
        gradient: &[0.5, -2.0, 0.0, 0.0],
    };
    check(MeanSquaredError::new(), met(), weighted);
}

/// Independent of Keras: the slope of the loss itself.
#[test]
fn gradients_are_the_slopes() {
    let three: Vec<f32> = vec![0.3, 0.5, 0.2, 0.25, 0.35, 0.4];
    let rows_of_three = || targets(&[0.0, 1.0, 0.0, 0.2, 0.3, 0.5], 3);
    let sparse = SparseCategoricalCrossentropy::new();
    let categorical = CategoricalCrossentropy::new();
    let binary = BinaryCrossentropy::new();
    slopes("sparse", sparse, labels(&[1, 2]), &three);
    slopes("sparse logits", sparse.from_logits(true), labels(&[1, 2]), &three);
    slopes("categorical", categorical, rows_of_three(), &three);
    slopes("categorical logits", categorical.from_logits(true), rows_of_three(), &three);
    slopes("binary", binary, rows_of_three(), &three);
    slopes("binary logits", binary.from_logits(true), rows_of_three(), &three);
    slopes("mse", MeanSquaredError::new(), rows_of_three(), &three);

    fn slopes<S: Loss<Tensor<2>>>(name: &str, loss: S, targets: S::Targets, outputs: &[f32]) {
        let (_, gradient) = differentiate(&loss, &targets, 3, outputs, None);
        let step = 1e-2;
        let slopes: Vec<f32> = (0..outputs.len())
            .map(|index| {
                let at = |by: f32| {
                    let mut moved = outputs.to_vec();
                    moved[index] += by;
                    differentiate(&loss, &targets, 3, &moved, None).0
                };
                (at(step) - at(-step)) / (2.0 * step)
            })
            .collect();
        // Central differences are off by step² times the third derivative.
        assert_close(&gradient, &slopes, 2e-3, name);
    }
}

#[test]
fn leaves_closing_activations_to_the_logits() {
    use ClosingActivation::{Sigmoid, Softmax};
    let sparse = SparseCategoricalCrossentropy::new();
    assert!(sparse.on_logits(Softmax).is_some());
    assert!(sparse.on_logits(Sigmoid).is_none());
    assert!(sparse.from_logits(true).on_logits(Softmax).is_none(), "already on logits");
    assert!(CategoricalCrossentropy::new().on_logits(Softmax).is_some());
    assert!(BinaryCrossentropy::new().on_logits(Sigmoid).is_some());
    assert!(BinaryCrossentropy::new().on_logits(Softmax).is_none());
    assert!(Loss::<Tensor<2>>::on_logits(&MeanSquaredError::new(), Softmax).is_none());
}

#[test]
fn refuses_shapes_that_do_not_fit() {
    let outputs = targets(&[0.0; 6], 3);
    let error = |result: refrain_core::Result| result.unwrap_err().to_string();
    assert_eq!(
        error(SparseCategoricalCrossentropy::new().check(&outputs, &labels(&[0, 1, 2]))),
        "sparse_categorical_crossentropy: 2 outputs and 3 labels; there must be one label for each"
    );
    assert_eq!(
        error(CategoricalCrossentropy::new().check(&outputs, &targets(&[0.0; 4], 2))),
        "categorical_crossentropy: outputs have the shape [2, 3] and targets [2, 2]; they must be \
         equal; class labels go with `sparse_categorical_crossentropy`, or with \
         `AnyLoss::CategoricalCrossentropy`"
    );
    assert_eq!(
        error(MeanSquaredError::new().check(&outputs, &targets(&[0.0; 2], 1))),
        "mean_squared_error: outputs have the shape [2, 3] and targets [2, 1]; they must be equal"
    );
}

#[test]
fn is_chosen_by_name() {
    for name in AnyLoss::NAMES {
        assert!(AnyLoss::from_name(name).is_some(), "{name}");
    }
    assert_eq!(AnyLoss::from_name("bce").unwrap().name(), "binary_crossentropy");
    assert!(AnyLoss::from_name("msee").is_none());

    let device = Device::flex();
    let outputs = rows(PROBABILITIES, 3, &device);
    let chosen = AnyLoss::from_name("sparse_categorical_crossentropy").unwrap();
    let targets = Targets::from_labels(vec![0, 2], &device).unwrap();
    let values = floats(chosen.forward(outputs.clone(), targets));
    let direct = SparseCategoricalCrossentropy::new().forward(outputs.clone(), labels(&[0, 2]));
    assert_eq!(values, floats(direct));

    let rows = Targets::from_rows(vec![0.0; 6], &[2, 3], &device).unwrap();
    assert_eq!(
        chosen.check(&outputs, &rows).unwrap_err().to_string(),
        "sparse_categorical_crossentropy takes class labels, and the data set has rows of targets \
         (shape [2, 3]); give it labels, or use `categorical_crossentropy`"
    );
    // Labels are one column of numbers to a loss that takes numbers.
    let mse = AnyLoss::from_name("mse").unwrap();
    let one_output = outputs.slice([0..2, 0..1]);
    let labels = Targets::from_labels(vec![1, 0], &device).unwrap();
    mse.check(&one_output, &labels).unwrap();
    assert_close(&floats(mse.forward(one_output, labels)), &[0.09, 0.25], 1e-6, "mse of labels");
}

/// (labels, the loss, whether there is a gradient): of three steps of three classes.
#[test]
fn ctc_is_a_number_only_where_labels_can_be_read() {
    let cases = [
        ([1.0, 2.0, 0.0], Some(true), true),
        ([0.0, 0.0, 0.0], Some(true), true),
        // A blank between equal labels takes the third step, and there is no fifth.
        ([2.0, 2.0, 0.0], Some(true), true),
        ([2.0, 2.0, 1.0], Some(false), false),
        ([3.0, 0.0, 0.0], None, false),
        ([-1.0, 0.0, 0.0], None, false),
        ([1.0, 0.0, 2.0], None, false),
        ([1.5, 0.0, 0.0], None, false),
        ([f32::NAN, 0.0, 0.0], None, false),
    ];
    let device = Device::flex().autodiff();
    let outputs: Vec<f32> = (0..cases.len() * 9).map(|i| (i * 7 % 5) as f32 / 2.0).collect();
    let outputs = rows(&outputs, 9, &device).require_grad();
    let labels = cases.iter().flat_map(|(labels, ..)| *labels).collect::<Vec<f32>>();
    let labels = Targets::Rows(rows(&labels, 3, &device));
    let loss = AnyLoss::from_name("ctc").unwrap().per_step(3);
    Loss::check(&loss, &outputs, &labels).unwrap();
    let values = loss.forward(outputs.clone(), labels);
    let gradients = values.clone().sum().backward();
    let gradient = floats(outputs.grad(&gradients).unwrap());
    for ((labels, is_finite, learns), (value, gradient)) in
        cases.into_iter().zip(floats(values).into_iter().zip(gradient.chunks(9)))
    {
        let kind = if value.is_nan() { None } else { Some(value.is_finite()) };
        assert_eq!(kind, is_finite, "{labels:?}: {value}");
        assert!(value.is_nan() || value > 0.0, "{labels:?}: {value}");
        assert!(gradient.iter().all(|x| x.is_finite()), "{labels:?}: {gradient:?}");
        assert_eq!(gradient.iter().any(|x| *x != 0.0), learns, "{labels:?}: {gradient:?}");
    }
}

#[test]
fn ctc_of_no_labels_is_that_of_blanks() {
    let device = Device::flex();
    let loss = |labels: usize| {
        let labels = Tensor::<2>::zeros([1, labels], &device);
        floats(Ctc.forward(Tensor::<3>::zeros([1, 2, 2], &device), labels))
    };
    assert_eq!(loss(0), loss(3));
}

/// However sure a model is, right or wrong: what it is to learn is a number.
#[test]
fn ctc_is_finite_on_long_sequences_of_wild_logits() {
    let (steps, classes) = (500, 7);
    let device = Device::flex().autodiff();
    for scale in [0.0, 1.0, 1e4, 1e20] {
        let outputs = (0..steps * classes)
            .map(|i| ((i * 31 % 17) as f32 - 8.0) * scale)
            .collect::<Vec<f32>>();
        let outputs = rows(&outputs, steps * classes, &device).require_grad();
        let labels: Vec<f32> = (0..40).map(|i| (i * i % 6 + 1) as f32).collect();
        let loss = AnyLoss::from_name("ctc").unwrap().per_step(steps);
        let value = loss.forward(outputs.clone(), Targets::Rows(rows(&labels, 40, &device)));
        let gradients = value.clone().sum().backward();
        let gradient = floats(outputs.grad(&gradients).unwrap());
        assert!(value.into_scalar::<f32>() > 0.0, "{scale}");
        assert!(gradient.iter().all(|x| x.abs() <= 1.0), "{scale}: {gradient:?}");
        assert!(gradient.iter().any(|x| *x != 0.0), "{scale}");
    }
}

#[test]
fn ctc_names_shapes_that_do_not_fit() {
    let device = Device::flex();
    let refused = |outputs: usize, steps: usize, labels: usize| {
        let loss = AnyLoss::from_name("ctc").unwrap().per_step(steps);
        let outputs = rows(&vec![0.5; 2 * outputs], outputs, &device);
        let labels = Targets::Rows(rows(&vec![1.0; 2 * labels], 2, &device));
        Loss::check(&loss, &outputs, &labels).unwrap_err().to_string()
    };
    assert_eq!(
        refused(6, 4, 2),
        "ctc: 6 outputs are none for each of 4 steps; there must be as many for each"
    );
    assert_eq!(
        refused(6, 3, 3),
        "ctc: 2 outputs and 3 rows of labels; there must be one row for each"
    );
    assert_eq!(
        refused(3, 3, 2),
        "ctc: outputs are 3 steps of 1 classes; there must be a step, and a class beside the blank, \
         which is class 0"
    );
}
