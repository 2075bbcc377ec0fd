//! What optimizers have in common: groups of parameters, exclusions from weight decay, averages, and
//! the loss scale.

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::layers::Dense;
use refrain_burn::{
    Adam, ArrayDataset, BurnLearner, Group, LossScale, MeanSquaredError, Optimizer,
    ParameterGroups, Sequential, Sgd,
};
use refrain_core::schedule::ExponentialDecay;
use refrain_core::weights::Weights;
use refrain_core::{Dataset as _, Fit, Learner as _, ModelAccess as _, TrainStep, Trainer};

type Data = ArrayDataset<refrain_burn::AnyTensor, Tensor<2>>;

fn model() -> Sequential {
    let layers = [Dense::new(3), Dense::new(3), Dense::new(1)];
    let builder =
        layers.into_iter().fold(Sequential::input(&[2]), |model, layer| model.layer(layer));
    builder.build(7).unwrap()
}

fn data(target: f32) -> Data {
    let inputs = ArrayDataset::new(&[2], vec![0.5, -1.0, 1.5, 2.0, -0.25, 1.0]).unwrap();
    inputs.targets(&[1], vec![target, 2.0, -1.0]).unwrap()
}

/// Weights after some steps.
fn trained(optimizer: impl Optimizer, steps: usize) -> Weights {
    let mut learner = learner(optimizer);
    for _ in 0..steps {
        step(&mut learner, 1.0);
    }
    learner.weights().unwrap()
}

fn learner(optimizer: impl Optimizer) -> BurnLearner<Sequential, MeanSquaredError> {
    let mut optimizer: Box<dyn Optimizer> = Box::new(optimizer);
    let _ = optimizer.take_learning_rate();
    let learner = BurnLearner::new(model(), optimizer, MeanSquaredError::new());
    learner.check().unwrap();
    learner
}

fn step(learner: &mut BurnLearner<Sequential, MeanSquaredError>, target: f32) {
    let batch = data(target).batch(&[0, 1, 2]).unwrap();
    learner.forward_backward(batch, TrainStep::default()).unwrap();
    learner.apply_gradients(0.1).unwrap();
}

fn bytes<'a>(weights: &'a Weights, name: &str) -> &'a [u8] {
    &weights.get(name).unwrap().bytes
}

