//! Runs that are cut short and gone on with, and everything that they leave.

#![allow(dead_code, reason = "each test uses a part")]

pub mod left;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use refrain_core::checkpoint::{Checkpoints, Every, JournalText, Record, SaveHandle};
use refrain_core::console::Console;
use refrain_core::event::{Event, Hook};
use refrain_core::files::Files;
use refrain_core::testing::{Curve, Script, ScriptLearner, SimulatedDisk};
use refrain_core::{Callback, Error, Fit, History, Result, Run, StopHandle, Trainer};

use left::{Left, all_that_is_left, differences};

pub const EPOCHS: usize = 6;
pub const BATCHES: usize = 10;
pub const STEPS: usize = EPOCHS * BATCHES;

/// What the runs play: a loss that falls, and validation that goes up and down.
pub fn script() -> Script {
    Script::curves([
        ("loss", Curve::decreasing(EPOCHS).noise(7, 0.1)),
        ("accuracy", Curve::increasing(EPOCHS)),
        ("val_loss", Curve::values(&[0.9, 0.8, 0.85, 0.82, 0.81, 0.9])),
        ("val_accuracy", Curve::values(&[0.1, 0.2, 0.15, 0.22, 0.21, 0.2])),
    ])
}

/// A folder in memory where there is one: these runs sync some ten thousand files.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Cuts a run short: the `nth` time, counted from 1, that a process sees `hook`; 0: never.
#[derive(Clone, Copy, Debug)]
pub struct StopAt {
    hook: Hook,
    nth: usize,
    how: How,
}

/// How a run is cut short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// From outside, as by a signal.
    Interrupted,
    /// A callback fails.
    Error,
    /// A callback panics.
    Panic,
    /// Not at all: somebody asks for a checkpoint.
    Saved,
    /// Somebody asks for a checkpoint, and the next time a callback fails.
    SavedThenError,
}

impl StopAt {
    pub fn new(hook: Hook, nth: usize) -> Self {
        Self { hook, nth, how: How::Interrupted }
    }

    pub fn how(self, how: How) -> Self {
        Self { how, ..self }
    }

    pub fn never() -> Self {
        Self::new(Hook::TrainBegin, 0)
    }

    pub fn callback(self) -> (Box<dyn Callback>, StopHandle) {
        let (callback, handle, _) = self.callback_that_saves();
        (callback, handle)
    }

    fn callback_that_saves(self) -> (Box<dyn Callback>, StopHandle, SaveHandle) {
        let (handle, save) = (StopHandle::default(), SaveHandle::default());
        let stopper = Stopper { at: self, seen: 0, handle: handle.clone(), save: save.clone() };
        (Box::new(stopper), handle, save)
    }
}

struct Stopper {
    at: StopAt,
    seen: usize,
    handle: StopHandle,
    save: SaveHandle,
}

impl Callback for Stopper {
    fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        if event.hook() == self.at.hook {
            self.seen += 1;
            if self.seen == self.at.nth {
                match self.at.how {
                    How::Interrupted => self.handle.stop(),
                    How::Error => return Err(Error::msg("as planned")),
                    How::Panic => panic!("as planned"),
                    How::Saved | How::SavedThenError => self.save.save(),
                }
            }
            if self.at.how == How::SavedThenError && self.seen == self.at.nth + 1 {
                return Err(Error::msg("as planned"));
            }
        }
        Ok(())
    }
}

/// Counts how often each hook is called.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<Hook>>>);

impl Callback for Counter {
    fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        self.0.lock().unwrap().push(event.hook());
        Ok(())
    }
}

/// Keeps the run's folder as it is at this instant: what a killed process leaves. Threads that save
/// go on meanwhile, so that a copy made file by file would be of no instant at all.
struct Camera {
    hooks: Vec<Hook>,
    disk: SimulatedDisk,
    taken: Arc<Mutex<Vec<(SimulatedDisk, String)>>>,
}

impl Callback for Camera {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        if self.hooks.contains(&event.hook()) {
            let progress = run.progress;
            let place =
                format!("{} of epoch {}, step {}", event.hook(), progress.epoch, progress.step);
            self.taken.lock().unwrap().push((self.disk.after_kill(), place));
        }
        Ok(())
    }
}

