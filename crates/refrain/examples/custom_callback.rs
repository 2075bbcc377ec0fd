//! A callback of your own: configuration, one state, two hooks. `cargo run --example custom_callback`

use refrain::testing::Script;
use refrain::{Access, State, prelude::*};
use serde::{Deserialize, Serialize};

/// Stops when training and validation loss have drifted apart for a few epochs.
struct StopWhenOverfitting {
    /// val_loss ÷ loss from which on an epoch counts; > 1.
    ratio: f64,
    patience: usize,
    state: Overfitting,
}

/// What it remembers: saved in checkpoints, at its default when a `fit` begins.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Overfitting {
    epochs: usize,
}

impl Callback for StopWhenOverfitting {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let (Some(loss), Some(val_loss)) = (epoch.logs.get("loss"), epoch.logs.get("val_loss"))
        else {
            return Ok(()); // validation was not due
        };
        let gap = val_loss / loss;
        epoch.logs.insert("gap", gap);
        self.state.epochs = if gap > self.ratio { self.state.epochs + 1 } else { 0 };
        if self.state.epochs >= self.patience {
            run.stop(format!("val_loss is {gap:.1} times the loss"));
        }
        Ok(())
    }

    // Checked before the first batch.
    fn access(&self) -> Access {
        Access::new().reads("loss").reads("val_loss").writes("gap")
    }

    fn check(&self) -> Result {
        if self.ratio > 1.0 {
            return Ok(());
        }
        Err(Error::config(format!("ratio is {}; allowed: above 1", self.ratio)))
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.state).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        Ok(())
    }
}

fn main() -> Result {
    // No model, no data: the test kit plays losses from a list. Validation plays the same ones,
    // so a second callback, listed before, pretends that the model overfits.
    let script = Script::losses(&[1.0; 10]);
    let data = script.data();
    let overfit = LambdaCallback::new("pretend").on_epoch_end(|run, epoch| {
        epoch.logs.insert("val_loss", 1.0 + run.progress.epoch as f64);
        Ok(())
    });
    let stopping = StopWhenOverfitting { ratio: 2.5, patience: 2, state: Overfitting::default() };
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(overfit).callback(stopping);
    let history = trainer.fit(&data, Fit::epochs(10).validation_data(&data).verbose(2))?;
    assert_eq!(history.len(), 4);
    println!("{:?}", history.ending);
    Ok(())
}
