//! Power cuts and kills at every operation of a run, and of the recovery after them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use refrain_core::checkpoint::{Every, JournalText, Record};
use refrain_core::files::{Disk as _, Files};
use refrain_core::testing::{Call, Failure, Operation, SimulatedDisk};

use crate::length::is_long;

use super::runs::{
    Contents, Plan, RUN, fit, foreign_disk, foreign_on, is_clean, journal, killed, result, resume,
    trainer,
};

/// The files of a checkpoint.
type Files_ = BTreeMap<PathBuf, Vec<u8>>;

/// A run that is cut short at each of its operations.
struct Story {
    name: &'static str,
    plan: Plan,
    start: SimulatedDisk,
    /// Whether the run is begun, or gone on with.
    resumes: bool,
    /// A checkpoint that is damaged at the start.
    damaged: Option<u64>,
}

/// What a whole run did, and left.
struct Truth {
    /// The disk in front of each change, and at the end.
    disks: Vec<SimulatedDisk>,
    /// The journal at the end, by lines; and the one that was there before.
    lines: Vec<Vec<u8>>,
    old_lines: Vec<Vec<u8>>,
    /// Every checkpoint that there was at any time.
    checkpoints: BTreeMap<PathBuf, Vec<Files_>>,
    result: String,
    /// Lengths of the writes, by the number of the operation.
    writes: Vec<usize>,
}

/// What a recovery found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Found {
    checkpoint: Option<u64>,
    /// Records in the journal.
    lines: usize,
    /// Whether they are those of the run that was there before.
    is_old: bool,
}

/// What a recovery must find.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    checkpoint: Option<u64>,
    fewest_lines: usize,
    most_lines: usize,
    /// Whether the run before is being removed: nothing of it is promised any more.
    is_old: bool,
}

fn lines(journal: &[u8]) -> Vec<Vec<u8>> {
    journal.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The checkpoints on a disk.
fn checkpoints(contents: &Contents) -> BTreeMap<PathBuf, Files_> {
    let folder = Path::new(RUN).join("checkpoints");
    let mut found: BTreeMap<PathBuf, Files_> = BTreeMap::new();
    for (path, content) in contents {
        let Ok(inside) = path.strip_prefix(&folder) else { continue };
        let mut parts = inside.iter();
        let Some(name) = parts.next().and_then(|name| name.to_str()) else { continue };
        if name.len() == 6 && name.bytes().all(|b| b.is_ascii_digit()) {
            let files = found.entry(folder.join(name)).or_default();
            if let (Some(part), Some(content)) = (parts.next(), content) {
                files.insert(part.into(), content.clone());
            }
        }
    }
    found
}

impl Story {
    /// All of it.
    fn tell(&self, disk: &SimulatedDisk) -> String {
        let mut trainer = if self.resumes {
            resume(disk, self.plan).unwrap().0
        } else {
            trainer(disk, self.plan).0
        };
        fit(&mut trainer, self.plan).unwrap();
        result(&trainer, disk)
    }

    /// As far as it gets.
    fn try_to_tell(&self, disk: &SimulatedDisk) {
        if !self.resumes {
            let _ = fit(&mut trainer(disk, self.plan).0, self.plan);
        } else if let Ok((mut trainer, _)) = resume(disk, self.plan) {
            let _ = fit(&mut trainer, self.plan);
        }
    }

    fn truth(&self) -> Truth {
        let disk = self.start.after_kill();
        disk.record();
        let result = self.tell(&disk);
        let disks = disk.recorded();
        let mut all: BTreeMap<PathBuf, Vec<Files_>> = BTreeMap::new();
        for disk in &disks {
            for (path, files) in checkpoints(&disk.contents()) {
                let seen = all.entry(path).or_default();
                if !seen.contains(&files) {
                    seen.push(files);
                }
            }
        }
        let old = if self.resumes { Vec::new() } else { journal(&self.start) };
        Truth {
            lines: lines(&journal(&disk)),
            old_lines: lines(&old),
            disks,
            checkpoints: all,
            result,
            writes: appended(&disk),
        }
    }
}

/// The operations that write.
fn appended(disk: &SimulatedDisk) -> Vec<usize> {
    let operations = disk.operations();
    let writes = [Call::Append, Call::WriteAt];
    let of_them = operations.iter().enumerate().filter(|(_, op)| writes.contains(&op.call));
    of_them.map(|(index, _)| index).collect()
}

impl Truth {
    /// What is promised when the machine goes off in front of change `index`.
    fn bounds(&self, story: &Story, index: usize) -> Bounds {
        let now = lines(&journal(&self.disks[index]));
        // A checkpoint is in the journal one operation after it was committed.
        let next = journal(&self.disks[(index + 1).min(self.disks.len() - 1)]);
        // Until its first record is there nothing is promised: the run before is being removed.
        let is_old = !self.old_lines.is_empty() && now.first() != self.lines.first();
        let entries = JournalText::parse(&next).entries;
        let committed =
            entries.iter().enumerate().rev().find_map(|(i, entry)| match entry.record {
                Record::Checkpoint { number, .. } if story.damaged != Some(number) => {
                    Some((i, number))
                }
                _ => None,
            });
        Bounds {
            checkpoint: committed.map(|(_, number)| number).filter(|_| !is_old),
            fewest_lines: committed.map_or(0, |(i, _)| i),
            most_lines: now.len().max(self.old_lines.len() * usize::from(is_old)),
            is_old,
        }
    }
}

/// Looks at what is left of one story.
struct Judge<'a> {
    story: &'a Story,
    truth: &'a Truth,
    foreign: Contents,
    seen: HashMap<u128, Found>,
    /// First states by what their recovery does.
    classes: HashMap<Vec<Operation>, Vec<(SimulatedDisk, Bounds)>>,
    per_class: usize,
}

