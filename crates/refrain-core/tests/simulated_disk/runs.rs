//! The runs that are cut short, and what they should have left.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use refrain_core::callbacks::{EarlyStopping, JsonTrainingLogger, ReduceLrOnPlateau};
use refrain_core::checkpoint::{
    Checkpoints, Entry, Every, JournalText, OnSaveFailure, Record, ResumePoint,
};
use refrain_core::console::{Console, Text};
use refrain_core::files::{Disk as _, Files};
use refrain_core::testing::{Curve, Script, ScriptLearner, SimulatedDisk};
use refrain_core::{
    Callback, EpochEnd, Fit, History, ModelAccess as _, Monitor, Result, Run, State, Trainer,
};

pub const RUN: &str = "/runs/a";

/// A run of three epochs of three batches.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub epochs: usize,
    pub every: Every,
    pub keep: usize,
    pub rolls_back: bool,
    pub overwrites: bool,
    pub on_failure: OnSaveFailure,
}

impl Plan {
    pub const fn new(every: Every, keep: usize) -> Self {
        Self {
            epochs: 3,
            every,
            keep,
            rolls_back: false,
            overwrites: false,
            on_failure: OnSaveFailure::Abort,
        }
    }
}

/// Goes back once, at the end of the second epoch.
struct RollBackOnce {
    is_done: bool,
}

impl Callback for RollBackOnce {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        if run.progress.epoch == 1 && !std::mem::replace(&mut self.is_done, true) {
            run.roll_back("as planned", 0.5);
        }
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.is_done).map(Some)
    }

    fn load_state(&mut self, state: Option<&State>) -> Result {
        self.is_done = State::load_or_default(state)?;
        Ok(())
    }
}

/// A trainer in a new process.
pub fn trainer(disk: &SimulatedDisk, plan: Plan) -> (Trainer<ScriptLearner>, Text) {
    let (console, text) = Console::memory();
    let checkpoints = Checkpoints::in_dir(RUN)
        .every(plan.every)
        .keep(plan.keep)
        .on_failure(plan.on_failure)
        .overwrite(plan.overwrites)
        .wait(true);
    let trainer = Trainer::new(script().learner(), 0.1)
        .files(Files::on(disk.clone()))
        .console(console)
        .checkpoints(checkpoints)
        .callback(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1))
        .callback(EarlyStopping::new(Monitor::min("val_loss")).restore_best_weights(true))
        .callback(JsonTrainingLogger::new(log()).verbose(false));
    let trainer =
        if plan.rolls_back { trainer.callback(RollBackOnce { is_done: false }) } else { trainer };
    (trainer, text)
}

fn script() -> Script {
    Script::curves([("loss", Curve::decreasing(3)), ("val_loss", Curve::values(&[0.9, 0.8, 0.85]))])
}

pub fn fit(trainer: &mut Trainer<ScriptLearner>, plan: Plan) -> Result<History> {
    let script = script();
    let (data, validation) = (script.samples(3), script.samples(1));
    let fit = Fit::epochs(plan.epochs).batch_size(1).validation_data(&validation).verbose(0);
    trainer.fit(&data, fit)
}

pub fn resume(disk: &SimulatedDisk, plan: Plan) -> Result<(Trainer<ScriptLearner>, ResumePoint)> {
    let mut trainer = trainer(disk, plan).0;
    let point = trainer.resume()?;
    Ok((trainer, point))
}

pub fn log() -> PathBuf {
    Path::new(RUN).join("log.json")
}

pub fn journal(disk: &SimulatedDisk) -> Vec<u8> {
    disk.read(&Path::new(RUN).join("journal.jsonl")).unwrap_or_default()
}

/// What a run leaves: weights, optimizer, history, rate, log without clocks, epochs in the journal.
pub fn result(trainer: &Trainer<ScriptLearner>, disk: &SimulatedDisk) -> String {
    let mut log: Vec<serde_json::Value> =
        serde_json::from_slice(&disk.read(&log()).unwrap()).unwrap();
    for entry in &mut log {
        entry.as_object_mut().unwrap().remove("timestamp");
    }
    format!("{} {log:?}", result_but_log(trainer, disk))
}

/// As [`result`], without the log.
pub fn result_but_log(trainer: &Trainer<ScriptLearner>, disk: &SimulatedDisk) -> String {
    let learner = trainer.learner();
    let mut result = format!(
        "{:?} {:?} {:?} {:?}",
        learner.weights().unwrap(),
        learner.optimizer_state().unwrap(),
        trainer.history(),
        trainer.learning_rate()
    );
    let text = JournalText::parse(&journal(disk));
    assert_eq!((text.damage.as_slice(), text.torn), (&[][..], 0));
    assert_eq!(written_twice(&text), None);
    let _ = write!(result, " {:?} {:?}", text.epochs(), text.ending());
    result
}

