//! One step at a time: gradients, metrics, device reads, and the world's mistakes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use refrain_burn::burn::module::{Module, Param, ParamId};
use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::layers::{Dense, Dropout, Flatten};
use refrain_burn::metrics::{TruePositives, Weighted};
use refrain_burn::{
    Accuracy, Activation, AnyLoss, AnyMetric, ArrayDataset, Batch, BurnLearner, Forward,
    MeanSquaredError, Optimizer, Sequential, Sgd, SparseCategoricalCrossentropy, Targets, Values,
};
use refrain_core::schedule::Rate;
use refrain_core::{
    Dataset as _, Learner as _, Logs, ModelAccess as _, TrackMetric as _, TrainStep,
};

use crate::{assert_close, floats, rows};

type Classifier = BurnLearner<Sequential, SparseCategoricalCrossentropy>;
type ClassifierData = ArrayDataset<refrain_burn::AnyTensor, Tensor<1, Int>>;

fn classifier() -> Classifier {
    let model = Sequential::input(&[2, 2])
        .layer(Flatten::new())
        .layer(Dense::new(8).activation(Activation::Relu))
        .layer(Dropout::new(0.5))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(7)
        .unwrap();
    let sgd = Sgd::new(0.1).momentum(0.9);
    let mut learner = BurnLearner::new(model, Box::new(sgd), SparseCategoricalCrossentropy::new());
    learner.track_metric(Accuracy::new());
    learner
}

fn data() -> ClassifierData {
    let inputs: Vec<f32> = (0..48).map(|i| ((i * 7) % 11) as f32 / 11.0).collect();
    ArrayDataset::new(&[2, 2], inputs).unwrap().labels((0..12).map(|i| i % 3)).unwrap()
}

fn step(learner: &mut Classifier, indices: &[usize], seed: u64) {
    let batch = data().batch(indices).unwrap();
    let step = TrainStep { seed, ..TrainStep::default() };
    assert_eq!(learner.forward_backward(batch, step).unwrap(), indices.len());
    learner.apply_gradients(0.1).unwrap();
}

#[test]
fn reads_nothing_from_the_device_until_somebody_asks() {
    let mut learner = classifier();
    for seed in 0..10 {
        step(&mut learner, &[0, 1, 2, 3], seed);
        learner.evaluate(data().batch(&[4, 5]).unwrap(), None).unwrap();
    }
    assert_eq!(learner.device_reads(), 0);
    let mut logs = Logs::new();
    learner.read_metrics(&mut logs).unwrap();
    assert_eq!(learner.device_reads(), 1);
    assert_eq!(logs.names().collect::<Vec<_>>(), ["loss", "accuracy"]);
    assert_eq!(learner.metric_names(), ["loss", "accuracy"]);
}

#[test]
fn metrics_are_means_over_samples() {
    let mut learner = classifier();
    let mut values = Vec::new();
    let batches: [&[usize]; 4] = [&[0, 1, 2, 3, 4], &[5], &[6, 7], &[0, 1, 2, 3, 4, 5, 6, 7]];
    for indices in batches {
        learner.reset_metrics();
        learner.evaluate(data().batch(indices).unwrap(), None).unwrap();
        let mut logs = Logs::new();
        learner.read_metrics(&mut logs).unwrap();
        values.push((logs.get("loss").unwrap(), logs.get("accuracy").unwrap()));
    }
    let [a, b, c, all] = values[..] else { panic!("four batches") };
    let mean = |of: fn(&(f64, f64)) -> f64| (5.0 * of(&a) + of(&b) + 2.0 * of(&c)) / 8.0;
    assert!((mean(|v| v.0) - all.0).abs() < 1e-6);
    assert!((mean(|v| v.1) - all.1).abs() < 1e-6);

    learner.reset_metrics();
    let mut logs = Logs::new();
    learner.read_metrics(&mut logs).unwrap();
    assert!(logs.is_empty(), "nothing was seen");
}

#[test]
fn refuses_names_of_metrics_that_logs_have() {
    for name in ["epoch", "val_loss", "learning_rate", "loss", "", "a\nb"] {
        let mut learner = classifier_of_any();
        learner.track_metric(AnyMetric::from_name("auc").unwrap().named(name));
        assert!(learner.check().unwrap_err().is_config(), "{name}");
    }
}