impl Judge<'_> {
    /// Recovers a disk and compares with what is promised. `is_first`: it may be cut short again.
    fn judge(&mut self, left: &SimulatedDisk, bounds: Bounds, is_first: bool, place: &str) {
        let fingerprint = left.fingerprint();
        let found = match self.seen.get(&fingerprint) {
            Some(found) => *found,
            None => {
                let (found, operations) = self.recover(left, place);
                self.seen.insert(fingerprint, found);
                if is_first {
                    let class = self.classes.entry(operations).or_default();
                    if class.len() < self.per_class {
                        class.push((left.after_kill(), bounds));
                    }
                }
                found
            }
        };
        let story = self.story.name;
        if found.is_old || (bounds.is_old && found.lines == 0) {
            assert!(bounds.is_old, "{story} {place}: the old journal is back");
            return;
        }
        assert!(found.checkpoint >= bounds.checkpoint, "{story} {place}: {found:?} {bounds:?}");
        assert!(
            (bounds.fewest_lines..=bounds.most_lines).contains(&found.lines),
            "{story} {place}: {found:?} {bounds:?}"
        );
    }

    fn recover(&self, left: &SimulatedDisk, place: &str) -> (Found, Vec<Operation>) {
        let (story, truth) = (self.story, self.truth);
        let place = format!("{} {place}", story.name);
        let disk = left.after_kill();
        let (trainer, point) = resume(&disk, story.plan).unwrap_or_else(|e| panic!("{place}: {e}"));
        drop(trainer);
        let contents = disk.contents();
        assert_eq!(is_clean(&contents, &self.foreign), Ok(()), "{place}");
        for (path, files) in checkpoints(&contents) {
            let is_whole = truth.checkpoints.get(&path).is_some_and(|seen| seen.contains(&files));
            assert!(is_whole, "{place}: {} is neither old nor new", path.display());
        }
        let notes = point.notes().join("; ");
        let may_be_damaged = story.damaged.is_some();
        assert!(may_be_damaged || !notes.contains("damaged"), "{place}: {notes}");
        if let Some(number) = story.damaged {
            let name = format!("{number:06}/weights.safetensors");
            let is_kept = contents.keys().any(|path| path.ends_with(&name));
            assert!(is_kept, "{place}: the damaged checkpoint is gone");
        }
        let journal = journal(&disk);
        let text = JournalText::parse(&journal);
        assert_eq!((text.damage.as_slice(), text.torn), (&[][..], 0), "{place}");
        let epochs = text.epochs();
        for epoch in 1..=point.epochs() {
            assert!(
                epochs.iter().any(|(n, _)| *n == epoch),
                "{place}: epoch {epoch} is not logged"
            );
        }
        let lines = lines(&journal);
        let is_old = !truth.lines.starts_with(&lines);
        assert!(!is_old || truth.old_lines.starts_with(&lines), "{place}: another journal");
        let (trainer, again) = resume(&disk, story.plan).unwrap();
        drop(trainer);
        assert_eq!(
            (again.checkpoint(), again.notes()),
            (point.checkpoint(), &[][..]),
            "{place}: a second recovery"
        );
        let without_lock = |mut contents: Contents| {
            contents.remove(&Path::new(RUN).join("run.lock"));
            contents
        };
        assert!(without_lock(disk.contents()) == without_lock(contents), "{place}: twice");
        let changes = disk.operations().into_iter().filter(|op| op.call.changes()).collect();
        (Found { checkpoint: point.checkpoint(), lines: lines.len(), is_old }, changes)
    }

    /// Goes on to the end of the run: as if nothing had happened.
    fn finish(&self, left: &SimulatedDisk, place: &str) {
        let disk = left.after_kill();
        let (mut trainer, point) = resume(&disk, self.story.plan).unwrap();
        fit(&mut trainer, self.story.plan).unwrap_or_else(|e| panic!("{place}: {e}"));
        let result = result(&trainer, &disk);
        assert_eq!(result, self.truth.result, "{} {place}, from {point}", self.story.name);
        assert_eq!(is_clean(&disk.contents(), &self.foreign), Ok(()), "{place}");
    }
}

