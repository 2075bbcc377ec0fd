//! The callback that looks for a learning rate before the run.

use std::path::PathBuf;

use refrain_core::event::Hook;
use refrain_core::options::Section;
use refrain_core::{
    Access, BuildContext, Callback, Error, FromOptions, Outcome, Result, Run, State, Trial,
};
use serde::{Deserialize, Serialize};

use crate::Figure;

const DEFAULT_FILE: &str = "lr_finder.json";
const DEFAULT_PICTURE: &str = "lr_finder.png";
/// Fewer leave no points to choose from, more take too long to compare.
const STEPS: std::ops::RangeInclusive<usize> = 20..=10_000;

/// Tries learning rates before the first epoch, on a model that is then put back as it was, and
/// suggests one.
///
/// The rates rise exponentially from `start_lr` to `end_lr`; each is tried on the next batch of the
/// first epoch, beginning again where the data ends. It ends early where the loss is not finite, or
/// the smoothed loss exceeds `stop_above` times its lowest value. Then weights and optimizer are put
/// back to the bit, and since data order and dropout depend on the seed alone, the run is the same
/// as without it. Other callbacks do not see its batches: gradients are not clipped in it, and rates
/// not scaled.
///
/// It prints two suggestions, which are fastai's: the rate at which the smoothed loss falls most
/// steeply, and `valley`, a point two thirds down its longest fall, which is more careful. Both are
/// for a rate at the beginning or the peak of a schedule.
///
/// In a loop written by hand, which has no data to try them on, it is refused.
///
/// - Reads: nothing
/// - Writes: `file`, the curve and the suggestions as JSON; `picture`, the curve as PNG or SVG
/// - Requests: a trial of learning rates; with `stop` a stop before the first epoch
/// - State: what was found, so that a resumed run does not look again
/// - Cost: `steps` training steps with a read from the device each, once; a copy of weights and
///   optimizer on the host meanwhile.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `start_lr` | 1e-7 | above 0 | the first rate |
/// | `end_lr` | 10 | above `start_lr` | the last rate |
/// | `steps` | 100 | 20 to 10000 | rates |
/// | `stop_above` | 4 | above 1 | ends where the smoothed loss is so many times its lowest value |
/// | `stop` | false | true, false | whether the run ends after it, before anything is trained |
/// | `file` | `lr_finder.json` | a file | where the curve goes |
/// | `picture` | `lr_finder.png` | `.png` or `.svg` | where the picture goes |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "lr_finder"
/// stop = true
/// ```
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
/// use refrain_plot::LrFinder;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let finder = LrFinder::new()
///     .stop(true)
///     .file(folder.path().join("curve.json"))
///     .picture(folder.path().join("curve.svg"));
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(finder);
/// let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// assert!(history.is_empty());
/// assert_eq!(trainer.get::<LrFinder>().unwrap().trial().unwrap().points.len(), 100);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Smith, "Cyclical learning rates for training neural networks", 2017; fastai, `lr_find` with
/// `steep` and `valley`. Keras has none.
#[derive(Clone, Debug, PartialEq)]
pub struct LrFinder {
    start_lr: f64,
    end_lr: f64,
    steps: usize,
    stop_above: f64,
    stop: bool,
    file: PathBuf,
    picture: PathBuf,
    state: LrFinderState,
}

/// State of [`LrFinder`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LrFinderState {
    /// What was found; none before.
    pub trial: Option<Trial>,
}

impl Default for LrFinder {
    fn default() -> Self {
        Self {
            start_lr: 1e-7,
            end_lr: 10.0,
            steps: 100,
            stop_above: 4.0,
            stop: false,
            file: DEFAULT_FILE.into(),
            picture: DEFAULT_PICTURE.into(),
            state: LrFinderState::default(),
        }
    }
}

impl LrFinder {
    /// 100 rates from 1e-7 to 10.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first rate, above 0. Default 1e-7.
    pub fn start_lr(mut self, rate: f64) -> Self {
        self.start_lr = rate;
        self
    }

    /// The last rate, above the first. Default 10.
    pub fn end_lr(mut self, rate: f64) -> Self {
        self.end_lr = rate;
        self
    }

    /// How many rates, 20 to 10,000. Default 100.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Ends where the smoothed loss is so many times its lowest value. Default 4.
    pub fn stop_above(mut self, factor: f64) -> Self {
        self.stop_above = factor;
        self
    }

    /// Whether the run ends after it, before anything is trained. Default false.
    pub fn stop(mut self, stop: bool) -> Self {
        self.stop = stop;
        self
    }

