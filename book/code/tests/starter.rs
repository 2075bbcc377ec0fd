//! The starter runs with its blanks as they are.

use refrain::prelude::*;
use refrain::testing::Script;
use refrain_book::setup::digits;
use refrain_book::starter::{
    JsonTrainingLogger, StepLrScheduler, WarmupCosineScheduler, train_with_full_pipeline,
};

#[test]
fn blanks_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("log.json");
    let script = Script::losses(&[1.0]);
    let mut trainer = Trainer::new(script.learner(), 0.1)
        .callback(StepLrScheduler::new(0.5, 1).verbose(true))
        .callback(JsonTrainingLogger::new(&log_file))
        .callback(WarmupCosineScheduler::new(0.1, 1, 2));
    assert!(trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).is_ok());
    assert!(train_with_full_pipeline(&digits().unwrap(), &log_file).is_ok());
}
