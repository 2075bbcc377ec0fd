//! Optimizers by Keras' formulas and defaults.

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod ftrl;
mod groups;
mod lamb;
mod lion;
mod muon;
mod nadam;
mod rmsprop;
mod schedule_free_adamw;
mod sgd;

mod common;
mod loss_scale;
mod names;
mod rule;
mod state;
mod values;

use burn::module::ParamId;
use refrain_core::schedule::Rate;
use refrain_core::{Clip, Error, IntoLearner, Result};

use crate::forward::Forward;
use crate::learner::BurnLearner;
use crate::losses::Loss;

pub use adadelta::Adadelta;
pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamax::Adamax;
pub use adamw::AdamW;
pub use ftrl::Ftrl;
pub use groups::{Group, ParameterGroups};
pub use lamb::Lamb;
pub use lion::Lion;
pub use loss_scale::LossScale;
pub use muon::Muon;
pub use nadam::Nadam;
pub use names::{ParameterInfo, any as names_parameter};
pub use rmsprop::RmsProp;
pub use schedule_free_adamw::ScheduleFreeAdamW;
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

    /// How gradients are clipped before each step; not at all by default.
    ///
    /// What [`GradientClip`](refrain_core::callbacks::GradientClip) clips, it clips before.
    fn clip(&self) -> Option<Clip> {
        None
    }

    /// Tells it which parameters there are; called once, before anything else. Does nothing by
    /// default.
    fn meet(&mut self, parameters: &[ParameterInfo]) {
        let _ = parameters;
    }

    /// What the loss is multiplied by, and gradients divided by before anybody sees them; not at all
    /// by default.
    fn current_loss_scale(&self) -> Option<&LossScale> {
        None
    }

    /// Told before each step whether all gradients are finite, where the loss scale follows them;
    /// if they are not, the step is not made.
    fn adapt_loss_scale(&mut self, is_finite: bool) {
        let _ = is_finite;
    }

    /// The moving average of a parameter, which its weights become when training ends; none by
    /// default.
    fn average(&self, id: ParamId) -> Option<&Values> {
        let _ = id;
        None
    }

    /// Begins the update of one step.
    fn begin_step(&mut self, learning_rate: f64);

    /// The new weights of one parameter. `weights` and `gradient` are of the same length.
    fn update(&mut self, id: ParamId, weights: Values, gradient: Values) -> Values;

    /// Sets the momentum (Adam: β₁) from the next step on.
    ///
    /// # Errors
    /// When there is none, which is the default, or when the value is out of range.
    fn set_momentum(&mut self, momentum: f64) -> Result {
        Err(no_momentum(momentum))
    }

    /// How many numbers it remembers of a trained parameter from the first step on; for an estimate of
    /// memory before anything is allocated. None by default.
    fn state_len(&self, parameter: &ParameterInfo) -> usize {
        let _ = parameter;
        0
    }

    /// What it remembers between steps; nothing by default.
    fn state(&self) -> OptimizerState {
        OptimizerState::default()
    }

    /// Sets what it remembers; [`OptimizerState::default`] is what a new optimizer does.
    ///
    /// Names and lengths are the optimizer's own to check.
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

compiles!(
    Sgd,
    Adam,
    AdamW,
    RmsProp,
    Nadam,
    Adagrad,
    Adamax,
    Adadelta,
    Adafactor,
    Lion,
    Ftrl,
    Lamb,
    Muon,
    ScheduleFreeAdamW,
    ParameterGroups
);

fn no_momentum(momentum: f64) -> Error {
    Error::config(format!(
        "the optimizer has no momentum, which was to be set to {momentum}; use sgd or adam, or a \
         schedule of the rate alone"
    ))
}
