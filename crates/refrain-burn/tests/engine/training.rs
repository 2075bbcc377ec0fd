//! Whole runs: against Keras' numbers, against the same loop by hand on Burn, and by a recipe's
//! names.

use std::sync::{Arc, Mutex};

use refrain_burn::burn::module::{Module, ModuleMapper, Param};
use refrain_burn::burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use refrain_burn::burn::tensor::activation::relu;
use refrain_burn::burn::tensor::{Device, Gradients, Int, Tensor};
use refrain_burn::layers::Dense;
use refrain_burn::{
    Accuracy, Activation, Adam, AnyLoss, AnyMetric, AnyTensor, ArrayDataset, Batch, BurnLearner,
    Ctc, Forward, Initializer, Loss as _, MeanSquaredError, Optimizer, Sequential, Sgd,
    SparseCategoricalCrossentropy, Targets,
};
use refrain_core::callbacks::SwapEmaWeights;
use refrain_core::schedule::ExponentialDecay;
use refrain_core::{
    Dataset as _, Fit, LambdaCallback, Learner as _, ModelAccess as _, TrainStep, Trainer,
};

/// Keras' `schedules/learning_rate_schedule_test.py::test_fit_lr_correctness`: optimizer,
/// schedule, loss and averaging at once.
#[test]
fn fit_gives_the_losses_of_keras() {
    let model = Sequential::input(&[2])
        .layer(
            Dense::new(2).kernel_initializer(Initializer::Ones).bias_initializer(Initializer::Ones),
        )
        .build(0)
        .unwrap();
    let decay = ExponentialDecay::new(0.05, 1.0, 0.9);
    let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
    let data = ArrayDataset::new(&[2], x.clone()).unwrap().targets(&[2], x).unwrap();

    let mut trainer = Trainer::compile(model, Adam::new(decay), MeanSquaredError::new());
    let fit = Fit::epochs(3).batch_size(4).shuffle(false).verbose(0);
    let history = trainer.fit(&data, fit).unwrap();

    let losses: Vec<f64> = history.iter().map(|(_, logs)| logs.get("loss").unwrap()).collect();
    for (loss, keras) in losses.iter().zip([230.794_57, 128.303_19, 79.336_49]) {
        assert!((loss / keras - 1.0).abs() < 1e-6, "{losses:?}");
    }
}

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(6, 16).init(device),
            dropout: DropoutConfig::new(0.2).init(),
            output: LinearConfig::new(16, 3).init(device),
        }
    }
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let x = relu(self.hidden.forward(input));
        self.output.forward(self.dropout.forward(x))
    }
}

fn samples() -> ArrayDataset<Tensor<2>, Tensor<1, Int>> {
    ArrayDataset::new(&[6], inputs()).unwrap().labels((0..40).map(|i| i % 3)).unwrap()
}

/// Noise, and the class in the first three of six.
fn inputs() -> Vec<f32> {
    let noise = |i: usize| ((i * 13) % 29) as f32 / 29.0;
    let class = |i: usize| if i % 6 == (i / 6) % 3 { 1.0 } else { 0.0 };
    (0..40 * 6).map(|i| noise(i) + class(i)).collect()
}

/// SGD as one would write it on Burn.
struct ByHand<'a>(&'a mut Gradients);

impl ModuleMapper for ByHand<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let gradient = tensor.grad_remove(self.0).unwrap();
        let updated = tensor.inner() - gradient * 0.1_f32;
        Param::from_mapped_value(id, Tensor::from_inner(updated).require_grad(), mapper)
    }
}

/// The learner adds nothing to and takes nothing from what a loop by hand does, whether or not
/// the user's device was made for autodiff. Burn's dropout is left out here: its random numbers
/// belong to the process, and other tests draw from them.
#[test]
fn a_users_module_trains_as_by_hand_to_the_bit() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let mut net = Net { dropout: DropoutConfig::new(0.0).init(), ..Net::new(&device) };
    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut learners = [net.clone(), net.clone().valid()]
        .map(|net| BurnLearner::new(net, Box::new(Sgd::new(0.1)), loss));
    // Clones share memory; training one must not change the other.
    let untouched = net.clone();
    let before = untouched.hidden.weight.val().into_data();

    for epoch in 0..3 {
        for batch in 0..4 {
            let indices: Vec<usize> = (0..10).map(|i| batch * 10 + (i + epoch) % 10).collect();
            let batch = || samples().batch(&indices).unwrap();
            for learner in &mut learners {
                learner.forward_backward(batch(), TrainStep::default()).unwrap();
                learner.apply_gradients(0.1).unwrap();
                learner.evaluate(batch(), None).unwrap();
            }
            let Batch { inputs, targets, .. } = batch();
            let logits = net.forward(Tensor::from_inner(inputs));
            let losses = loss.forward(logits, Tensor::from_inner(targets.unwrap()));
            let mut gradients = losses.sum().div_scalar(10.0).backward();
            net = net.map(&mut ByHand(&mut gradients));
        }
    }

    let by_hand = BurnLearner::new(net, Box::new(Sgd::new(0.1)), loss).weights().unwrap();
    for learner in learners {
        assert_eq!(learner.weights().unwrap(), by_hand);
    }
    assert_eq!(untouched.hidden.weight.val().into_data(), before);
}