fn states_wanted() -> usize {
    let wanted = std::env::var("REFRAIN_SIMULATED_STATES").ok();
    wanted.map_or(100_000, |text| text.parse().expect("REFRAIN_SIMULATED_STATES is no number"))
}

fn stories(block: usize) -> Vec<Story> {
    let by_epochs = Plan::new(Every::Epochs(1), 1);
    let by_steps = Plan::new(Every::Steps(2), 2);
    let story = |name, plan, start: &SimulatedDisk, resumes, damaged| Story {
        name,
        plan,
        start: start.after_kill(),
        resumes,
        damaged,
    };
    let empty = SimulatedDisk::new(block);
    let foreign = foreign_disk(block);
    // Killed before the names of its folders were durable.
    let begun = SimulatedDisk::new(block);
    begun.create_folder(Path::new("/runs")).unwrap();
    begun.create_folder(Path::new(RUN)).unwrap();
    let whole = foreign_disk(block);
    fit(&mut trainer(&whole, by_epochs).0, by_epochs).unwrap();
    // The newest checkpoint has a byte of another value, and the journal half a record.
    let damaged = killed(by_steps, block);
    let path = Path::new(RUN).join("checkpoints/000002/weights.safetensors");
    let mut bytes = damaged.read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    Files::on(damaged.clone()).write_atomically(&path, &bytes).unwrap();
    damaged.open(&Path::new(RUN).join("journal.jsonl")).unwrap().append(b"{\"seq\":").unwrap();
    vec![
        story("save", Plan::new(Every::Epochs(1), 3), &empty, false, None),
        story("save in a new folder", Plan::new(Every::Epochs(2), 3), &begun, true, None),
        story("retention", by_epochs, &foreign, false, None),
        story("journal", Plan::new(Every::Epochs(0), 1), &foreign, false, None),
        story("steps", by_steps, &foreign, false, None),
        story("roll back", Plan { rolls_back: true, ..by_steps }, &foreign, false, None),
        story("resume", by_steps, &killed(by_steps, block), true, None),
        story("quarantine", by_steps, &damaged, true, Some(2)),
        story("overwrite", Plan { overwrites: true, ..by_epochs }, &whole, false, None),
    ]
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    states: usize,
    pairs: usize,
    disks: usize,
    kills: usize,
    power_cuts: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.states += other.states;
        self.pairs += other.pairs;
        self.disks += other.disks;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
    }
}