/// An epoch of which a process wrote two records, though nothing superseded the first.
fn written_twice(text: &JournalText) -> Option<usize> {
    let mut last = 0;
    for entry in &text.entries {
        match entry.record {
            Record::Begin { .. } => last = 0,
            Record::Resume { epochs, .. } | Record::Rollback { epochs, .. } => last = epochs,
            Record::Epoch { epoch, .. } if epoch <= last => return Some(epoch),
            Record::Epoch { epoch, .. } => last = epoch,
            _ => {}
        }
    }
    None
}

/// The disk of a run that was killed while it wrote its third checkpoint.
pub fn killed(plan: Plan, block: usize) -> SimulatedDisk {
    let disk = foreign_disk(block);
    disk.record();
    fit(&mut trainer(&disk, plan).0, plan).unwrap();
    let is_inside = |disk: &SimulatedDisk| {
        let entries = JournalText::parse(&journal(disk)).entries;
        let committed = |e: &&Entry| matches!(e.record, Record::Checkpoint { .. });
        entries.iter().filter(committed).count() == 2
            // The third is written into a new folder, or into that of the first.
            && disk.contents().keys().any(|path| path.to_string_lossy().contains("-00000"))
    };
    let mut inside = disk.recorded();
    inside.retain(is_inside);
    inside[inside.len() / 2].after_kill()
}

/// What is nobody's business: beside the run, and in its folder.
const FOREIGN: [&str; 8] = [
    "/notes.txt",
    "/runs/b/journal.jsonl",
    "/runs/a/mine.txt",
    "/runs/a/.refrain-mine.tmp",
    "/runs/a/checkpoints/000001x/state.json",
    "/runs/a/checkpoints/notes.txt",
    "/runs/a/checkpoints/.tmp-mine/mine.txt",
    "/runs/a/checkpoints/.tmp-mine/state.json",
];
const FOREIGN_FOLDERS: [&str; 3] =
    ["/runs/a/checkpoints/mine", "/runs/a/checkpoints/.tmp-empty", "/runs/a/checkpoints/1"];

/// A disk with files and folders of somebody else.
pub fn foreign_disk(block: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(block);
    let files = Files::on(disk.clone());
    for path in FOREIGN {
        files.write_atomically(Path::new(path), path.as_bytes()).unwrap();
    }
    for path in FOREIGN_FOLDERS {
        files.create_folders(Path::new(path)).unwrap();
    }
    for (path, content) in disk.contents() {
        if content.is_none() {
            disk.sync_folder(&path).unwrap();
        }
    }
    disk.sync_folder(Path::new("/")).unwrap();
    assert_eq!(disk.unsynced(), 0);
    disk.after_kill()
}

/// What a disk holds: folders, and files with their bytes.
pub type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is somebody else's on a disk.
pub fn foreign_on(disk: &SimulatedDisk) -> Contents {
    let mut contents = disk.contents();
    contents.retain(|path, _| {
        FOREIGN.iter().chain(&FOREIGN_FOLDERS).any(|foreign| Path::new(foreign).starts_with(path))
    });
    contents
}

/// Whether nothing of somebody else was touched, and nothing is left but what a run may leave.
pub fn is_clean(contents: &Contents, foreign: &Contents) -> Result<(), String> {
    if let Some(path) = foreign.keys().find(|path| contents.get(*path) != foreign.get(*path)) {
        return Err(format!("{} was touched", path.display()));
    }
    let is_unknown = |path: &&PathBuf| !foreign.contains_key(*path) && !is_of_run(path);
    match contents.keys().find(is_unknown) {
        Some(path) => Err(format!("{} is left", path.display())),
        None => Ok(()),
    }
}

fn is_of_run(path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(RUN) else {
        return Path::new(RUN).starts_with(path);
    };
    let mut parts = inside.iter().filter_map(|part| part.to_str());
    let is_number = |text: &str| text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit());
    match (parts.next(), parts.next()) {
        (Some("checkpoints" | "quarantine"), number) => number.is_none_or(is_number),
        (first, second) => {
            second.is_none()
                && matches!(first, None | Some("journal.jsonl" | "run.lock" | "log.json"))
        }
    }
}