#[test]
fn learns_with_fit_and_metrics() {
    let net = Net::new(&Device::flex());
    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut trainer = Trainer::compile(net, Adam::new(0.01), loss).metric(Accuracy::new());
    let history = trainer.fit(&samples(), Fit::epochs(200).batch_size(8).verbose(0)).unwrap();
    let last = history.last().unwrap();
    assert!(last.get("accuracy").unwrap() > 0.9, "{last:?}");
    assert_eq!(trainer.predict(&samples(), 16).unwrap().dims(), [40, 3]);
}

/// Keras' `test_swap_ema_weights`: what is validated with is what the run leaves.
#[test]
fn the_last_validation_with_averaged_weights_is_that_of_the_model_that_is_left() {
    let run = |with_average: bool, stop_after: usize| {
        let stop = LambdaCallback::new("stop").on_epoch_end(move |run, _| {
            if run.progress.epoch + 1 == stop_after {
                run.stop("enough");
            }
            Ok(())
        });
        let mut trainer = trainer().callback(stop);
        if with_average {
            trainer = trainer.callback(SwapEmaWeights::new().ema_momentum(0.9));
        }
        let data = any_samples();
        let fit = Fit::epochs(4).batch_size(16).validation_data(&data).verbose(0);
        let history = trainer.fit(&data, fit).unwrap();
        assert_eq!(history.len(), stop_after);
        let last = history.last().unwrap().get("val_loss").unwrap();
        let after = trainer.evaluate(&data, 16).unwrap().get("loss").unwrap();
        assert_eq!(last.to_bits(), after.to_bits(), "stopped after {stop_after}");
        last
    };
    for stop_after in [2, 4] {
        assert_ne!(run(true, stop_after), run(false, stop_after), "nothing was averaged");
    }
}

/// Keras' `test_model_state_is_current_on_epoch_end`.
#[test]
fn hooks_see_the_weights_after_the_last_update() {
    let weights_after = |epochs| {
        let mut trainer = trainer();
        trainer.fit(&any_samples(), Fit::epochs(epochs).batch_size(16).verbose(0)).unwrap();
        trainer.learner().weights().unwrap()
    };
    let at_batch_end = Arc::new(Mutex::new(None));
    let at_epoch_end = Arc::new(Mutex::new(Vec::new()));
    let watch = {
        let (at_batch_end, at_epoch_end) = (Arc::clone(&at_batch_end), Arc::clone(&at_epoch_end));
        let last = Arc::clone(&at_batch_end);
        LambdaCallback::new("watch")
            .on_train_batch_end(move |run, _| {
                let before = at_batch_end.lock().unwrap().replace(run.model.weights()?);
                assert_ne!(before, *at_batch_end.lock().unwrap(), "a batch without an update");
                Ok(())
            })
            .on_epoch_end(move |run, _| {
                let weights = run.model.weights()?;
                assert_eq!(last.lock().unwrap().as_ref(), Some(&weights));
                at_epoch_end.lock().unwrap().push(weights);
                Ok(())
            })
    };
    trainer()
        .callback(watch)
        .fit(&any_samples(), Fit::epochs(3).batch_size(16).verbose(0))
        .unwrap();
    assert!(*at_epoch_end.lock().unwrap() == [1, 2, 3].map(weights_after));
}

/// A network of six inputs and three classes, the same each time.
fn trainer() -> Trainer<BurnLearner<Sequential, SparseCategoricalCrossentropy>> {
    let model = Sequential::input(&[6])
        .layer(Dense::new(16).activation(Activation::Relu))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(7)
        .unwrap();
    let loss = SparseCategoricalCrossentropy::new();
    Trainer::compile(model, Sgd::new(0.1).momentum(0.9), loss).seed(7)
}