/// The loss takes any label, and the metric looks it up among the outputs.
#[test]
fn refuses_labels_that_a_metric_has_no_output_for() {
    for name in ["top_k_categorical_accuracy", "sparse_categorical_crossentropy", "ce"] {
        let mut learner = classifier_of_any();
        learner.track_metric(AnyMetric::from_name(name).unwrap());
        let inputs = vec![0.5; 8];
        let data = ArrayDataset::<_, Targets>::new(&[4], inputs).unwrap().labels([0, 3]).unwrap();
        let error = learner.evaluate(data.batch(&[0, 1]).unwrap(), None).unwrap_err();
        assert!(error.is_data(), "{name}: {error}");
    }
}

fn classifier_of_any() -> BurnLearner<Sequential, AnyLoss> {
    let model = Sequential::input(&[4]).layer(Dense::new(3)).build(7).unwrap();
    BurnLearner::new(model, Box::new(Sgd::new(0.1)), AnyLoss::from_name("circle").unwrap())
}

/// Keras' `weighted_metrics`: a mean is divided by the sum of the weights; plain metrics do not know
/// them, and the loss stays divided by the number of samples.
#[test]
fn weighted_metrics_are_means_by_weight() {
    let mut learner = classifier();
    learner.track_metric(Weighted::new(Accuracy::new()));
    learner.track_metric(Weighted::new(TruePositives::new().thresholds(0.0)));
    let weights = [0.0, 0.5, 1.0, 4.0, 0.25];
    let (mut right, mut total) = (0.0, 0.0);
    for (i, weight) in weights.into_iter().enumerate() {
        learner.reset_metrics();
        learner.evaluate(data().batch(&[i]).unwrap(), None).unwrap();
        let mut logs = Logs::new();
        learner.read_metrics(&mut logs).unwrap();
        right += f64::from(weight) * logs.get("accuracy").unwrap();
        total += f64::from(weight);
    }
    learner.reset_metrics();
    learner.evaluate(data().batch(&[0, 1]).unwrap(), Some(&weights[..2])).unwrap();
    learner.evaluate(data().batch(&[2, 3, 4]).unwrap(), Some(&weights[2..])).unwrap();
    let reads = learner.device_reads();
    let mut logs = Logs::new();
    learner.read_metrics(&mut logs).unwrap();
    assert_eq!(learner.device_reads(), reads + 1, "one read for all metrics");
    assert!((logs.get("weighted_accuracy").unwrap() - right / total).abs() < 1e-6);
    // With a threshold of 0 all outputs are a yes: one of each sample is right.
    assert!((logs.get("weighted_true_positives").unwrap() - total).abs() < 1e-6);

    // In the middle of an epoch: sums and weights come back to the bit.
    let state = learner.step_state().unwrap();
    let mut other = classifier();
    other.track_metric(Weighted::new(Accuracy::new()));
    other.track_metric(Weighted::new(TruePositives::new().thresholds(0.0)));
    other.set_step_state(&state).unwrap();
    let mut restored = Logs::new();
    other.read_metrics(&mut restored).unwrap();
    assert_eq!(restored, logs);
}

#[test]
fn dropout_is_off_in_evaluation_and_of_the_step_in_training() {
    let loss_of = |learner: &mut Classifier| {
        let mut logs = Logs::new();
        learner.read_metrics(&mut logs).unwrap();
        learner.reset_metrics();
        logs.get("loss").unwrap()
    };
    let training_loss = |seed| {
        let mut learner = classifier();
        step(&mut learner, &[0, 1, 2, 3], seed);
        loss_of(&mut learner)
    };
    let evaluation_loss = || {
        let mut learner = classifier();
        learner.evaluate(data().batch(&[0, 1, 2, 3]).unwrap(), None).unwrap();
        loss_of(&mut learner)
    };
    assert_eq!(training_loss(1), training_loss(1));
    assert_ne!(training_loss(1), training_loss(2));
    assert_eq!(evaluation_loss(), evaluation_loss());
    assert_ne!(training_loss(1), evaluation_loss());

    let mut learner = classifier();
    let predict = |learner: &mut Classifier| {
        floats(learner.predict(data().batch(&[0, 1]).unwrap()).unwrap().0)
    };
    let probabilities = predict(&mut learner);
    assert_eq!(probabilities, predict(&mut learner));
    let sum: f32 = probabilities[..3].iter().sum();
    assert_close(&[sum], &[1.0], 1e-6, "outputs of a softmax");
}