/// One in so many power cuts is gone on from to the end of the run.
const SAMPLE: usize = 499;

/// Cuts a story short everywhere. `random`: subsets of windows in which more than 4096 are possible;
/// `per_class`: first crashes whose recovery is cut short, of those whose recovery does the same.
fn cut_short(story: &Story, random: usize, per_class: usize) -> Counts {
    let truth = story.truth();
    let mut counts = Counts::default();
    let mut judge = Judge {
        story,
        truth: &truth,
        foreign: foreign_on(&story.start),
        seen: HashMap::new(),
        classes: HashMap::new(),
        per_class,
    };
    for (index, crash) in truth.disks.iter().enumerate() {
        let bounds = truth.bounds(story, index);
        let place = format!("in front of change {index}");
        for left in crash.power_cuts(random, index as u64) {
            judge.judge(&left, bounds, true, &place);
            counts.states += 1;
            if counts.states % SAMPLE == 0 {
                judge.finish(&left, &place);
                counts.power_cuts += 1;
            }
        }
        judge.judge(crash, bounds, true, &place);
        judge.finish(crash, &place);
        counts.kills += 1;
    }
    // Killed inside a write.
    for &index in &truth.writes {
        let disk = story.start.after_kill();
        disk.fail_at(index, Failure { errno: 5, lasts: false, part: 7 });
        disk.crash_at(index + 1);
        story.try_to_tell(&disk);
        assert!(disk.operations().len() > index, "operation {index} was not reached");
        judge.finish(&disk, &format!("inside operation {index}"));
        counts.kills += 1;
    }
    for (left, bounds) in std::mem::take(&mut judge.classes).into_values().flatten() {
        left.record();
        drop(resume(&left, story.plan).unwrap());
        for (index, crash) in left.recorded().iter().enumerate() {
            let place = format!("in front of change {index} of a recovery");
            judge.judge(crash, bounds, false, &place);
            for again in crash.power_cuts(random, index as u64) {
                judge.judge(&again, bounds, false, &place);
                counts.pairs += 1;
            }
        }
    }
    counts.disks = judge.seen.len();
    counts
}

#[test]
fn whatever_a_crash_leaves_is_recovered() {
    let begun = Instant::now();
    let wanted = states_wanted();
    let pairs_wanted = wanted.min(100_000);
    let mut total = Counts::default();
    // Smaller blocks tear writes in more places: as many rounds as it takes.
    for (round, block) in [512, 256, 128, 64, 32].into_iter().enumerate() {
        let random = wanted / 2000;
        let mut stories = stories(block);
        if !is_long() {
            stories.retain(|story| ["retention", "resume", "quarantine"].contains(&story.name));
        }
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(Counts::default());
        let work = || {
            while let Some(story) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
                let counts = cut_short(story, random, 1 + round);
                println!(
                    "{}, blocks of {block} bytes: {counts:?}, {:.1} s",
                    story.name,
                    begun.elapsed().as_secs_f64()
                );
                sum.lock().unwrap().add(counts);
            }
        };
        std::thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            for thread in threads {
                thread.join().unwrap();
            }
        });
        total.add(*sum.lock().unwrap());
        if total.states >= wanted && total.pairs >= pairs_wanted {
            break;
        }
    }
    println!(
        "{} states after one crash and {} after two, {} different disks; {} kills and {} power cuts \
         gone on from to the end of the run; {:.1} s",
        total.states,
        total.pairs,
        total.disks,
        total.kills,
        total.power_cuts,
        begun.elapsed().as_secs_f64()
    );
    assert!(total.states >= wanted, "{} states; wanted: {wanted}", total.states);
    assert!(total.pairs >= pairs_wanted, "{} pairs; wanted: {pairs_wanted}", total.pairs);
}