    /// Where the curve goes. Default `lr_finder.json`. Folders that are missing are made.
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = file.into();
        self
    }

    /// Where the picture goes, `.png` or `.svg`. Default `lr_finder.png`.
    pub fn picture(mut self, picture: impl Into<PathBuf>) -> Self {
        self.picture = picture.into();
        self
    }

    /// What was found in the last run.
    pub fn trial(&self) -> Option<&Trial> {
        self.state.trial.as_ref()
    }

    fn rates(&self) -> Vec<f64> {
        let ratio = self.end_lr / self.start_lr;
        let last = self.steps.saturating_sub(1).max(1) as f64;
        (0..self.steps).map(|i| self.start_lr * ratio.powf(i as f64 / last)).collect()
    }

    /// Prints, writes and draws what was found, the first time that it is there.
    fn report(&mut self, run: &mut Run<'_>) -> Result {
        let Some(trial) = run.trial().filter(|_| self.state.trial.is_none()) else {
            return Ok(());
        };
        let trial = self.state.trial.insert(trial.clone());
        let name = run.callback_name();
        run.print(&format!("{name}: {}", in_words(trial)));
        let curve = Curve { steepest: trial.steepest(), valley: trial.valley(), trial };
        let json = serde_json::to_vec_pretty(&curve).map_err(Error::wrap)?;
        run.files().write_atomically(&self.file, &json)?;
        if trial.points.len() < 2 {
            return Ok(());
        }
        if let Some(folder) = self.picture.parent() {
            run.files().create_folders(folder)?;
        }
        let figure = Figure::trial(trial, "Loss by learning rate").map_err(Error::wrap)?;
        figure.write_on(run.files(), &self.picture).map_err(Error::wrap)
    }
}

/// What the file holds.
#[derive(Serialize)]
struct Curve<'a> {
    steepest: Option<f64>,
    valley: Option<f64>,
    #[serde(flatten)]
    trial: &'a Trial,
}

fn in_words(trial: &Trial) -> String {
    let tried = match (trial.points.first(), trial.points.last()) {
        (Some(first), Some(last)) => format!(
            "tried {} learning rates from {:.1e} to {:.1e}",
            trial.points.len(),
            first.learning_rate,
            last.learning_rate
        ),
        _ => "tried no learning rate".to_owned(),
    };
    match (trial.steepest(), trial.valley()) {
        (Some(steepest), Some(valley)) => format!(
            "the loss falls most steeply at a learning rate of {steepest:.1e}, valley {valley:.1e}; \
             {tried}"
        ),
        _ => format!("no suggestion, the loss does not fall; {tried}"),
    }
}

impl Callback for LrFinder {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // A run that goes on has had its trial, also where it was not reported yet.
        if self.state.trial.is_some() || run.trial().is_some() || run.is_rehearsal() {
            return Ok(());
        }
        run.request_trial(self.rates(), self.stop_above)?;
        if self.stop {
            run.stop("the run was to look for a learning rate only");
        }
        Ok(())
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.report(run)
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        self.report(run)
    }

    fn access(&self) -> Access {
        let hooks = [Hook::TrainBegin, Hook::EpochBegin, Hook::TrainEnd];
        let access = Access::new()
            .acts_in(hooks)
            .reads_model()
            .writes_file(&self.file)
            .writes_file(&self.picture);
        if self.stop { access.may_stop() } else { access.observes() }
    }

    fn check(&self) -> Result {
        let Self { start_lr, end_lr, steps, stop_above, .. } = *self;
        if !is_rate(start_lr) {
            return Err(Error::config(format!("start_lr is {start_lr}; allowed: {RATE}")));
        }
        if !(end_lr.is_finite() && end_lr > start_lr) {
            return Err(Error::config(format!(
                "end_lr is {end_lr}; allowed: a finite number above start_lr, which is {start_lr}"
            )));
        }
        if !STEPS.contains(&steps) {
            return Err(Error::config(format!("steps is {steps}; allowed: 20 to 10000")));
        }
        if !is_factor(stop_above) {
            return Err(Error::config(format!("stop_above is {stop_above}; allowed: {FACTOR}")));
        }
        Figure::check_extension(&self.picture).map_err(|e| Error::config(e.to_string()))
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.state).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        Ok(())
    }
}

const RATE: &str = "a finite number above 0, for example 1e-7";
const FACTOR: &str = "a number above 1, for example 4";

fn is_rate(rate: f64) -> bool {
    rate.is_finite() && rate > 0.0
}

fn is_factor(factor: f64) -> bool {
    factor > 1.0
}

impl FromOptions for LrFinder {
    const NAME: &'static str = "lr_finder";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let mut finder = Self::new()
            .file(context.output(options, "file", DEFAULT_FILE)?)
            .picture(context.output(options, "picture", DEFAULT_PICTURE)?);
        if let Some(rate) = options.get("start_lr") {
            finder = finder.start_lr(rate.f64_in(RATE, is_rate)?);
        }
        if let Some(rate) = options.get("end_lr") {
            finder = finder.end_lr(rate.f64_in(RATE, is_rate)?);
        }
        if let Some(steps) = options.get("steps") {
            finder = finder.steps(steps.usize(*STEPS.start())?);
        }
        if let Some(factor) = options.get("stop_above") {
            finder = finder.stop_above(factor.f64_in(FACTOR, is_factor)?);
        }
        if let Some(stop) = options.get("stop") {
            finder = finder.stop(stop.bool()?);
        }
        Ok(finder)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use refrain_core::console::Console;
    use refrain_core::testing::Script;
    use refrain_core::{Ending, Fit, Trainer};
    use std::path::Path;

