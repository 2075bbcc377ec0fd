//! `EarlyStopping` against Keras 3.15.1: the decisions that its own callback took on these
//! sequences, except where NaN comes first (see "Differs from Keras").

use refrain_core::callbacks::EarlyStopping;
use refrain_core::event::Hook;
use refrain_core::testing::{FailAt, Script, Trace};
use refrain_core::weights::Weights;
use refrain_core::{
    Callback, Error, Fit, LambdaCallback, ModelAccess as _, Monitor, StopHandle, Trainer,
};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;
/// The metric is missing in this epoch.
const GONE: f64 = -1e99;

struct Case {
    name: &'static str,
    values: &'static [f64],
    stopping: EarlyStopping,
    initial_epoch: usize,
    epochs_run: usize,
    stopped: Option<usize>,
    best: Option<(f64, usize)>,
    waits: &'static [usize],
    /// Epoch whose weights the model holds at the end, counted from the run's first.
    weights: u64,
}

fn run(case: &Case) {
    // The metric arrives from a callback, so that epochs can go without it.
    let values = case.values;
    let initial = case.initial_epoch;
    let metric = LambdaCallback::new("metric")
        .on_epoch_end(move |run, epoch| {
            let index = run.progress.epoch - initial;
            let value = *values.get(index).ok_or_else(|| Error::msg("ran too long"))?;
            if value != GONE {
                epoch.logs.insert("score", value);
            }
            Ok(())
        })
        .writes("score");
    let script = Script::losses(&[0.0]);
    let waits = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let stopping = Recording { inner: case.stopping.clone(), waits: waits.clone() };
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(metric).callback(stopping);
    let fit = Fit::epochs(initial + values.len()).initial_epoch(initial).verbose(0);
    let history = trainer.fit(&script.data(), fit).unwrap();
    let stopping = trainer.get::<EarlyStopping>().unwrap();
    assert_eq!(history.len(), case.epochs_run, "{}: epochs", case.name);
    assert_eq!(stopping.stopped_epoch(), case.stopped, "{}: stopped", case.name);
    assert_eq!(stopping.best().zip(stopping.best_epoch()), case.best, "{}: best", case.name);
    assert_eq!(*waits.lock().unwrap(), case.waits, "{}: waits", case.name);
    assert_eq!(trainer.learner().updates(), case.weights + 1, "{}: weights", case.name);
}

/// Forwards to `EarlyStopping` and writes down its `wait` after each epoch.
struct Recording {
    inner: EarlyStopping,
    waits: std::sync::Arc<std::sync::Mutex<Vec<usize>>>,
}

impl refrain_core::Callback for Recording {
    fn on_event(
        &mut self,
        run: &mut refrain_core::Run<'_>,
        event: &mut refrain_core::Event<'_>,
    ) -> refrain_core::Result {
        self.inner.on_event(run, event)?;
        if matches!(event, refrain_core::Event::EpochEnd(_)) {
            self.waits.lock().unwrap().push(self.inner.state().wait);
        }
        Ok(())
    }
    fn load_state(&mut self, saved: Option<&refrain_core::State>) -> refrain_core::Result {
        self.inner.load_state(saved)
    }
    fn inner(&self) -> Option<&dyn refrain_core::Callback> {
        Some(&self.inner)
    }
}

fn min() -> EarlyStopping {
    EarlyStopping::new(Monitor::min("score"))
}

