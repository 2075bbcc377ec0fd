//! A replay decides what the run that wrote the record decided.

use refrain_core::callbacks::{EarlyStopping, StepLrScheduler};
use refrain_core::schedule::{ExponentialDecay, Rate};
use refrain_core::testing::Script;
use refrain_core::{
    Access, Callback, CallbackExt as _, Fit, LambdaCallback, Logs, Monitor, OnFailure, Replay,
    Trainer,
};

fn stopping(patience: usize) -> EarlyStopping {
    EarlyStopping::new(Monitor::min("val_loss")).patience(patience).restore_best_weights(true)
}

fn callbacks(patience: usize) -> Vec<Box<dyn Callback>> {
    vec![
        Box::new(StepLrScheduler::new(0.5, 2).verbose(false)),
        Box::new(StepLrScheduler::new(0.1, 3).verbose(false).named("other")),
        Box::new(stopping(patience)),
    ]
}

fn decay() -> Rate {
    ExponentialDecay::new(0.1, 3.0, 0.9).into()
}

#[test]
fn decides_what_the_run_decided() {
    let losses = [5.0, 4.0, 4.5, f64::NAN, 3.0, 3.5, 3.2, 3.1, 2.0];
    for patience in 1..5 {
        let script = Script::losses(&losses);
        // Three steps an epoch.
        let data = script.samples(6);
        let mut trainer = Trainer::new(script.learner(), decay()).callbacks(callbacks(patience));
        let fit = Fit::epochs(losses.len()).batch_size(2).validation_data(&data).verbose(0);
        let history = trainer.fit(&data, fit).unwrap();

        let replayed = Replay::new(history.iter().map(|(_, logs)| logs.clone()))
            .epochs(losses.len())
            .steps_per_epoch(3)
            .run(callbacks(patience), decay())
            .unwrap();
        let rates: Vec<_> = replayed.epochs.iter().map(|e| Some(e.learning_rate)).collect();
        assert_eq!(rates, history.column("learning_rate"), "patience {patience}");
        let stopping = trainer.get::<EarlyStopping>().unwrap();
        assert_eq!(replayed.by.is_some(), stopping.stopped_epoch().is_some());
        assert_eq!(replayed.restored_epoch, stopping.best_epoch().map(|epoch| epoch + 1));
        assert_eq!(trainer.learner().updates(), 3 * replayed.restored_epoch.unwrap() as u64);
        let state = stopping.save_state().unwrap().unwrap();
        let last = replayed.epochs.last().unwrap();
        let (name, replayed_state) = last.states.last().unwrap();
        assert_eq!((name.as_str(), replayed_state), ("early_stopping", state.value()));
    }
}

#[test]
fn rates_in_the_record_are_ignored_and_missing_keys_are_missing_metrics() {
    let row = |values: &[(&str, f64)]| values.iter().map(|(name, x)| (*name, *x)).collect::<Logs>();
    let rows = [
        row(&[("val_loss", 1.0), ("learning_rate", 7.0)]),
        row(&[("loss", 1.0)]),
        row(&[("val_loss", 2.0)]),
        row(&[]),
        row(&[("val_loss", 2.0)]),
        row(&[("val_loss", 0.5)]),
    ];
    let replayed = Replay::new(rows).run(vec![Box::new(stopping(2))], 0.25).unwrap();
    assert!(replayed.epochs.iter().all(|epoch| epoch.learning_rate == 0.25));
    let stops: Vec<bool> = replayed.epochs.iter().map(|epoch| epoch.stop).collect();
    assert_eq!(stops, [false, false, false, false, true]);
    assert_eq!(replayed.restored_epoch, Some(1));
}

#[test]
fn epochs_may_have_gaps_and_must_rise() {
    let logs = || Logs::from([("val_loss", 1.0)]);
    let replay = Replay::of_epochs([(1, logs()), (4, logs()), (9, logs())]);
    let replayed = replay.run(callbacks(9), 1.0).unwrap();
    let epochs: Vec<_> = replayed.epochs.iter().map(|e| (e.epoch, e.learning_rate)).collect();
    // 0.5 ^ ⌊epoch / 2⌋ × 0.1 ^ ⌊epoch / 3⌋
    assert_eq!(epochs, [(1, 1.0), (4, 0.025), (9, 0.0625 * 0.1_f64.powi(3))]);

    let falling = Replay::of_epochs([(1, logs()), (1, logs())]);
    let error = falling.run(callbacks(9), 1.0).unwrap_err();
    assert!(error.to_string().contains("epoch 2 comes after epoch 2"), "{error}");
}

#[test]
fn observers_are_left_out_and_the_others_know_that_it_is_a_rehearsal() {
    struct Observer;
    impl Callback for Observer {
        fn on_event(
            &mut self,
            _: &mut refrain_core::Run<'_>,
            _: &mut refrain_core::Event<'_>,
        ) -> refrain_core::Result {
            panic!("an observer was told of a replay")
        }
        fn access(&self) -> Access {
            Access::new().observes()
        }
    }
    let decide = LambdaCallback::new("decide").on_epoch_end(|run, _| {
        assert!(run.is_rehearsal());
        run.stop("seen");
        Ok(())
    });
    let rows = [Logs::new(), Logs::new()];
    let callbacks: Vec<Box<dyn Callback>> =
        vec![Box::new(Observer.on_failure(OnFailure::Abort)), Box::new(decide)];
    let replayed = Replay::new(rows).run(callbacks, 0.1).unwrap();
    assert_eq!((replayed.epochs.len(), replayed.by.as_deref()), (1, Some("decide")));
}
