//! The learning rate of a run before the run.

use std::sync::{Arc, Mutex, PoisonError};

use refrain_core::console::Console;
use refrain_core::testing::Script;
use refrain_core::{Callback, Dataset as _, LambdaCallback, RateAccess, Result, Trainer};

use super::Recipe;

impl Recipe {
    /// The learning rate of each epoch, as the log would have it, without training.
    ///
    /// Runs the callbacks that change the rate and look at no metric; what depends on metrics
    /// cannot be known before.
    ///
    /// # Errors
    /// When the recipe's callbacks contradict each other.
    pub fn preview_epochs(&self) -> Result<Vec<f64>> {
        Ok(self.preview()?.0)
    }

    /// The learning rate of each optimizer step.
    ///
    /// # Errors
    /// As [`preview_epochs`](Self::preview_epochs).
    pub fn preview_steps(&self) -> Result<Vec<f64>> {
        Ok(self.preview()?.1)
    }

    fn preview(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let samples = self.load_data()?;
        let callbacks = self.callbacks("".as_ref())?;
        let callbacks = callbacks.into_iter().filter(|callback| is_schedule(&**callback));
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let record = LambdaCallback::new("preview").on_backward_end(move |run, _| {
            let rate = run.learning_rate.get();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(rate);
            Ok(())
        });
        let script = Script::losses(&[0.0]);
        let mut trainer = Trainer::new(script.learner(), self.compile.optimizer.learning_rate())
            .console(Console::silent())
            .callbacks(callbacks)
            .callback(record);
        // The same epochs, batches and split; only the order is not worth its time.
        let fit = self.fit.options(self.data.validation_split).shuffle(false).verbose(0);
        let history = trainer.fit(&script.samples(samples.len()), fit)?;
        let epochs = history.column("learning_rate").into_iter().flatten().collect();
        drop(trainer);
        let steps = std::mem::take(&mut *steps.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((epochs, steps))
    }
}

/// Whether a callback changes the rate, and needs no metric to do so.
fn is_schedule(callback: &dyn Callback) -> bool {
    let access = callback.access();
    access.rate() != RateAccess::None && access.read().is_empty()
}