/// Writes what `disk` holds below `of` into the folder `to`.
fn develop(disk: &SimulatedDisk, of: &Path, to: &Path) {
    // Folders come before what is in them.
    for (path, content) in disk.contents() {
        let Ok(inside) = path.strip_prefix(of) else { continue };
        match content {
            None => std::fs::create_dir_all(to.join(inside)).unwrap(),
            Some(bytes) => std::fs::write(to.join(inside), bytes).unwrap(),
        }
    }
}

/// The last of the list, under one name: the names are part of what must not change.
struct Named(Box<dyn Callback>);

impl Callback for Named {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        "last".into()
    }
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        self.0.on_event(run, event)
    }
}

/// The newest checkpoint that the journal names is there, and whole.
fn assert_committed_is_there(folder: &Path) {
    let journal = std::fs::read(folder.join("journal.jsonl")).unwrap();
    let entries = JournalText::parse(&journal).entries;
    let numbers = entries.iter().filter_map(|entry| match entry.record {
        Record::Checkpoint { number, .. } => Some(number),
        _ => None,
    });
    for found in refrain_core::checkpoint::verify(&Files::default(), folder).unwrap() {
        assert!(found.manifest.is_ok(), "{found:?}");
    }
    if let Some(newest) = numbers.max() {
        let newest = folder.join(format!("checkpoints/{newest:06}"));
        assert!(newest.is_dir(), "{newest:?} is lost");
    }
}

type Build<'a> = &'a dyn Fn(&Path) -> Vec<Box<dyn Callback>>;
type ChangeFit = fn(Fit<'_, usize>) -> Fit<'_, usize>;

/// A run by certain callbacks, and what it leaves when nothing happens to it.
pub struct Bench<'a> {
    name: String,
    build: Build<'a>,
    change: ChangeFit,
    learner: fn() -> ScriptLearner,
    every: Every,
    expected: Left,
    varies: BTreeSet<String>,
    measured: Vec<String>,
    hooks: Vec<Hook>,
}

impl<'a> Bench<'a> {
    pub fn new(name: String, build: Build<'a>) -> Self {
        Self::over(name, build, || script().learner(), Every::Epochs(2))
    }

    pub fn over(
        name: String,
        build: Build<'a>,
        learner: fn() -> ScriptLearner,
        every: Every,
    ) -> Self {
        let measured =
            build(Path::new("")).iter().flat_map(|c| c.access().measured().to_vec()).collect();
        let mut bench = Self {
            name,
            build,
            change: |fit| fit,
            learner,
            every,
            expected: Left::new(),
            varies: BTreeSet::new(),
            measured,
            hooks: Vec::new(),
        };
        bench.play();
        bench
    }

    pub fn with_fit(mut self, change: ChangeFit) -> Self {
        self.change = change;
        self.play();
        self
    }

    /// The run that nothing happens to, twice.
    fn play(&mut self) {
        let run = |bench: &Self| {
            let (folder, counter) = (folder(), Counter::default());
            let left = bench.run(folder.path(), StopAt::never(), Some(counter.clone()));
            let hooks = counter.0.lock().unwrap().clone();
            (left, hooks)
        };
        let (expected, hooks) = run(self);
        std::thread::sleep(std::time::Duration::from_millis(3));
        let (again, _) = run(self);
        self.varies = differences(&expected, &again).cloned().collect();
        (self.expected, self.hooks) = (expected, hooks);
        assert!(self.expected.len() > 20, "{}: there is next to nothing to compare", self.name);
    }

    /// What the run leaves that nothing happens to.
    pub fn expected(&self) -> &Left {
        &self.expected
    }

    /// How often `hook` is called in the run that nothing happens to.
    pub fn times(&self, hook: Hook) -> usize {
        self.hooks.iter().filter(|h| **h == hook).count()
    }

    /// Cuts the run short at these places, one after the other, and goes on to its end.
    pub fn check(&self, stops: &[StopAt]) {
        let folder = folder();
        for stop in stops {
            self.run(folder.path(), *stop, None);
        }
        self.goes_on(folder.path(), &format!("stopped at {stops:?}"));
    }

