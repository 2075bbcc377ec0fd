//! Closures as a callback.

use std::borrow::Cow;

use crate::callback::{Access, Callback};
use crate::error::Result;
use crate::event::{BackwardEnd, BatchEnd, EpochEnd, Hook, PredictBatchEnd, TestEnd};
use crate::outcome::Outcome;
use crate::run::Run;

type RunHook = Box<dyn FnMut(&mut Run<'_>) -> Result + Send>;
type BatchHook = Box<dyn FnMut(&mut Run<'_>, &BatchEnd) -> Result + Send>;
type BackwardHook = Box<dyn FnMut(&mut Run<'_>, &mut BackwardEnd) -> Result + Send>;
type TestHook = Box<dyn FnMut(&mut Run<'_>, &TestEnd<'_>) -> Result + Send>;
type EpochHook = Box<dyn FnMut(&mut Run<'_>, &mut EpochEnd<'_>) -> Result + Send>;
type PredictHook = Box<dyn FnMut(&mut Run<'_>, &PredictBatchEnd<'_>) -> Result + Send>;
type OutcomeHook = Box<dyn FnMut(&mut Run<'_>, &Outcome<'_>) -> Result + Send>;

/// A callback made of closures, one for each hook you need, under a name.
///
/// A hook without a closure is not called. Say what the closures read and write, so that the order
/// of the list can be checked. Keras' `on_epoch_begin=f` is `.on_epoch_begin(f)`.
///
/// - Reads: what [`reads`](Self::reads) says
/// - Writes: what [`writes`](Self::writes) says
/// - Requests: what the closures ask for
/// - State: none that is saved; what the closures capture starts anew with the program
/// - Cost: that of the closures
///
/// # Options
/// None; closures exist in Rust alone.
///
/// # In a recipe
/// Not available.
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, LambdaCallback, Trainer};
///
/// let gap = LambdaCallback::new("gap")
///     .on_epoch_end(|_, epoch| {
///         if let (Some(loss), Some(val_loss)) = (epoch.logs.get("loss"), epoch.logs.get("val_loss")) {
///             epoch.logs.insert("gap", val_loss - loss);
///         }
///         Ok(())
///     })
///     .writes("gap");
///
/// let script = Script::losses(&[1.0, 0.5]);
/// let data = script.data();
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(gap);
/// let history = trainer.fit(&data, Fit::epochs(2).validation_data(&data).verbose(0))?;
/// assert_eq!(history.column("gap"), [Some(0.0), Some(0.0)]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - A hook whose name is mistyped does not compile; Keras accepts it and never calls it.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.LambdaCallback`.
#[derive(Default)]
pub struct LambdaCallback {
    name: String,
    access: Access,
    train_begin: Option<RunHook>,
    epoch_begin: Option<RunHook>,
    train_batch_begin: Option<RunHook>,
    backward_end: Option<BackwardHook>,
    train_batch_end: Option<BatchHook>,
    test_begin: Option<RunHook>,
    test_batch_begin: Option<RunHook>,
    test_batch_end: Option<BatchHook>,
    test_end: Option<TestHook>,
    epoch_end: Option<EpochHook>,
    train_end: Option<OutcomeHook>,
    predict_begin: Option<RunHook>,
    predict_batch_begin: Option<RunHook>,
    predict_batch_end: Option<PredictHook>,
    predict_end: Option<OutcomeHook>,
}

/// For each hook: the builder method and the trait method that calls the closure.
macro_rules! hooks {
    ($($hook:ident $variant:ident => $field:ident ($($argument:ident: $type:ty)?);)*) => {
        impl LambdaCallback {
            $(
                #[doc = concat!("Runs the closure in [`Callback::", stringify!($hook), "`]; replaces an earlier one.")]
                pub fn $hook<F>(mut self, hook: F) -> Self
                where
                    F: FnMut(&mut Run<'_>, $($type)?) -> Result + Send + 'static,
                {
                    self.$field = Some(Box::new(hook));
                    self
                }
            )*
        }

        impl Callback for LambdaCallback {
            fn name(&self) -> Cow<'static, str> {
                self.name.clone().into()
            }

            fn access(&self) -> Access {
                let mut hooks = Vec::new();
                $(if self.$field.is_some() {
                    hooks.push(Hook::$variant);
                })*
                self.access.clone().acts_in(hooks)
            }

            $(
                fn $hook(&mut self, run: &mut Run<'_>, $($argument: $type)?) -> Result {
                    match &mut self.$field {
                        Some(hook) => hook(run, $($argument)?),
                        None => Ok(()),
                    }
                }
            )*
        }
    };
}

hooks! {
    on_train_begin TrainBegin => train_begin();
    on_epoch_begin EpochBegin => epoch_begin();
    on_train_batch_begin TrainBatchBegin => train_batch_begin();
    on_backward_end BackwardEnd => backward_end(step: &mut BackwardEnd);
    on_train_batch_end TrainBatchEnd => train_batch_end(batch: &BatchEnd);
    on_test_begin TestBegin => test_begin();
    on_test_batch_begin TestBatchBegin => test_batch_begin();
    on_test_batch_end TestBatchEnd => test_batch_end(batch: &BatchEnd);
    on_test_end TestEnd => test_end(test: &TestEnd<'_>);
    on_epoch_end EpochEnd => epoch_end(epoch: &mut EpochEnd<'_>);
    on_train_end TrainEnd => train_end(outcome: &Outcome<'_>);
    on_predict_begin PredictBegin => predict_begin();
    on_predict_batch_begin PredictBatchBegin => predict_batch_begin();
    on_predict_batch_end PredictBatchEnd => predict_batch_end(batch: &PredictBatchEnd<'_>);
    on_predict_end PredictEnd => predict_end(outcome: &Outcome<'_>);
}

impl LambdaCallback {
    /// A callback that does nothing yet. The name stands in messages.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Declares that the closures read this key of the epoch's logs.
    pub fn reads(mut self, key: impl Into<String>) -> Self {
        self.access = self.access.reads(key);
        self
    }

    /// Declares that the closures add this key to the epoch's logs.
    pub fn writes(mut self, key: impl Into<String>) -> Self {
        self.access = self.access.writes(key);
        self
    }

    /// Declares that the closures may ask for a stop.
    pub fn may_stop(mut self) -> Self {
        self.access = self.access.may_stop();
        self
    }

    /// Declares that the closures own a factor of the learning rate.
    pub fn scales_rate(mut self) -> Self {
        self.access = self.access.scales_rate();
        self
    }

    /// Declares that the closures set the base learning rate.
    pub fn sets_base_rate(mut self) -> Self {
        self.access = self.access.sets_base_rate();
        self
    }
}