#[test]
fn decides_as_keras_does() {
    let max = Monitor::max("score");
    #[rustfmt::skip]
    let cases = [
        ("E1", &[1., 2., 3.][..], min(), 0, 2, Some(1), Some((1., 0)), &[0, 1][..], 1),
        ("E2", &[1., 2., 3.], min().patience(1), 0, 2, Some(1), Some((1., 0)), &[0, 1], 1),
        ("E3", &[1., 2., 3., 4.], min().patience(2), 0, 3, Some(2), Some((1., 0)), &[0, 1, 2], 2),
        ("E4", &[1., 1., 1., 1.], min().patience(2), 0, 3, Some(2), Some((1., 0)), &[0, 1, 2], 2),
        ("E5", &[3., 2., 1.], min(), 0, 3, None, Some((1., 2)), &[0, 0, 0], 2),
        ("E6", &[1., 0.95, 0.91, 0.89, 0.8],
            EarlyStopping::new(Monitor::min("score").min_delta(-0.1)).patience(2),
            0, 3, Some(2), Some((1., 0)), &[0, 1, 2], 2),
        ("E7", &[0.5, 0.55, 0.59, 0.61, 0.62],
            EarlyStopping::new(max.clone().min_delta(0.1)).patience(2),
            0, 3, Some(2), Some((0.5, 0)), &[0, 1, 2], 2),
        ("E8", &[0.9, 0.8, 0.7, 0.71, 0.72, 0.73],
            min().patience(5).baseline(0.5).restore_best_weights(true),
            0, 5, Some(4), Some((0.7, 2)), &[1, 2, 3, 4, 5], 2),
        ("E9", &[0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91, 0.90, 0.89, 0.88],
            min().patience(3).baseline(0.5),
            0, 12, None, Some((0.88, 11)), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 11),
        ("E10", &[0.9, 0.8, 0.7, 0.6, 0.61], min().patience(2).baseline(0.5),
            0, 5, Some(4), Some((0.6, 3)), &[1, 2, 3, 4, 5], 4),
        ("E12", &[1., NAN, NAN, 0.5], min().patience(2).restore_best_weights(true),
            0, 3, Some(2), Some((1., 0)), &[0, 1, 2], 0),
        ("E13", &[1., NAN, 0.5, NAN, 0.4, NAN, NAN], min().patience(2).restore_best_weights(true),
            0, 7, Some(6), Some((0.4, 4)), &[0, 1, 0, 1, 0, 1, 2], 4),
        ("E14", &[INF, INF, 1., 2., 3.], min().patience(2),
            0, 5, Some(4), Some((1., 2)), &[0, 1, 0, 1, 2], 4),
        ("E15", &[1., GONE, GONE, GONE, 2., GONE, 3.], min().patience(2),
            0, 7, Some(6), Some((1., 0)), &[0, 0, 0, 0, 1, 1, 2], 6),
        ("E16", &[5., 4., 3., 9., 10.], min().start_from_epoch(3),
            0, 5, Some(4), Some((9., 3)), &[0, 0, 0, 0, 1], 4),
        ("E17", &[1., 4., 3., 9., 10., 11.],
            min().start_from_epoch(3).patience(2).restore_best_weights(true),
            0, 6, Some(5), Some((9., 3)), &[0, 0, 0, 0, 1, 2], 3),
        ("E18", &[1., 4., 3.], min().start_from_epoch(5).restore_best_weights(true),
            0, 3, None, None, &[0, 0, 0], 2),
        ("E19", &[1., 2.], min(), 5, 2, Some(6), Some((1., 5)), &[0, 1], 1),
        ("E20", &[3., 1., 2.], min().patience(5).restore_best_weights(true),
            0, 3, None, Some((1., 1)), &[0, 0, 1], 1),
        ("E21", &[0.932, 0.619, 0.668, 0.619, 0.862, 0.879, 0.455, 0.448],
            EarlyStopping::new(max.clone().min_delta(0.05)).patience(3).baseline(0.6)
                .start_from_epoch(2).restore_best_weights(true),
            0, 8, Some(7), Some((0.862, 4)), &[0, 0, 0, 1, 0, 1, 2, 3], 4),
        ("E22", &[0.889, 0.713, 0.922, 0.621, 0.544, 0.49, 0.5],
            EarlyStopping::new(max).patience(3).baseline(0.6).restore_best_weights(true),
            0, 6, Some(5), Some((0.922, 2)), &[0, 1, 0, 1, 2, 3], 2),
    ];
    for (name, values, stopping, initial_epoch, epochs_run, stopped, best, waits, weights) in cases
    {
        run(&Case {
            name,
            values,
            stopping,
            initial_epoch,
            epochs_run,
            stopped,
            best,
            waits,
            weights,
        });
    }
}

