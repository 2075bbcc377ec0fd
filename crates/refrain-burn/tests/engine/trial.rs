//! A trial of learning rates leaves no trace in a model with dropout and momenta.

use std::sync::mpsc;

use refrain_burn::layers::{Dense, Dropout};
use refrain_burn::{
    Accuracy, Activation, Adam, ArrayDataset, BurnLearner, Optimizer, Sequential, Sgd,
    SparseCategoricalCrossentropy,
};
use refrain_core::{Fit, LambdaCallback, ModelAccess as _, TrackMetric as _, Trainer};

#[test]
fn a_run_with_a_trial_has_the_same_bits() {
    let inputs: Vec<f32> = (0..400).map(|i| ((i * 7) % 23) as f32 / 23.0).collect();
    let data = ArrayDataset::new(&[4], inputs).unwrap().labels((0..100).map(|i| i % 3)).unwrap();
    let run = |optimizer: Box<dyn Optimizer>, is_tried: bool| {
        let model = Sequential::input(&[4])
            .layer(Dense::new(16).activation(Activation::Relu))
            .layer(Dropout::new(0.5))
            .layer(Dense::new(3).activation(Activation::Softmax))
            .build(7)
            .unwrap();
        let mut learner = BurnLearner::new(model, optimizer, SparseCategoricalCrossentropy::new());
        learner.track_metric(Accuracy::new());
        let (sender, points) = mpsc::channel();
        let find = LambdaCallback::new("find")
            .on_train_begin(move |run| match is_tried {
                true => run.request_trial((0..40).map(|i| 10_f64.powi(i / 5 - 6)).collect(), 4.0),
                false => Ok(()),
            })
            .on_epoch_begin(move |run| {
                let _ = sender.send(run.trial().map_or(0, |trial| trial.points.len()));
                Ok(())
            });
        let mut trainer = Trainer::new(learner, 0.05).seed(42).callback(find);
        let fit = || Fit::epochs(2).batch_size(16).validation_split(0.2).verbose(0);
        // Twice, so that the second trial begins with an optimizer that remembers something.
        let histories = [0; 2].map(|_| trainer.fit(&data, fit()).unwrap());
        let learner = trainer.learner();
        let tried: Vec<usize> = points.try_iter().collect();
        let (weights, state) = (learner.weights().unwrap(), learner.optimizer_state().unwrap());
        (histories, weights, state, tried)
    };
    let optimizers: [fn() -> Box<dyn Optimizer>; 3] = [
        || Box::new(Sgd::new(0.05)),
        || Box::new(Sgd::new(0.05).momentum(0.9)),
        || Box::new(Adam::new(0.05)),
    ];
    for optimizer in optimizers {
        let (plain, tried) = (run(optimizer(), false), run(optimizer(), true));
        assert_eq!(tried.0, plain.0, "histories");
        assert!(tried.1 == plain.1 && tried.2 == plain.2, "weights and optimizer");
        assert_eq!(plain.3, [0; 4]);
        assert!(tried.3.iter().all(|points| *points > 20), "{:?}", tried.3);
    }
}
