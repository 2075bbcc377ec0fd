//! `[fit]`: how long, in which batches.

use std::collections::BTreeMap;

use refrain_core::{Fit, Result, ValidationFreq};

use refrain_core::options::{Section, Value};

use super::checkpoint::Setting;

/// What `[fit]` says.
#[derive(Clone, Debug)]
pub(super) struct FitRecipe {
    pub(super) epochs: usize,
    initial_epoch: usize,
    pub(super) batch_size: usize,
    shuffle: bool,
    pub(super) steps_per_epoch: Option<usize>,
    validation_freq: Option<ValidationFreq>,
    validation_steps: Option<usize>,
    validation_batch_size: Option<usize>,
    pub(super) class_weight: BTreeMap<usize, f32>,
}

pub(super) fn read(section: &Section<'_>) -> Result<FitRecipe> {
    let count = |key, least| section.get(key).map(|value| value.usize(least)).transpose();
    let fit = FitRecipe {
        epochs: count("epochs", 1)?.unwrap_or(1),
        initial_epoch: count("initial_epoch", 0)?.unwrap_or(0),
        batch_size: count("batch_size", 1)?.unwrap_or(32),
        shuffle: section.get("shuffle").map_or(Ok(true), |value| value.bool())?,
        steps_per_epoch: count("steps_per_epoch", 1)?,
        validation_freq: section.get("validation_freq").map(|value| freq(&value)).transpose()?,
        validation_steps: count("validation_steps", 1)?,
        validation_batch_size: count("validation_batch_size", 1)?,
        class_weight: section.get("class_weight").map_or(Ok(BTreeMap::new()), |v| weights(&v))?,
    };
    section.finish()?;
    Ok(fit)
}

impl FitRecipe {
    /// What decides how the run goes and has a default, by dotted key.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![
            ("fit.batch_size", Some(self.batch_size.to_string())),
            ("fit.initial_epoch", Some(self.initial_epoch.to_string())),
            ("fit.shuffle", Some(self.shuffle.to_string())),
        ];
        let every = match self.validation_freq {
            None => Some(1),
            Some(ValidationFreq::Every(n)) => Some(n),
            // Its epochs stand under keys of their own.
            Some(ValidationFreq::At(_)) => None,
        };
        settings.push(("fit.validation_freq", every.map(|n| n.to_string())));
        let size = self.validation_batch_size.filter(|size| *size != self.batch_size);
        settings.push(("fit.validation_batch_size", size.map(|size| size.to_string())));
        settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(super) fn options<'a, B>(&self, validation_split: Option<f64>) -> Fit<'a, B> {
        let mut fit = Fit::epochs(self.epochs)
            .initial_epoch(self.initial_epoch)
            .batch_size(self.batch_size)
            .shuffle(self.shuffle)
            .class_weight(self.class_weight.clone());
        if let Some(split) = validation_split {
            fit = fit.validation_split(split);
        }
        if let Some(steps) = self.steps_per_epoch {
            fit = fit.steps_per_epoch(steps);
        }
        if let Some(freq) = &self.validation_freq {
            fit = fit.validation_freq(freq.clone());
        }
        if let Some(steps) = self.validation_steps {
            fit = fit.validation_steps(steps);
        }
        if let Some(size) = self.validation_batch_size {
            fit = fit.validation_batch_size(size);
        }
        fit
    }

    /// Samples in a batch of the validation.
    pub(super) fn validation_batch_size(&self) -> usize {
        self.validation_batch_size.unwrap_or(self.batch_size)
    }

    /// After how many batches a validation ends, where the recipe says so.
    pub(super) fn validation_steps(&self) -> Option<usize> {
        self.validation_steps
    }

    /// How many of `samples` are trained on: Keras' split, the tail held out.
    pub(super) fn trained_samples(&self, samples: usize, validation_split: Option<f64>) -> usize {
        validation_split.map_or(samples, |split| (samples as f64 * (1.0 - split)).floor() as usize)
    }
}

/// `3`, or a list of epochs counted from 1.
fn freq(value: &Value<'_>) -> Result<ValidationFreq> {
    if value.is_array() {
        let epochs = value.items()?.iter().map(|epoch| epoch.usize(1)).collect::<Result<_>>()?;
        return Ok(ValidationFreq::At(epochs));
    }
    value.usize(1).map(ValidationFreq::Every)
}

/// `{ "0" = 1.0, "7" = 2.5 }`.
fn weights(value: &Value<'_>) -> Result<BTreeMap<usize, f32>> {
    let entry = |(class, weight): (&str, Value<'_>)| {
        let class = class
            .parse()
            .map_err(|_| weight.error(format!("`{class}` is no class; allowed: 0, 1, 2, ..")))?;
        let allowed = "a finite number, 0 or more";
        let weight = weight.f64_in(allowed, |x| x.is_finite() && x >= 0.0)?;
        Ok((class, weight as f32))
    };
    value.entries()?.into_iter().map(entry).collect()
}