#[test]
fn nan_first_does_not_poison_the_run_as_it_does_in_keras() {
    run(&Case {
        name: "E11",
        values: &[NAN, 1., 0.5, 0.4, 0.3, 0.2],
        stopping: min().patience(3).restore_best_weights(true),
        initial_epoch: 0,
        epochs_run: 6,
        stopped: None,
        best: Some((0.2, 5)),
        waits: &[1, 0, 0, 0, 0, 0],
        weights: 5,
    });
    run(&Case {
        name: "NaN throughout",
        values: &[NAN, NAN, NAN],
        stopping: min().patience(2).restore_best_weights(true),
        initial_epoch: 0,
        epochs_run: 2,
        stopped: Some(1),
        best: None,
        waits: &[1, 2],
        weights: 1,
    });
}

/// keras-team/keras#20256: state must not survive into the next fit.
#[test]
fn r20256_state_is_reset_between_fits() {
    let script = Script::losses(&[1.0, 2.0, 3.0, 9.0, 8.0, 7.0, 8.0, 9.0]);
    let stopping = EarlyStopping::new(Monitor::min("loss")).patience(2).restore_best_weights(true);
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(stopping);
    let fit = || Fit::epochs(8).verbose(0);
    assert_eq!(trainer.fit(&script.data(), fit()).unwrap().len(), 3);
    let history = trainer.fit(&script.data(), fit()).unwrap();
    assert_eq!(history.len(), 5);
    assert_eq!(trainer.get::<EarlyStopping>().unwrap().best(), Some(7.0));
}

/// Keras' `test_early_stopping_final_weights_when_restoring_model_weights` (c), and the ends that a
/// run has besides.
#[test]
fn restores_the_best_weights_whatever_ends_the_run() {
    type Ender = fn(StopHandle) -> Box<dyn Callback>;
    let stop: Ender = |_| {
        Box::new(LambdaCallback::new("stop").on_epoch_end(|run, _| {
            if run.progress.epoch == 3 {
                run.stop("enough");
            }
            Ok(())
        }))
    };
    let press: Ender = |handle| {
        Box::new(LambdaCallback::new("press").on_train_batch_end(move |run, _| {
            if run.progress.epoch == 3 {
                handle.stop();
            }
            Ok(())
        }))
    };
    let fail: Ender = |_| Box::new(FailAt::new(Hook::EpochEnd, 4));
    let panic: Ender = |_| Box::new(FailAt::new(Hook::TrainBatchEnd, 4).panics());
    for (ender, outcome) in
        [(stop, "stopped"), (press, "interrupted"), (fail, "failed"), (panic, "failed")]
    {
        for is_ender_first in [true, false] {
            // The best is that of the third epoch.
            let script = Script::losses(&[0.2, 0.15, 0.1, 0.11, 0.12]);
            let stopping =
                EarlyStopping::new(Monitor::min("loss")).patience(4).restore_best_weights(true);
            let handle = StopHandle::default();
            let mut callbacks: Vec<Box<dyn Callback>> =
                vec![Box::new(stopping), ender(handle.clone())];
            if is_ender_first {
                callbacks.reverse();
            }
            let trace = Trace::new("t");
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .stop_with(handle)
                .callbacks(callbacks)
                .callback(trace.clone());
            let result = trainer.fit(&script.data(), Fit::epochs(5).verbose(0));
            let what = format!("{outcome}, ender first: {is_ender_first}");
            assert_eq!(result.is_err(), outcome == "failed", "{what}");
            assert_eq!(trace.lines().pop(), Some(format!("t: on_train_end {outcome}")), "{what}");
            assert_eq!(trainer.get::<EarlyStopping>().unwrap().stopped_epoch(), None, "{what}");
            // The fourth epoch's update was made, and taken back.
            let made = trainer.learner().optimizer_state().unwrap();
            assert_eq!(made, Weights::from_f32([("updates", vec![1], vec![4.0])]), "{what}");
            assert_eq!(trainer.learner().updates(), 3, "{what}");
        }
    }
}
