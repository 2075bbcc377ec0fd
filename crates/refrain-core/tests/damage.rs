//! Damage: every bit of every file of a run's newest checkpoint, of its journal and of its log is
//! flipped, and every file is cut at every length. The run ends with the same bits all the same, and
//! says what was wrong.

mod length;
#[path = "../../../fuzz/src/memory.rs"]
mod memory;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use refrain_core::callbacks::{EarlyStopping, JsonTrainingLogger, ReduceLrOnPlateau};
use refrain_core::checkpoint::{Checkpoints, JournalText, Record, ResumePoint};
use refrain_core::files::Files;
use refrain_core::testing::{Curve, Script, ScriptLearner};
use refrain_core::{
    BatchEnd, Callback, Ending, Fit, ModelAccess as _, Monitor, Result, Run, StopHandle, Trainer,
};

use length::stride;
use memory::MemoryDisk;

const EPOCHS: usize = 4;
const BATCHES: usize = 2;
/// Batches of the process that is cut short: in the middle of the last epoch.
const CUT: usize = 7;
/// The checkpoint there, and the one before it.
const NEWEST: u64 = 4;
const BEFORE: u64 = 3;

const JOURNAL: &str = "/run/journal.jsonl";
const LOG: &str = "/run/log.json";

fn script() -> Script {
    Script::curves([
        ("loss", Curve::decreasing(EPOCHS)),
        ("val_loss", Curve::values(&[0.9, 0.8, 0.85, 0.82])),
    ])
}

/// Stops from outside after so many batches.
struct StopAfter(usize, StopHandle);

impl Callback for StopAfter {
    fn on_train_batch_end(&mut self, _: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.stop();
        }
        Ok(())
    }
}

fn trainer(disk: &MemoryDisk, batches: usize) -> Trainer<ScriptLearner> {
    let stop = StopHandle::default();
    let monitor = || Monitor::min("val_loss");
    Trainer::new(script().learner(), 0.1)
        .files(Files::on(disk.clone()))
        .checkpoints(Checkpoints::in_dir("/run").keep(3).wait(true))
        .stop_with(stop.clone())
        .callback(ReduceLrOnPlateau::new(monitor()).patience(1))
        .callback(EarlyStopping::new(monitor()).patience(4).restore_best_weights(true))
        .callback(JsonTrainingLogger::new(LOG).verbose(false))
        .callback(StopAfter(batches, stop))
}

fn fit(trainer: &mut Trainer<ScriptLearner>) -> Ending {
    let script = script();
    let (data, validation) = (script.samples(BATCHES), script.samples(1));
    let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
    trainer.fit(&data, fit).unwrap().ending
}

/// What a run leaves: weights, optimizer, log without clocks, history, rate.
fn result(trainer: &Trainer<ScriptLearner>, disk: &MemoryDisk) -> String {
    let mut log: Vec<serde_json::Value> = serde_json::from_slice(&disk.get(LOG).unwrap()).unwrap();
    for entry in &mut log {
        entry.as_object_mut().unwrap().remove("timestamp");
    }
    let learner = trainer.learner();
    format!(
        "{:?} {:?} {:?} {:?} {log:?}",
        learner.weights().unwrap(),
        learner.optimizer_state().unwrap(),
        trainer.history(),
        trainer.learning_rate()
    )
}

/// A run that was cut short, and how it ends where it is not damaged.
static CUT_SHORT: LazyLock<(MemoryDisk, String)> = LazyLock::new(|| {
    let whole = MemoryDisk::default();
    let mut uninterrupted = trainer(&whole, usize::MAX);
    assert_eq!(fit(&mut uninterrupted), Ending::Completed);
    let disk = MemoryDisk::default();
    assert_eq!(fit(&mut trainer(&disk, CUT)), Ending::Interrupted);
    (disk, result(&uninterrupted, &whole))
});

/// Goes on with the run on this disk to its end, and checks that that is the right one.
fn go_on(disk: &MemoryDisk, what: &dyn std::fmt::Debug) -> ResumePoint {
    let mut resumed = trainer(disk, usize::MAX);
    let point = resumed.resume().unwrap_or_else(|e| panic!("{what:?}: {e}"));
    assert_eq!(fit(&mut resumed), Ending::Completed, "{what:?}");
    assert_eq!(result(&resumed, disk), CUT_SHORT.1, "{what:?}");
    point
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Bit(usize),
    Cut(usize),
}

