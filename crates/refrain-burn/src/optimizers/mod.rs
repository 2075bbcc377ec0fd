//! Optimizers by Keras' formulas and defaults.

mod adam;
mod sgd;
mod state;
mod values;

use burn::module::ParamId;
use refrain_core::schedule::Rate;
use refrain_core::{Error, IntoLearner, Result};

use crate::forward::Forward;
use crate::learner::BurnLearner;
use crate::losses::Loss;

pub use adam::Adam;
pub use sgd::Sgd;
pub use state::{OptimizerSlot, OptimizerState};
pub use values::Values;

/// Turns gradients into updates of the weights.
///
/// Weights and gradients come flattened, one call for each parameter; state is kept by parameter
/// id. The learning rate is not the optimizer's own: the trainer hands it in before each step.
///
/// An optimizer of your own is used as `Box::new(Mine) as Box<dyn Optimizer>`.
pub trait Optimizer: Send + 'static {
    /// The learning rate that the optimizer was given, for the trainer. Asked for once.
    fn take_learning_rate(&mut self) -> Rate;

    /// Whether all options are in range.
    ///
    /// # Errors
    /// A configuration error that names option, value and what is allowed.
    fn check(&self) -> Result;

    /// Begins the update of one step.
    fn begin_step(&mut self, learning_rate: f64);

    /// The new weights of one parameter. `weights` and `gradient` are of the same length.
    fn update(&mut self, id: ParamId, weights: Values, gradient: Values) -> Values;

    /// Sets the momentum (Adam: β₁) from the next step on.
    ///
    /// # Errors
    /// When there is none, which is the default, or when the value is out of range.
    fn set_momentum(&mut self, momentum: f64) -> Result {
        Err(Error::config(format!(
            "the optimizer has no momentum, which was to be set to {momentum}; use sgd or adam, or \
             a schedule of the rate alone"
        )))
    }

    /// What it remembers between steps; nothing by default.
    fn state(&self) -> OptimizerState {
        OptimizerState::default()
    }

    /// Sets what it remembers; [`OptimizerState::default`] is what a new optimizer does.
    ///
    /// Shapes are checked before; names are the optimizer's own.
    ///
    /// # Errors
    /// When the state is another optimizer's; then nothing was changed.
    fn set_state(&mut self, state: OptimizerState) -> Result {
        state.finish("the optimizer")
    }
}

impl<M, S> IntoLearner<M, S> for Box<dyn Optimizer>
where
    M: Forward,
    S: Loss<M::Output>,
{
    type Learner = BurnLearner<M, S>;

    fn into_learner(mut self, model: M, loss: S) -> (BurnLearner<M, S>, Rate) {
        let rate = self.take_learning_rate();
        (BurnLearner::new(model, self, loss), rate)
    }
}

/// `IntoLearner` for each optimizer: an impl for all optimizers at once would be an impl of a
/// foreign trait for a type that may be foreign, which the orphan rule forbids.
macro_rules! compiles {
    ($($optimizer:ty),*) => {$(
        impl<M, S> IntoLearner<M, S> for $optimizer
        where
            M: Forward,
            S: Loss<M::Output>,
        {
            type Learner = BurnLearner<M, S>;

            fn into_learner(self, model: M, loss: S) -> (BurnLearner<M, S>, Rate) {
                (Box::new(self) as Box<dyn Optimizer>).into_learner(model, loss)
            }
        }
    )*};
}

compiles!(Sgd, Adam);

/// Takes a schedule out; a number stays, so that it can be checked later.
fn take_rate(rate: &mut Option<Rate>, default: f64) -> Rate {
    match rate {
        Some(Rate::Constant(constant)) => Rate::Constant(*constant),
        _ => rate.take().unwrap_or(Rate::Constant(default)),
    }
}

/// Keras takes any rate; one that is not above 0 trains away from the minimum or not at all.
fn check_rate(optimizer: &str, rate: &Option<Rate>) -> Result {
    match rate {
        Some(Rate::Constant(rate)) if !(rate.is_finite() && *rate > 0.0) => {
            Err(Error::config(format!(
                "{optimizer}: learning_rate is {rate}; allowed: a finite number above 0, for \
                 example 0.01"
            )))
        }
        _ => Ok(()),
    }
}

/// A number that must be in a range, which is told in words.
fn check_option(
    optimizer: &str,
    option: &str,
    value: f64,
    is_allowed: bool,
    allowed: &str,
) -> Result {
    if is_allowed {
        return Ok(());
    }
    Err(Error::config(format!("{optimizer}: {option} is {value}; allowed: {allowed}")))
}