/// One step, in which what one group does cannot reach the gradients of another.
#[test]
fn each_group_has_its_optimizer_and_rate() {
    let groups = ParameterGroups::new(Sgd::new(0.1))
        .group(Group::new(["dense_1"], Adam::new(0.01)))
        .group(Group::new(["*.bias"], Sgd::new(9.0)).learning_rate_scale(0.0))
        .group(Group::new(["dense_2*"], Sgd::new(0.3)));
    let got = trained(groups, 1);
    let plain = trained(Sgd::new(0.1), 1);
    let adam = {
        let mut optimizer: Box<dyn Optimizer> = Box::new(Adam::new(0.01));
        let _ = optimizer.take_learning_rate();
        let mut learner = BurnLearner::new(model(), optimizer, MeanSquaredError::new());
        let batch = data(1.0).batch(&[0, 1, 2]).unwrap();
        learner.forward_backward(batch, TrainStep::default()).unwrap();
        learner.apply_gradients(0.01).unwrap();
        learner.weights().unwrap()
    };
    assert_eq!(bytes(&got, "dense.weight"), bytes(&plain, "dense.weight"));
    assert_eq!(bytes(&got, "dense_1.weight"), bytes(&adam, "dense_1.weight"));
    assert_eq!(
        bytes(&got, "dense_1.bias"),
        bytes(&adam, "dense_1.bias"),
        "the first that names it"
    );
    let start = BurnLearner::new(model(), Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let start = start.weights().unwrap();
    for name in ["dense.bias", "dense_2.bias"] {
        assert_eq!(bytes(&got, name), bytes(&start, name), "{name} is frozen");
    }
    assert_ne!(bytes(&got, "dense_2.weight"), bytes(&plain, "dense_2.weight"));
}

/// A state that is exported goes into new groups, and training goes on to the same bits.
#[test]
fn groups_go_on_from_a_state() {
    let groups = || {
        ParameterGroups::new(Sgd::new(0.1).momentum(0.9).use_ema(0.5))
            .group(Group::new(["dense_1"], Adam::new(0.01).use_ema(0.9)))
            .group(Group::new(["dense_2"], Sgd::new(0.2)))
    };
    let mut straight = learner(groups());
    (0..5).for_each(|_| step(&mut straight, 1.0));
    let mut first = learner(groups());
    (0..3).for_each(|_| step(&mut first, 1.0));
    let mut second = learner(groups());
    second.set_weights(&first.weights().unwrap()).unwrap();
    let state = first.optimizer_state().unwrap();
    second.set_optimizer_state(&state).unwrap();
    assert_eq!(second.optimizer_state().unwrap(), state);
    (0..2).for_each(|_| step(&mut second, 1.0));
    assert_eq!(second.weights().unwrap(), straight.weights().unwrap());
    straight.end_training().unwrap();
    second.end_training().unwrap();
    assert_eq!(second.weights().unwrap(), straight.weights().unwrap());
    // The optimizer of dense_2 keeps no average, which it would have ended with.
    let own = straight.weights().unwrap();
    assert_ne!(own, trained(groups(), 5));
    assert_eq!(bytes(&own, "dense_2.bias"), bytes(&trained(groups(), 5), "dense_2.bias"));
}

#[test]
fn refuses_groups_that_cannot_be() {
    let check = |groups: ParameterGroups, expected: &str| {
        let mut trainer = Trainer::compile(model(), groups, MeanSquaredError::new());
        let error = trainer.fit(&data(1.0), Fit::epochs(1).verbose(0)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let groups = || ParameterGroups::new(Sgd::new(0.1));
    check(
        groups().group(Group::new(["dense_7"], Sgd::new(0.1))),
        "`dense_7` is no layer or parameter of the model; there are dense, dense_1, dense_2",
    );
    check(
        groups().group(Group::new(["dense"], Sgd::new(0.1).clipnorm(1.0))),
        "the optimizer of dense: gradients are clipped for all groups together",
    );
    check(
        groups().group(Group::new(["dense"], Sgd::new(0.1)).learning_rate_scale(-1.0)),
        "learning_rate_scale is -1; allowed: a finite number, 0 or more",
    );
    check(groups().group(Group::new(["dense"], Sgd::new(-0.1))), "sgd: learning_rate is -0.1");
    check(groups().group(Group::new([""; 0], Sgd::new(0.1))), "a group needs the name");
    let schedule = || ExponentialDecay::new(0.1, 10.0, 0.9);
    check(
        ParameterGroups::new(Sgd::new(schedule())).group(Group::new(["dense"], Sgd::new(0.1))),
        "a group needs a learning_rate_scale",
    );
    check(
        groups().group(Group::new(["dense"], Sgd::new(schedule()))),
        "a group's learning rate is a number",
    );
}

/// Names are looked for in the whole model: those of another group are no mistake.
#[test]
fn a_group_may_exclude_what_another_has() {
    let sgd = Sgd::new(0.1).weight_decay(0.1).exclude_from_weight_decay(["*.bias"]);
    let groups = ParameterGroups::new(sgd).group(Group::new(["*.bias"], Sgd::new(0.1)));
    let got = trained(groups, 1);
    let plain = trained(Sgd::new(0.1), 1);
    assert_eq!(bytes(&got, "dense.bias"), bytes(&plain, "dense.bias"));
}

#[test]
fn what_is_excluded_does_not_decay() {
    let decayed = |names: &[&str]| {
        let names = names.iter().copied();
        trained(Sgd::new(0.1).weight_decay(0.5).exclude_from_weight_decay(names), 1)
    };
    let (plain, all) = (trained(Sgd::new(0.1), 1), decayed(&[]));
    let some = decayed(&["*.bias", "dense_1"]);
    for tensor in &plain.tensors {
        let name = tensor.name.as_str();
        let is_excluded = name.ends_with(".bias") || name.starts_with("dense_1.");
        let expected = if is_excluded { &plain } else { &all };
        assert_eq!(bytes(&some, name), bytes(expected, name), "{name}");
    }
    assert_ne!(bytes(&some, "dense.weight"), bytes(&plain, "dense.weight"));
}

/// In f32, a power of two changes no bit.
#[test]
fn a_loss_scale_changes_no_bit() {
    let plain = trained(Adam::new(0.1), 4);
    for scale in [LossScale::constant(1024.0), LossScale::constant(0.25), LossScale::dynamic()] {
        assert_eq!(trained(Adam::new(0.1).loss_scale(scale), 4), plain);
    }
}

/// Keras' `LossScaleOptimizer`: halved where a gradient is not finite, and the step is not made;
/// doubled after `dynamic_growth_steps` good steps.
#[test]
fn a_loss_scale_follows_the_gradients() {
    let scale = LossScale::dynamic().initial_scale(8.0).dynamic_growth_steps(2);
    let mut learner = learner(Sgd::new(0.1).loss_scale(scale));
    let number = |learner: &BurnLearner<_, _>, name: &str| {
        let state: Weights = learner.optimizer_state().unwrap();
        f64::from_le_bytes(bytes(&state, name).try_into().unwrap())
    };
    let expected = [(8.0, 1.0), (16.0, 0.0), (16.0, 1.0), (8.0, 0.0), (8.0, 1.0), (16.0, 0.0)];
    for (i, (scale, good_steps)) in expected.into_iter().enumerate() {
        let before = learner.weights().unwrap();
        step(&mut learner, if i == 3 { f32::INFINITY } else { 1.0 });
        assert_eq!(learner.weights().unwrap() == before, i == 3, "step {i}");
        assert_eq!(number(&learner, "loss_scale"), scale, "step {i}");
        assert_eq!(number(&learner, "good_steps"), good_steps, "step {i}");
        let skipped = learner.loss_scale().unwrap().skipped_steps();
        assert_eq!(skipped, u64::from(i >= 3), "step {i}");
    }
    let state = learner.optimizer_state().unwrap();
    learner.set_optimizer_state(&Weights::default()).unwrap();
    assert_eq!(number(&learner, "loss_scale"), 8.0);
    assert_eq!(learner.loss_scale().unwrap().skipped_steps(), 0);
    learner.set_optimizer_state(&state).unwrap();
    assert_eq!(number(&learner, "loss_scale"), 16.0);
    assert_eq!(learner.loss_scale().unwrap().skipped_steps(), 1);
}

/// The average is in the model once training has ended, and not before.
#[test]
fn a_run_ends_with_the_average() {
    let fit = |optimizer: Sgd| {
        let mut trainer = Trainer::compile(model(), optimizer, MeanSquaredError::new());
        trainer.fit(&data(1.0), Fit::epochs(3).batch_size(3).shuffle(false).verbose(0)).unwrap();
        (trainer.learner().weights().unwrap(), trainer.history().clone())
    };
    let (average, with) = fit(Sgd::new(0.1).use_ema(0.9));
    let (trained, without) = fit(Sgd::new(0.1));
    assert_ne!(average, trained);
    assert_eq!(with.column("loss"), without.column("loss"), "nobody trains from the average");
}

#[test]
fn refuses_options_out_of_range() {
    let check = |optimizer: Sgd, expected: &str| {
        assert_eq!(optimizer.check().unwrap_err().to_string(), expected);
    };
    let sgd = || Sgd::new(0.1);
    check(sgd().use_ema(1.5), "sgd: ema_momentum is 1.5; allowed: 0 to 1, for example 0.99");
    check(
        sgd().ema_overwrite_frequency(3),
        "sgd: ema_overwrite_frequency is given, and no average is kept; say use_ema too",
    );
    check(
        sgd().use_ema(0.9).ema_overwrite_frequency(0),
        "sgd: ema_overwrite_frequency is 0; allowed: 1 or more",
    );
    check(
        sgd().loss_scale(LossScale::dynamic().initial_scale(f64::INFINITY)),
        "sgd: initial_scale is inf; allowed: a number above 0 and at most 1e38, for example 1024.0",
    );
    check(
        sgd().loss_scale(LossScale::dynamic().dynamic_growth_steps(0)),
        "sgd: dynamic_growth_steps is 0; allowed: 1 or more, for example 2000",
    );
}
