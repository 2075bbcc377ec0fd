//! Clips gradients.

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BackwardEnd, Hook};
use crate::learner::Clip;
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Clips the gradients of each update: by value, by each parameter's norm, or by their common norm.
///
/// With `clipvalue` = c each element is clamped to −c..=c. With `clipnorm` = c each parameter's
/// gradient g becomes g × c / max(‖g‖, c). With `global_clipnorm` = c all gradients are multiplied
/// by c × min(1 / ‖all‖, 1 / c); where that norm is not finite they become NaN. Exactly one of the
/// three is given. It acts between the backward pass and the update.
///
/// Together with [`GradientAccumulation`](super::GradientAccumulation), list it after that one:
/// then the mean over the batches is clipped, once for each update. Listed before, each batch's
/// gradients are clipped on their own, those of the update's last batch with the mean.
///
/// - Reads: nothing
/// - Writes: nothing; changes the gradients
/// - Requests: nothing
/// - State: none
/// - Cost: one pass over the gradients, for a norm two; nothing is read from the device.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `clipvalue` | none | above 0 | the largest magnitude of an element |
/// | `clipnorm` | none | above 0 | the largest L2 norm of a parameter's gradient |
/// | `global_clipnorm` | none | above 0 | the largest L2 norm of all gradients together |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "gradient_clip"
/// global_clipnorm = 1.0
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::GradientClip;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let mut trainer =
///     Trainer::new(script.learner(), 0.1).callback(GradientClip::global_clipnorm(1.0));
/// trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// There these are options of the optimizer.
///
/// # Source
/// Keras, `Optimizer(clipvalue, clipnorm, global_clipnorm)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientClip {
    clip: Clip,
}

impl GradientClip {
    /// Clamps each element to `-value..=value`.
    pub fn clipvalue(value: f64) -> Self {
        Self { clip: Clip::Value(value) }
    }

    /// Limits the L2 norm of each parameter's gradient.
    pub fn clipnorm(norm: f64) -> Self {
        Self { clip: Clip::Norm(norm) }
    }

    /// Limits the L2 norm of all gradients together.
    pub fn global_clipnorm(norm: f64) -> Self {
        Self { clip: Clip::GlobalNorm(norm) }
    }

    fn option(&self) -> (&'static str, f64) {
        match self.clip {
            Clip::Value(most) => ("clipvalue", most),
            Clip::Norm(most) => ("clipnorm", most),
            Clip::GlobalNorm(most) => ("global_clipnorm", most),
        }
    }
}

impl Callback for GradientClip {
    fn on_backward_end(&mut self, run: &mut Run<'_>, step: &mut BackwardEnd) -> Result {
        // Of an update that is put off, the mean will be clipped.
        if step.is_update_skipped() || step.is_accumulating() {
            return Ok(());
        }
        run.model.clip_gradients(self.clip)
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::BackwardEnd]).changes_gradients()
    }

    fn check(&self) -> Result {
        let (option, most) = self.option();
        if is_allowed(most) {
            return Ok(());
        }
        Err(Error::config(format!("{option} is {most}; allowed: {ALLOWED}")))
    }
}

const ALLOWED: &str = "a finite number above 0, typically 0.1 to 10";

fn is_allowed(most: f64) -> bool {
    most.is_finite() && most > 0.0
}

type MakeClip = fn(f64) -> Clip;

impl FromOptions for GradientClip {
    const NAME: &'static str = "gradient_clip";
    const EXAMPLE: &'static str = "global_clipnorm = 1.0";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let kinds: [(_, MakeClip); 3] = [
            ("clipvalue", Clip::Value),
            ("clipnorm", Clip::Norm),
            ("global_clipnorm", Clip::GlobalNorm),
        ];
        let mut found: Option<(&str, Self)> = None;
        for (key, clip) in kinds {
            let Some(value) = options.get(key) else {
                continue;
            };
            if let Some((other, _)) = found {
                return Err(
                    value.error(format!("`{other}` and `{key}` exclude each other; give one"))
                );
            }
            found = Some((key, Self { clip: clip(value.f64_in(ALLOWED, is_allowed)?) }));
        }
        found.map(|(_, clip)| clip).ok_or_else(|| {
            options.error(
                "gradient_clip needs one of `clipvalue`, `clipnorm`, `global_clipnorm`, for \
                 example global_clipnorm = 1.0",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Document;
    use crate::testing::Script;
    use crate::{Fit, LambdaCallback, Trainer};
    use serde_json::json;

    #[test]
    fn clips_before_the_update_what_is_not_put_off() {
        let norms = |is_put_off: bool| {
            let script = Script::losses(&[1.0]);
            let (sender, norms) = std::sync::mpsc::channel();
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .callback(LambdaCallback::new("put_off").on_backward_end(move |_, step| {
                    if is_put_off {
                        step.accumulate();
                    }
                    Ok(())
                }))
                .callback(GradientClip::clipnorm(0.25))
                .callback(LambdaCallback::new("look").on_backward_end(move |run, _| {
                    let _ = sender.send(run.model.gradient_norm()?);
                    Ok(())
                }));
            trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
            norms.try_iter().collect::<Vec<_>>()
        };
        assert_eq!(norms(false), [0.25, 0.25]);
        assert_eq!(norms(true), [1.0, 1.0]);
    }

    #[test]
    fn takes_exactly_one_option() {
        let build = |options: serde_json::Value| {
            let document = Document::from_json("recipe", &options);
            GradientClip::from_options(&document.root()?, &BuildContext::default())
        };
        for (options, expected) in [
            (json!({ "clipvalue": 2 }), GradientClip::clipvalue(2.0)),
            (json!({ "clipnorm": 0.5 }), GradientClip::clipnorm(0.5)),
            (json!({ "global_clipnorm": 1.0 }), GradientClip::global_clipnorm(1.0)),
        ] {
            assert_eq!(build(options).unwrap(), expected);
        }
        for (options, message) in [
            (json!({}), "needs one of `clipvalue`"),
            (json!({ "clipvalue": 1, "clipnorm": 1 }), "`clipvalue` and `clipnorm` exclude"),
            (json!({ "clipnorm": 0 }), "`clipnorm` is 0; allowed: a finite number above 0"),
        ] {
            let error = build(options).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = GradientClip::clipvalue(bad).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("clipvalue is {bad}; allowed")), "{error}");
        }
    }
}