#[test]
fn restored_weights_train_on_to_the_same_bits() {
    let mut straight = classifier();
    let mut restored = classifier();
    for seed in 0..3 {
        step(&mut straight, &[0, 1, 2, 3], seed);
        step(&mut restored, &[0, 1, 2, 3], seed);
    }
    // Optimizer state stays attached: the momentum of three steps is in what follows.
    let weights = restored.weights().unwrap();
    restored.set_weights(&weights).unwrap();
    for seed in 3..6 {
        step(&mut straight, &[4, 5, 6, 7], seed);
        step(&mut restored, &[4, 5, 6, 7], seed);
    }
    assert_eq!(straight.weights().unwrap(), restored.weights().unwrap());
}

/// One weight w and one bias b at 1; loss (w x + b − y)².
fn line() -> BurnLearner<Line, MeanSquaredError> {
    BurnLearner::new(Line::new(), Box::new(Sgd::new(0.1)), MeanSquaredError::new())
}

#[derive(Module, Debug)]
struct Line {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Line {
    /// On a device without autodiff, as users write it.
    fn new() -> Self {
        let device = Device::flex();
        Self {
            weight: Param::from_tensor(Tensor::ones([1, 1], &device)),
            bias: Param::from_tensor(Tensor::ones([1], &device)),
        }
    }
}

impl Forward for Line {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

fn point(x: f32, y: f32) -> Batch<Tensor<2>, Tensor<2>> {
    let device = Device::flex();
    Batch::new(rows(&[x], 1, &device), rows(&[y], 1, &device))
}

#[test]
fn gradients_stay_inside_until_they_are_applied() {
    let mut learner = line();
    assert_eq!(
        learner.gradient_norm().unwrap_err().to_string(),
        "there are no gradients; run a forward and backward pass first"
    );
    assert!(learner.apply_gradients(0.1).is_err());

    // d/dw = 2 (3 + 1 − 0) × 3 = 24, d/db = 8.
    learner.forward_backward(point(3.0, 0.0), TrainStep::default()).unwrap();
    assert_eq!(learner.gradient_norm().unwrap(), 640.0_f64.sqrt());
    assert_eq!(learner.device_reads(), 1);
    let before = learner.weights().unwrap();
    learner.clear_gradients();
    assert!(learner.apply_gradients(0.1).is_err());
    assert_eq!(learner.weights().unwrap(), before);

    learner.forward_backward(point(3.0, 0.0), TrainStep::default()).unwrap();
    learner.apply_gradients(0.125).unwrap();
    let model = learner.into_model().unwrap();
    assert_eq!(floats(model.weight.val()), [-2.0]);
    assert_eq!(floats(model.bias.val()), [0.0]);
    assert!(!model.weight.is_autodiff(), "what comes out is for inference");
}

#[test]
fn sample_weights_multiply_before_the_sum() {
    let device = Device::flex();
    let batch = || Batch::new(rows(&[0.0, 0.0], 1, &device), rows(&[0.0, 2.0], 1, &device));
    let mut learner = line();
    let weights = [3.0, 0.0];
    let step = TrainStep { sample_weight: Some(&weights), seed: 0 };
    learner.forward_backward(batch(), step).unwrap();
    let mut logs = Logs::new();
    learner.read_metrics(&mut logs).unwrap();
    // Errors of 1 each; divided by the two samples.
    assert_eq!(logs.get("loss"), Some(1.5));
    assert_eq!(learner.gradient_norm().unwrap(), 3.0, "only the bias, 2 × 3 / 2");

    let error = learner.evaluate(batch(), Some(&[1.0])).unwrap_err();
    assert_eq!(error.to_string(), "1 sample weights for 2 samples; there must be one for each");
}

#[test]
fn outputs_are_joined_along_the_samples() {
    let mut learner = line();
    let outputs: Vec<_> =
        [1.0, 2.0].map(|x| learner.predict(point(x, 0.0)).unwrap().0).into_iter().collect();
    assert_eq!(floats(learner.concat(outputs).unwrap()), [2.0, 3.0]);
    assert_eq!(
        learner.concat(vec![]).unwrap_err().to_string(),
        "there are no outputs to join: nothing was predicted"
    );
}

#[test]
fn a_label_without_an_output_is_named() {
    let labels = [0_u8, 1, 12, 2];
    let data = || ArrayDataset::new(&[2, 2], vec![0.0; 16]).unwrap().labels(labels).unwrap();
    let expected = "label 12 of sample 2 is outside the model's 3 outputs; allowed: 0..=2";
    let mut learner = classifier();
    let error =
        learner.forward_backward(data().batch(&[0, 1]).unwrap(), TrainStep::default()).unwrap_err();
    assert!(error.is_data());
    assert_eq!(error.to_string(), expected);
    let error = learner.evaluate(data().batch(&[2]).unwrap(), None).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let data: ClassifierData = data();
    assert_eq!(data.check_labels(3).unwrap_err().to_string(), expected);
    assert!(data.check_labels(13).is_ok());
    assert_eq!(data.classes(), Some(13));
    // Where a class is ignored, the others count.
    assert_eq!(data.check_labels_but(3, 0).unwrap_err().to_string(), expected);
    assert!(data.check_labels_but(3, 12).is_ok());
}

#[test]
fn refuses_data_that_cannot_be_used() {
    type Data = ArrayDataset<Tensor<2>, Tensor<2>>;
    let error = |result: refrain_core::Result<Data>| result.unwrap_err().to_string();
    let data = || Data::new(&[2], vec![0.0; 6]).unwrap();
    assert_eq!(
        error(Data::new(&[2], vec![0.0; 5])),
        "5 inputs do not make whole samples of the shape [2] (2 elements each)"
    );
    assert!(error(Data::new(&[2, 0], vec![])).starts_with("samples of the shape [2, 0]; allowed"));
    assert_eq!(error(data().labels([1, 2])), "2 labels for 3 samples; there must be one for each");
    assert_eq!(
        error(data().labels([1, -2, 0])),
        "label -2 of sample 1 is no class; allowed: 0 to 2147483647"
    );
    for label in [1 << 31, i64::MAX as u64, u64::MAX] {
        let error = error(data().labels([label; 3]));
        assert!(error.starts_with(&format!("label {label} of sample 0 is no class")), "{error}");
    }
    assert_eq!(
        error(data().targets(&[2], vec![0.0; 5])),
        "5 targets for 3 samples of the shape [2]; there must be 2 for each"
    );
    assert_eq!(
        data().batch(&[3]).unwrap_err().to_string(),
        "there is no sample 3 in this data set"
    );
    // NaN is data like any other.
    assert!(Data::new(&[1], vec![f32::NAN]).is_ok());

    let without_targets = data().batch(&[0]).unwrap();
    let mut learner = line();
    assert!(
        learner
            .forward_backward(without_targets, TrainStep::default())
            .unwrap_err()
            .to_string()
            .starts_with("the batch has no targets, and a loss needs them;")
    );
    let images = ArrayDataset::<Tensor<2>, Tensor<2>>::new(&[2, 2], vec![0.0; 8]).unwrap();
    assert_eq!(
        images.batch(&[0]).unwrap_err().to_string(),
        "a batch of the shape [1, 2, 2] has 3 axes, and a tensor of 2 is asked for; give the data \
         set the shape of one sample that the model takes"
    );
    let wrong_shape = ArrayDataset::new(&[4], vec![0.0; 4]).unwrap().labels([0]).unwrap();
    let error = classifier().predict(wrong_shape.batch(&[0]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "samples have the shape [4], and the model takes [2, 2]");
}

#[test]
fn classes_of_samples() {
    let data = || ArrayDataset::<Tensor<2>, Tensor<2>>::new(&[1], vec![0.0; 2]).unwrap();
    let classes = |data: ArrayDataset<_, _>| [data.class(0), data.class(1), data.class(2)];
    assert_eq!(classes(data()), [None; 3]);
    assert_eq!(classes(data().labels([5, 0]).unwrap()), [Some(5), Some(0), None]);
    let one_hot = data().targets(&[3], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0]).unwrap();
    assert_eq!(classes(one_hot), [Some(2), Some(0), None]);
    let column = data().targets(&[1], vec![3.0, 0.0]).unwrap();
    assert_eq!(classes(column), [Some(3), Some(0), None]);
}

#[test]
fn refuses_a_learner_that_cannot_train() {
    let frozen = BurnLearner::new(Line::new().no_grad(), Box::new(Sgd::new(0.1)), MeanSquaredError);
    assert_eq!(
        frozen.check().unwrap_err().to_string(),
        "the model has nothing to train: 2 weights, none of which take gradients"
    );
    let mut twice = classifier();
    twice.track_metric(Accuracy::new());
    assert_eq!(
        twice.check().unwrap_err().to_string(),
        "two metrics are named `accuracy`; track it once, or give one another name"
    );
    let options = BurnLearner::new(Line::new(), Box::new(Sgd::new(-1.0)), MeanSquaredError);
    assert!(options.check().unwrap_err().is_config());
    assert!(line().check().is_ok());

    let mut learner = line();
    learner.forward_backward(point(1.0, 0.0), TrainStep::default()).unwrap();
    assert!(learner.apply_gradients(f64::NAN).unwrap_err().is_config());
}

/// A second owner of a weight would turn the update in place into a copy: a parameter would then
/// lie elsewhere after each step.
#[test]
fn weights_stay_where_they_are_when_they_are_updated() {
    struct Probe(Arc<Mutex<Vec<(ParamId, usize)>>>);

    impl Optimizer for Probe {
        fn take_learning_rate(&mut self) -> Rate {
            Rate::Constant(0.1)
        }

        fn check(&self) -> refrain_core::Result {
            Ok(())
        }

        fn begin_step(&mut self, _: f64) {}

        fn update(&mut self, id: ParamId, weights: Values, _: Values) -> Values {
            let data = weights.into_tensor().into_data();
            let address = data.as_slice::<f32>().unwrap().as_ptr().addr();
            self.0.lock().unwrap().push((id, address));
            Tensor::<1>::from_data(data, &Device::flex()).into()
        }
    }

    let seen = Arc::new(Mutex::new(Vec::new()));
    let model = Sequential::input(&[2, 2])
        .layer(Flatten::new())
        .layer(Dense::new(8).activation(Activation::Relu))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(7)
        .unwrap();
    let mut learner = BurnLearner::new(
        model,
        Box::new(Probe(seen.clone())),
        SparseCategoricalCrossentropy::new(),
    );
    learner.track_metric(Accuracy::new());
    for _ in 0..2 {
        step(&mut learner, &[0, 1, 2], 0);
        learner.evaluate(data().batch(&[3]).unwrap(), None).unwrap();
        drop(learner.weights().unwrap());
    }
    step(&mut learner, &[0, 1, 2], 0);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3 * 4);
    assert_eq!(seen[..4], seen[4..8]);
    assert_eq!(seen[..4], seen[8..]);
}

#[test]
fn a_panic_in_a_users_forward_leaves_the_learner_usable() {
    let device = Device::flex();
    let mut learner = line();
    let wrong = Batch::new(Tensor::ones([1, 5], &device), Tensor::ones([1, 1], &device));
    let step = AssertUnwindSafe(|| learner.forward_backward(wrong, TrainStep::default()));
    assert!(catch_unwind(step).is_err(), "Burn panics on shapes");
    learner.forward_backward(point(3.0, 0.0), TrainStep::default()).unwrap();
    assert_eq!(learner.gradient_norm().unwrap(), 640.0_f64.sqrt());
    learner.apply_gradients(0.1).unwrap();
}

#[test]
fn trains_on_a_device_with_gradient_checkpointing() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let mut learner = line();
    let model = Line {
        weight: Param::from_tensor(Tensor::ones([1, 1], &device)),
        bias: Param::from_tensor(Tensor::ones([1], &device)),
    };
    let mut checkpointed =
        BurnLearner::new(model, Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    for learner in [&mut learner, &mut checkpointed] {
        for x in [1.0, 2.0] {
            learner.forward_backward(point(x, 0.5), TrainStep::default()).unwrap();
            learner.apply_gradients(0.1).unwrap();
            let weights = learner.weights().unwrap();
            learner.set_weights(&weights).unwrap();
        }
    }
    assert_eq!(learner.weights().unwrap(), checkpointed.weights().unwrap());
}