    /// Kills the process whenever one of these hooks is called, and goes on to the end with what it
    /// has left on the disk.
    pub fn check_kills(&self, hooks: &[Hook]) {
        let (of, disk) = (folder(), SimulatedDisk::new(4096));
        let taken = self.photograph(of.path(), hooks, &disk);
        assert!(!taken.is_empty(), "{}: never killed", self.name);
        for (image, place) in taken {
            let folder = folder();
            develop(&image, of.path(), folder.path());
            self.goes_on(folder.path(), &format!("killed in {place}"));
        }
    }

    /// Asks for a checkpoint at every place of this hook: the run goes on as if nobody had asked, and
    /// from the checkpoint too.
    pub fn check_saves(&self, hook: Hook) {
        for nth in 1..=self.times(hook) {
            let at = StopAt::new(hook, nth);
            let folder = folder();
            let left = self.run(folder.path(), at.how(How::Saved), None);
            self.compare(&left, &format!("saved at {at:?}"));
        }
        for nth in 1..self.times(hook) {
            let at = StopAt::new(hook, nth).how(How::SavedThenError);
            self.check(&[at]);
        }
    }

    /// Goes on to the end, and looks at what is left.
    fn goes_on(&self, folder: &Path, how: &str) {
        self.compare(&self.run(folder, StopAt::never(), None), how);
    }

    fn compare(&self, left: &Left, how: &str) {
        // Of what is measured it is compared that it is there.
        let is_compared = |leaf: &&String| {
            let varies = self.varies.contains(*leaf)
                || self.measured.iter().any(|key| leaf.contains(key.as_str()));
            !varies || left.contains_key(*leaf) != self.expected.contains_key(*leaf)
        };
        let show =
            |left: &Left, leaf: &str| left.get(leaf).map_or("nothing", String::as_str).to_owned();
        if let Some(leaf) = differences(&self.expected, left).find(is_compared) {
            panic!(
                "{} {how}: {leaf} is {} instead of {}",
                self.name,
                show(left, leaf),
                show(&self.expected, leaf)
            );
        }
    }

    fn trainer(
        &self,
        folder: &Path,
        stop: StopAt,
        last: Box<dyn Callback>,
    ) -> Trainer<ScriptLearner> {
        let (stopper, handle, save) = stop.callback_that_saves();
        Trainer::new((self.learner)(), 0.1)
            .console(Console::silent())
            .checkpoints(Checkpoints::in_dir(folder).every(self.every))
            .callbacks((self.build)(&folder.join("out")))
            .callbacks([stopper, Box::new(Named(last)) as Box<dyn Callback>])
            .stop_with(handle)
            .save_with(save)
    }

    /// What a run in `folder` of `disk` leaves whenever one of these hooks is called, with the place.
    fn photograph(
        &self,
        folder: &Path,
        hooks: &[Hook],
        disk: &SimulatedDisk,
    ) -> Vec<(SimulatedDisk, String)> {
        let taken = Arc::default();
        let camera =
            Camera { hooks: hooks.to_vec(), disk: disk.clone(), taken: Arc::clone(&taken) };
        let trainer = self.trainer(folder, StopAt::never(), Box::new(camera));
        self.fit(&mut trainer.files(Files::on(disk.clone()))).unwrap();
        std::mem::take(&mut taken.lock().unwrap())
    }

    fn run(&self, folder: &Path, stop: StopAt, counter: Option<Counter>) -> Left {
        let mut trainer = self.trainer(folder, stop, Box::new(counter.unwrap_or_default()));
        let history = self.fit(&mut trainer);
        if stop.nth > 0 && !matches!(stop.how, How::Interrupted | How::Saved) {
            let error = history.expect_err("it fails").to_string();
            assert!(error.contains("as planned"), "{}: {error}", self.name);
            assert_committed_is_there(folder);
            return Left::new();
        }
        let history = history.unwrap_or_else(|e| panic!("{} stopped at {stop:?}: {e}", self.name));
        let disabled: Vec<String> =
            trainer.disabled().map(|(name, e)| format!("{name}: {e}")).collect();
        let mut left = all_that_is_left(&trainer, &history, folder);
        left.insert("disabled".to_owned(), format!("{disabled:?}"));
        left
    }

    fn fit(&self, trainer: &mut Trainer<ScriptLearner>) -> Result<History> {
        trainer.resume()?;
        let (data, validation) = (script().samples(BATCHES), script().samples(3));
        let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
        trainer.fit(&data, (self.change)(fit))
    }
}
