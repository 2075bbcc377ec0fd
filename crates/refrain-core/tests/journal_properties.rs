//! Journals under random damage: what is read was written, what was written behind the damage is
//! read, and no damage is passed over.

#[expect(dead_code, reason = "one disk is enough here")]
#[path = "../../../fuzz/src/memory.rs"]
mod memory;

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use refrain_core::checkpoint::{Checkpoints, Entry, JournalText};
use refrain_core::files::Files;
use refrain_core::testing::Script;
use refrain_core::{Fit, Trainer};

use memory::MemoryDisk;

/// The journal of a run that was gone on with: 12 records of five kinds.
static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = MemoryDisk::default();
    let script = Script::losses(&[4.0, f64::MAX, -0.0, 1.0]);
    for epochs in [2, 4] {
        let checkpoints = Checkpoints::in_dir("/run").wait(true);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .files(Files::on(disk.clone()))
            .checkpoints(checkpoints);
        if epochs > 2 {
            trainer.resume().unwrap();
        }
        trainer.fit(&script.data(), Fit::epochs(epochs).verbose(0)).unwrap();
    }
    disk.get("/run/journal.jsonl").unwrap()
});

fn entries(bytes: &[u8]) -> Vec<Entry> {
    JournalText::parse(bytes).entries
}

/// What a disk, a copy or an editor does to a file.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Zeros(Index, usize),
    Cut(Index),
    /// A line goes, is there twice, or comes too early.
    LineGone(Index),
    LineTwice(Index),
    LinesSwapped(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let text = prop_oneof![prop::collection::vec(any::<u8>(), 1..20), Just(b"\n".to_vec())];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (index(), text).prop_map(|(at, text)| Damage::Insert(at, text)),
        (index(), 1..200_usize).prop_map(|(at, n)| Damage::Remove(at, n)),
        (index(), 1..600_usize).prop_map(|(at, n)| Damage::Zeros(at, n)),
        index().prop_map(Damage::Cut),
        index().prop_map(Damage::LineGone),
        index().prop_map(Damage::LineTwice),
        (index(), index()).prop_map(|(a, b)| Damage::LinesSwapped(a, b)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let n = lines.len();
        match self {
            Self::Byte(at, byte) => bytes[at.index(len)] = *byte,
            Self::Insert(at, text) => {
                let at = at.index(len);
                bytes.splice(at..at, text.iter().copied());
            }
            Self::Remove(at, n) => {
                let at = at.index(len);
                bytes.drain(at..len.min(at + n));
            }
            Self::Zeros(at, n) => {
                let at = at.index(len);
                bytes[at..len.min(at + n)].fill(0);
            }
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::LineGone(i) => {
                lines.remove(i.index(n));
                *bytes = lines.concat();
            }
            Self::LineTwice(i) => {
                let i = i.index(n);
                lines.insert(i, lines[i].clone());
                *bytes = lines.concat();
            }
            Self::LinesSwapped(a, b) => {
                lines.swap(a.index(n), b.index(n));
                *bytes = lines.concat();
            }
        }
    }

    fn moves_lines(&self) -> bool {
        matches!(self, Self::LineTwice(_) | Self::LinesSwapped(..))
    }
}

fn is_subsequence(part: &[Entry], whole: &[Entry]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|entry| whole.any(|other| other == entry))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_was_written_and_no_damage_is_passed_over(
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let written = entries(&JOURNAL);
        prop_assert_eq!(written.len(), 12);
        let mut bytes = JOURNAL.clone();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        let text = JournalText::parse(&bytes);
        prop_assert!(text.entries.iter().all(|entry| written.contains(entry)));
        if !damages.iter().any(Damage::moves_lines) {
            prop_assert!(is_subsequence(&text.entries, &written), "{:?}", text.entries);
        }
        // Where nothing is said, it is what had been written at some instant.
        if text.damage.is_empty() && text.torn == 0 {
            prop_assert!(JOURNAL.starts_with(&bytes), "{:?}", text);
            prop_assert!(written.starts_with(&text.entries));
        }
        prop_assert_eq!(text.whole + text.torn, bytes.len() as u64);
    }

    #[test]
    fn what_is_appended_is_read_behind_any_damage(
        damages in prop::collection::vec(damage(), 0..4),
        old in 0..=12_usize,
        noise in prop::collection::vec(any::<u8>(), 0..300),
        is_noise in any::<bool>(),
    ) {
        let ends: Vec<usize> = (0..JOURNAL.len()).filter(|i| JOURNAL[*i] == b'\n').collect();
        let split = old.checked_sub(1).map_or(0, |i| ends[i] + 1);
        let (first, second) = JOURNAL.split_at(split);
        let mut bytes = if is_noise { noise } else { first.to_vec() };
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        let before = JournalText::parse(&bytes);
        // What follows the last whole line is cut off by the one who appends.
        bytes.truncate(usize::try_from(before.whole).unwrap());
        bytes.extend(second);
        let after = JournalText::parse(&bytes);
        prop_assert_eq!(after.entries, [before.entries, entries(second)].concat());
        prop_assert_eq!(after.torn, 0);
        prop_assert!(after.damage.starts_with(&before.damage));
    }
}

#[test]
fn a_journal_of_many_epochs_is_read_in_time_proportional_to_them() {
    // A quadratic reader would take minutes.
    let record = |epoch: usize| {
        serde_json::json!({
            "seq": epoch, "time": "", "type": "epoch", "epoch": epoch, "step": epoch, "logs": {},
            "base": 0.1,
        })
    };
    let mut text = JournalText::default();
    let one = |fields: serde_json::Value| {
        let mut fields = fields.as_object().unwrap().clone();
        fields.remove("seq");
        fields.remove("time");
        Entry {
            seq: 1,
            time: String::new(),
            record: serde_json::from_value(fields.into()).unwrap(),
        }
    };
    text.entries = (1..=200_000).map(|epoch| one(record(epoch))).collect();
    assert_eq!(text.epochs().len(), 200_000);
    // Half of them again, after going on from the middle.
    text.entries.push(one(serde_json::json!({
        "type": "resume", "checkpoint": null, "epochs": 100_000, "step": 0, "planned": 1,
    })));
    text.entries.push(one(record(100_001)));
    let epochs = text.epochs();
    assert_eq!((epochs.len(), epochs.last().unwrap().0), (100_001, 100_001));
}
