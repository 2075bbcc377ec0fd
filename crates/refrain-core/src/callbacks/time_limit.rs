//! Stops after a length of time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::State;

/// Stops training when it has taken a given time, by the clock on the wall.
///
/// The time is looked at when a batch ends and when an epoch ends, validation included; after a
/// stop the epoch ends as usual. A run that is resumed counts on from the time it had used; one
/// that had used all of it trains no further epoch. In a rehearsal (`preview`, `replay`) no time
/// passes.
///
/// - Reads: the clock
/// - Writes: nothing
/// - Requests: a stop
/// - State: the time used so far, in seconds
/// - Cost: a look at the clock per batch, some 50 ns
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `seconds` | – | above 0 | how long to train |
/// | `limit` | – | `"90m"`, `"1h 30m"`, `"2days"`, … | the same as a duration; one of the two must be given |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "time_limit"
/// limit = "1h30m"
/// ```
///
/// # Example
/// ```
/// use std::time::Duration;
/// use refrain_core::callbacks::TimeLimit;
/// use refrain_core::testing::Script;
/// use refrain_core::{Ending, Fit, Trainer};
///
/// let script = Script::losses(&[1.0; 100]);
/// let limit = TimeLimit::new(Duration::from_nanos(1));
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(limit);
/// let history = trainer.fit(&script.data(), Fit::epochs(100).verbose(0))?;
///
/// assert_eq!(history.len(), 1);
/// assert!(matches!(history.ending, Ending::Stopped(reason) if reason.by == "time_limit"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Refrain's own.
#[derive(Clone, Debug)]
pub struct TimeLimit {
    limit: Duration,
    /// Time used before this process began, in seconds. Not part of the state: time that was spent on
    /// batches to which a run goes back no more is spent all the same.
    before: Option<f64>,
    state: TimeLimitState,
}

/// State of [`TimeLimit`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeLimitState {
    /// Time used so far, in seconds.
    pub used: f64,
}

impl TimeLimit {
    /// Stops when this much time has passed since training began. Above 0.
    pub fn new(limit: Duration) -> Self {
        Self { limit, before: None, state: TimeLimitState::default() }
    }

    /// Time used so far, in seconds, of earlier parts of a resumed run too.
    pub fn used(&self) -> f64 {
        self.state.used
    }

    fn look_at_clock(&mut self, run: &mut Run<'_>) {
        if !run.is_rehearsal() {
            let before = self.before.unwrap_or(0.0);
            self.state.used = before + run.progress.elapsed().as_secs_f64();
            self.stop_at_limit(run);
        }
    }

    fn stop_at_limit(&self, run: &mut Run<'_>) {
        if self.state.used >= self.limit.as_secs_f64() {
            let limit = humantime::format_duration(self.limit);
            run.stop(format!("the time limit of {limit} is reached"));
        }
    }
}

impl Callback for TimeLimit {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        let used = self.state.used;
        self.before.get_or_insert(used);
        // Not the clock: a limit that is not used up lets at least one batch be trained.
        self.stop_at_limit(run);
        Ok(())
    }

    fn on_train_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.look_at_clock(run);
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        self.look_at_clock(run);
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::TrainBegin, Hook::TrainBatchEnd, Hook::EpochEnd]).may_stop()
    }

    fn check(&self) -> Result {
        if self.limit.is_zero() {
            return Err(Error::config("the time limit is 0 seconds; allowed: more"));
        }
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.state).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        if saved.is_none() {
            // A new run.
            self.before = None;
        }
        Ok(())
    }
}

impl FromOptions for TimeLimit {
    const NAME: &'static str = "time_limit";
    const EXAMPLE: &'static str = "seconds = 3600";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let (seconds, limit) = (options.get("seconds"), options.get("limit"));
        let limit = match (seconds, limit) {
            (Some(_), Some(limit)) => {
                return Err(limit.error("`seconds` and `limit` both say how long; keep one"));
            }
            (None, Some(limit)) => {
                let text = limit.str()?;
                let allowed = "a duration above 0 such as \"90m\", \"1h 30m\", \"2days\"";
                match humantime::parse_duration(text) {
                    Ok(duration) if !duration.is_zero() => duration,
                    _ => return Err(limit.out_of_range(format!("{text:?}"), allowed)),
                }
            }
            _ => {
                let seconds = options.require("seconds", "seconds = 3600, or limit = \"1h\"")?;
                let x = seconds.f64()?;
                Duration::try_from_secs_f64(x)
                    .ok()
                    .filter(|limit| !limit.is_zero())
                    .ok_or_else(|| seconds.out_of_range(x, "a number of seconds above 0"))?
            }
        };
        Ok(Self::new(limit))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::options::Document;
    use crate::testing::Script;
    use crate::{CallbackRegistry, Ending, Fit, Trainer};

    #[test]
    fn the_limit_is_a_number_of_seconds_or_a_duration() {
        for (options, expected) in [
            (json!({ "seconds": 1.5 }), Ok(Duration::from_millis(1500))),
            (json!({ "limit": "1h30m" }), Ok(Duration::from_secs(5400))),
            (json!({ "seconds": 0 }), Err("`seconds` is 0; allowed: a number of seconds above 0")),
            (json!({ "seconds": -1 }), Err("`seconds` is -1; allowed")),
            (json!({ "limit": "soon" }), Err("`limit` is \"soon\"; allowed: a duration")),
            (json!({ "limit": "0s" }), Err("`limit` is \"0s\"; allowed")),
            (json!({ "limit": "1h", "seconds": 1 }), Err("both say how long")),
            (json!({}), Err("needs `seconds`")),
        ] {
            let document = Document::from_json("options", &options);
            let root = document.root().unwrap();
            let built = TimeLimit::from_options(&root, &BuildContext::default());
            match (built, expected) {
                (Ok(built), Ok(limit)) => assert_eq!(built.limit, limit),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                (built, expected) => panic!("{options}: {built:?}, expected {expected:?}"),
            }
        }
        assert!(CallbackRegistry::builtin().names().any(|name| name == TimeLimit::NAME));
    }

    #[test]
    fn a_resumed_run_counts_on() {
        let saved = State::new(&TimeLimitState { used: 7200.0 }).unwrap();
        let mut limit = TimeLimit::new(Duration::from_secs(3600));
        limit.load_state(Some(&saved)).unwrap();
        assert_eq!(limit.used(), 7200.0);
        let script = Script::losses(&[1.0; 2]);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(Resumed(limit));
        let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        assert_eq!(history.len(), 0);
        let Ending::Stopped(why) = history.ending else { panic!("not stopped") };
        assert_eq!(why.reason, "the time limit of 1h is reached");
    }

    /// Keeps its state when a `fit` begins, as a run that goes on does.
    struct Resumed(TimeLimit);

    impl Callback for Resumed {
        fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
            self.0.on_train_begin(run)
        }
    }

    #[test]
    fn time_that_is_left_changes_nothing_and_a_rehearsal_takes_none() {
        let epochs = |limit, is_rehearsal| {
            let script = Script::losses(&[1.0; 3]);
            let mut trainer = Trainer::new(script.learner(), 0.1).callback(TimeLimit::new(limit));
            if is_rehearsal {
                trainer = trainer.rehearse();
            }
            trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap().len()
        };
        assert_eq!(epochs(Duration::from_secs(86_400), false), 3);
        assert_eq!(epochs(Duration::from_nanos(1), true), 3);
    }
}