impl Damage {
    /// Every bit and every length; in the short form one bit of every byte.
    fn all(bytes: Range<usize>) -> impl Iterator<Item = Self> {
        // Coprime with 8: every place in a byte has its turn.
        let bits = (bytes.start * 8..bytes.end * 8).step_by(stride(9));
        bits.map(Self::Bit).chain(bytes.map(Self::Cut))
    }

    fn to(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Bit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::Cut(length) => bytes.truncate(length),
        }
        bytes
    }
}

/// A copy of the disk on which a file is damaged.
fn damaged(path: &Path, damage: Damage) -> MemoryDisk {
    let disk = CUT_SHORT.0.copy();
    disk.put(path, &damage.to(&disk.get(path).unwrap()));
    disk
}

fn newest(file: &str) -> PathBuf {
    PathBuf::from(format!("/run/checkpoints/{NEWEST:06}/{file}"))
}

/// Damages a file of the newest checkpoint in every way: the one before is used.
fn check_part(file: &str) {
    let path = newest(file);
    let length = CUT_SHORT.0.get(&path).unwrap().len();
    let mut tried = 0;
    for damage in Damage::all(0..length) {
        let disk = damaged(&path, damage);
        let what = (file, damage);
        let point = go_on(&disk, &what);
        assert_eq!(point.checkpoint(), Some(BEFORE), "{what:?}");
        let [note] = point.notes() else { panic!("{what:?}: {:?}", point.notes()) };
        let said = format!("checkpoint {NEWEST:06} is damaged ({file}");
        assert!(note.starts_with(&said), "{what:?}: {note}");
        assert!(note.ends_with(&format!("it was moved to quarantine/{NEWEST:06}")), "{note}");
        // As it was found, for whoever wants to look at it.
        let kept = disk.get(format!("/run/quarantine/{NEWEST:06}/{file}"));
        assert_eq!(kept, disk_bytes(&path, damage), "{what:?}");
        tried += 1;
    }
    println!("{file}: {length} bytes, {tried} damages");
}

fn disk_bytes(path: &Path, damage: Damage) -> Option<Vec<u8>> {
    Some(damage.to(&CUT_SHORT.0.get(path)?))
}

#[test]
fn the_run_goes_on_where_nothing_is_damaged() {
    let disk = CUT_SHORT.0.copy();
    let mut files: Vec<String> = disk
        .files()
        .iter()
        .filter_map(|(path, _)| Some(path.strip_prefix(newest("")).ok()?.display().to_string()))
        .collect();
    files.sort();
    // Each of them has a test below.
    assert_eq!(
        files,
        [
            "manifest.json",
            "optimizer.safetensors",
            "state.json",
            "state.safetensors",
            "weights.safetensors"
        ]
    );
    let point = go_on(&disk, &"nothing");
    assert_eq!((point.checkpoint(), point.notes()), (Some(NEWEST), &[][..]));
}

#[test]
fn every_damage_to_the_manifest() {
    check_part("manifest.json");
}

#[test]
fn every_damage_to_the_state() {
    check_part("state.json");
}

#[test]
fn every_damage_to_the_weights() {
    check_part("weights.safetensors");
}

#[test]
fn every_damage_to_the_optimizer() {
    check_part("optimizer.safetensors");
}

#[test]
fn every_damage_to_the_tensors_of_the_state() {
    check_part("state.safetensors");
}

#[test]
fn a_part_that_is_longer_or_zeroed_or_of_another_checkpoint() {
    let files = ["manifest.json", "state.json", "weights.safetensors", "optimizer.safetensors"];
    for file in files {
        let path = newest(file);
        let whole = CUT_SHORT.0.get(&path).unwrap();
        let longer = [&whole[..], b"\n"].concat();
        let other = CUT_SHORT.0.get(format!("/run/checkpoints/{BEFORE:06}/{file}")).unwrap();
        for bytes in [longer, vec![0; whole.len()], other] {
            let disk = CUT_SHORT.0.copy();
            disk.put(&path, &bytes);
            let point = go_on(&disk, &file);
            assert_eq!((point.checkpoint(), point.notes().len()), (Some(BEFORE), 1), "{file}");
        }
    }
}

