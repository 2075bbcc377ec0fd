#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod recipe;
mod registry;

pub use recipe::{
    DataPart, MemoryEstimate, MemoryLimit, Preparation, RateChange, Recipe, RecipeCheck,
    RecipeData, RecipeFit, RecipeLearner, RecipeSamples, RecipeSummary,
};
pub use registry::Registry;

pub use refrain_burn::*;
pub use refrain_core::*;
pub use refrain_data as data;
pub use refrain_plot as plot;

/// What most programs need: `use refrain::prelude::*;`.
///
/// Callbacks are named where they are used: `use refrain::callbacks::EarlyStopping;`.
pub mod prelude {
    pub use refrain_burn::{
        Accuracy, Adam, ArrayDataset, BinaryCrossentropy, CategoricalCrossentropy, Forward,
        MeanSquaredError, Sequential, Sgd, SparseCategoricalCrossentropy,
    };
    pub use refrain_core::checkpoint::{Checkpoints, Every};
    pub use refrain_core::{
        BackwardEnd, BatchEnd, Callback, CallbackExt as _, EpochEnd, Error, Fit, LambdaCallback,
        Logs, Monitor, OnFailure, Outcome, Result, Run, Trainer,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