fn any_samples() -> ArrayDataset<AnyTensor, Tensor<1, Int>> {
    ArrayDataset::new(&[6], inputs()).unwrap().labels((0..40).map(|i| i % 3)).unwrap()
}

/// Everything by name, as a recipe has it.
#[test]
fn two_runs_of_one_seed_give_the_same_bits() {
    let run = |seed| {
        use refrain_burn::layers::{Dropout, LayerConfig};
        let layers: Vec<LayerConfig> = vec![
            Dense::new(16).activation(Activation::Relu).into(),
            Dropout::new(0.3).into(),
            Dense::new(3).activation(Activation::Softmax).into(),
        ];
        let model = Sequential::input(&[6]).layers(layers).build(seed).unwrap();
        let optimizer: Box<dyn Optimizer> = Box::new(Sgd::new(0.1).momentum(0.9));
        let loss = AnyLoss::from_name("sparse_categorical_crossentropy").unwrap();
        let mut trainer = Trainer::compile(model, optimizer, loss)
            .metric(AnyMetric::from_name("accuracy").unwrap())
            .seed(seed);
        let data: ArrayDataset<AnyTensor, Targets> =
            ArrayDataset::new(&[6], inputs()).unwrap().labels((0..40).map(|i| i % 3)).unwrap();
        let history = trainer.fit(&data, Fit::epochs(5).batch_size(8).verbose(0)).unwrap();
        let losses: Vec<u64> =
            history.iter().map(|(_, logs)| logs.get("loss").unwrap().to_bits()).collect();
        (losses, trainer.learner().weights().unwrap())
    };
    let (first, second, other) = (run(42), run(42), run(43));
    assert!(first == second);
    assert!(first.1 != other.1);
}

/// Several inputs are a tuple.
#[test]
fn takes_several_inputs() {
    #[derive(Module, Debug)]
    struct Two {
        linear: Linear,
    }

    impl Forward for Two {
        type Input = (Tensor<2>, Tensor<1, Int>);
        type Output = Tensor<2>;

        fn forward(&self, (x, which): Self::Input) -> Tensor<2> {
            self.linear.forward(x) + which.float().unsqueeze_dim(1)
        }
    }

    let device = Device::flex();
    let two = Two { linear: LinearConfig::new(1, 1).init(&device) };
    let mut learner = BurnLearner::new(two, Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let x = Tensor::<2>::ones([4, 1], &device);
    let which = Tensor::<1, Int>::from_data([0, 1, 2, 3], &device);
    let batch = || Batch::new((x.clone(), which.clone()), Tensor::<2>::ones([4, 1], &device));
    assert_eq!(learner.forward_backward(batch(), TrainStep::default()).unwrap(), 4);
    learner.apply_gradients(0.1).unwrap();
    assert_eq!(learner.predict(batch()).unwrap().1, 4);
}

/// A module whose outputs are sequences, with a loss of whole ones.
#[test]
fn labels_are_read_off_the_outputs_of_a_users_module() {
    #[derive(Module, Debug)]
    struct Reader {
        linear: Linear,
    }

    impl Forward for Reader {
        type Input = Tensor<3>;
        type Output = Tensor<3>;

        fn forward(&self, x: Tensor<3>) -> Tensor<3> {
            self.linear.forward(x)
        }
    }

    // A number for each of five steps, of which 1 and 2 are to be read, and 0 is not.
    let steps = [[0.0, 1.0, 1.0, 0.0, 2.0], [2.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0]];
    let seen = |number: f32| [0.0, 1.0, 2.0].map(|other| f32::from(u8::from(number == other)));
    let inputs = steps.as_flattened().iter().flat_map(|number| seen(*number)).collect();
    let labels = vec![1.0, 2.0, 2.0, 1.0, 1.0, 1.0];
    let data = ArrayDataset::new(&[5, 3], inputs).unwrap().targets(&[2], labels).unwrap();
    data.check_label_sequences(5, 3).unwrap();
    let module = Reader { linear: LinearConfig::new(3, 3).init(&Device::flex()) };
    let mut trainer = Trainer::compile(module, Adam::new(0.1), Ctc);
    let history = trainer.fit(&data, Fit::epochs(60).verbose(0)).unwrap();
    let losses: Vec<f64> = history.iter().filter_map(|(_, logs)| logs.get("loss")).collect();
    assert!(losses[59] < 0.1 * losses[0], "{losses:?}");
}