#[test]
fn checkpoints_that_are_all_damaged_are_no_end() {
    let disk = CUT_SHORT.0.copy();
    for number in 1..=NEWEST {
        let path = format!("/run/checkpoints/{number:06}/weights.safetensors");
        if disk.get(&path).is_some() {
            disk.put(&path, b"");
        }
    }
    let point = go_on(&disk, &"all");
    assert_eq!(point.checkpoint(), None);
    assert_eq!(point.notes().len(), 3, "{:?}", point.notes());
}

/// The entries of the journal on a disk.
fn journal(disk: &MemoryDisk) -> JournalText {
    JournalText::parse(&disk.get(JOURNAL).unwrap())
}

#[test]
fn every_damage_to_the_journal() {
    let bytes = CUT_SHORT.0.get(JOURNAL).unwrap();
    let undamaged = journal(&CUT_SHORT.0);
    let mut line_ends = vec![0];
    line_ends.extend((0..bytes.len()).filter(|i| bytes[*i] == b'\n').map(|i| i + 1));
    let (mut tried, mut silent) = (0, Vec::new());
    for damage in Damage::all(0..bytes.len()) {
        let disk = damaged(Path::new(JOURNAL), damage);
        let before = journal(&disk);
        // Nothing is read that was not written.
        let mut written = undamaged.entries.iter();
        assert!(before.entries.iter().all(|entry| written.any(|e| e == entry)), "{damage:?}");
        let point = go_on(&disk, &damage);
        assert_eq!(point.checkpoint(), Some(NEWEST), "{damage:?}");
        let notes = point.notes();
        assert!(notes.iter().all(|note| note.starts_with("journal.jsonl: ")), "{notes:?}");
        if notes.is_empty() {
            silent.push(damage);
        }
        // What was whole is still there, what came after it is whole, and nothing else is wrong. Damage
        // behind the last record of a checkpoint is what a power cut leaves: it is cut off, with the
        // end of that process where that stands behind it.
        let after = journal(&disk);
        let kept = before.entries.iter().zip(&after.entries).take_while(|(a, b)| a == b).count();
        let (_, new) = after.entries.split_at(kept);
        let lost = &before.entries[kept..];
        assert!(lost.iter().all(|entry| kind(&entry.record) == "end"), "{damage:?}: {lost:?}");
        assert!(before.damage.starts_with(&after.damage), "{damage:?}: {:?}", after.damage);
        assert_eq!(after.torn, 0, "{damage:?}");
        if lost.is_empty() && !notes.iter().any(|note| note.contains("cut off")) {
            assert_eq!(after.damage, before.damage, "{damage:?}");
        }
        let kinds: Vec<_> = new.iter().map(|entry| kind(&entry.record)).collect();
        let begin = if before.run().is_none() { "begin " } else { "" };
        let expected = format!("{begin}resume epoch checkpoint end");
        assert_eq!(kinds.join(" "), expected, "{damage:?}");
        tried += 1;
    }
    // Said nothing of: a journal that was cut off behind a line, which is one that was written up to
    // there, and what it lacks is no epoch that the run builds on. The checkpoint is there itself, and
    // so is the end of that process.
    for damage in &silent {
        let Damage::Cut(length) = damage else { panic!("{damage:?} was passed over") };
        assert!(line_ends.contains(length), "{damage:?} was passed over");
        let lost = JournalText::parse(&bytes[*length..]).entries;
        let is_epoch = |entry: &refrain_core::checkpoint::Entry| kind(&entry.record) == "epoch";
        assert!(!lost.iter().any(is_epoch), "{damage:?}: {lost:?}");
    }
    assert_eq!(silent.len(), 3, "{silent:?}");
    println!("journal: {} bytes, {tried} damages, {} without a word", bytes.len(), silent.len());
}

fn kind(record: &Record) -> &'static str {
    match record {
        Record::Begin { .. } => "begin",
        Record::Epoch { .. } => "epoch",
        Record::Checkpoint { .. } => "checkpoint",
        Record::Resume { .. } => "resume",
        Record::End { .. } => "end",
        _ => "other",
    }
}

#[test]
fn every_damage_to_the_log() {
    let bytes = CUT_SHORT.0.get(LOG).unwrap();
    let mut tried = 0;
    for damage in Damage::all(0..bytes.len()) {
        // Rendered anew when the run goes on.
        let point = go_on(&damaged(Path::new(LOG), damage), &damage);
        assert_eq!((point.checkpoint(), point.notes()), (Some(NEWEST), &[][..]), "{damage:?}");
        tried += 1;
    }
    println!("log: {} bytes, {tried} damages", bytes.len());
}