    /// The finder after a run in which the loss of the n-th rate was the n-th of `losses`.
    fn run(finder: LrFinder, losses: &[f64], folder: &Path) -> (LrFinder, Ending, String) {
        let script = Script::losses(losses);
        let (console, printed) = Console::memory();
        let finder =
            finder.file(folder.join("new/curve.json")).picture(folder.join("pictures/curve.svg"));
        let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(finder);
        let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        let finder = trainer.get::<LrFinder>().unwrap().clone();
        (finder, history.ending, printed.contents())
    }

    /// Falls most steeply in the middle, and explodes after 80.
    fn losses() -> Vec<f64> {
        let loss = |i: i32| match i {
            80.. => 10_f64.powi(i - 77),
            _ => 2.0 - (f64::from(i - 40) / 10.0).tanh(),
        };
        (0..100).map(loss).collect()
    }

    #[test]
    fn prints_writes_and_draws_once() {
        let folder = tempfile::tempdir().unwrap();
        let (finder, ending, printed) = run(LrFinder::new(), &losses(), folder.path());
        assert_eq!(ending, Ending::Completed);
        assert_eq!(printed.lines().count(), 1);
        assert!(printed.starts_with("lr_finder: the loss falls most steeply at"), "{printed}");

        let trial = finder.trial().unwrap();
        assert!((80..90).contains(&trial.points.len()), "{}", trial.points.len());
        let steepest = trial.steepest().unwrap();
        assert!((1e-5..1e-2).contains(&steepest), "{steepest}");

        let json = fs::read(folder.path().join("new/curve.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["steepest"], steepest);
        assert_eq!(json["points"].as_array().unwrap().len(), trial.points.len());
        assert_eq!(json["points"][0]["learning_rate"], 1e-7);

        let svg = fs::read_to_string(folder.path().join("pictures/curve.svg")).unwrap();
        for text in ["Loss by learning rate", "Learning rate", "Smoothed loss", "Steepest descent"]
        {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn can_end_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let (finder, ending, _) = run(LrFinder::new().stop(true), &losses(), folder.path());
        assert!(matches!(ending, Ending::Stopped(reason) if reason.by == "lr_finder"));
        assert!(finder.trial().is_some());
        assert!(folder.path().join("pictures/curve.svg").exists());
    }

    #[test]
    fn says_where_nothing_was_found() {
        for (losses, message, is_drawn) in [
            (&[1.0; 100][..], "no suggestion, the loss does not fall; tried 100 learning", true),
            (&[f64::NAN], "the loss does not fall; tried no learning rate", false),
            (&[1.0, f64::NAN], "tried 1 learning rates from 1.0e-7 to 1.0e-7", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (_, _, printed) = run(LrFinder::new(), losses, folder.path());
            assert!(printed.contains(message), "{printed}");
            assert_eq!(folder.path().join("pictures/curve.svg").exists(), is_drawn);
            assert!(folder.path().join("new/curve.json").exists());
        }
    }

    #[test]
    fn a_state_that_is_loaded_is_not_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let (finder, ..) = run(LrFinder::new(), &losses(), folder.path());
        let mut loaded = finder.clone();
        loaded.load_state(None).unwrap();
        assert!(loaded.trial().is_none());
        loaded.load_state(finder.save_state().unwrap().as_ref()).unwrap();
        assert_eq!(loaded, finder);
    }

    #[test]
    fn rates_rise_exponentially() {
        let rates = LrFinder::new().start_lr(1e-4).end_lr(1.0).steps(5).rates();
        for (rate, expected) in rates.into_iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rate} instead of {expected}");
        }
    }

    #[test]
    fn refuses_options_out_of_range() {
        let finder = LrFinder::new;
        for (finder, message) in [
            (finder().start_lr(0.0), "start_lr is 0; allowed: a finite number above 0"),
            (finder().start_lr(20.0), "end_lr is 10; allowed: a finite number above start_lr"),
            (finder().end_lr(f64::NAN), "end_lr is NaN; allowed"),
            (finder().steps(19), "steps is 19; allowed: 20 to 10000"),
            (finder().steps(10_001), "steps is 10001; allowed: 20 to 10000"),
            (finder().stop_above(1.0), "stop_above is 1; allowed: a number above 1"),
            (finder().picture("a.jpg"), "cannot draw into a.jpg"),
        ] {
            let error = finder.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
