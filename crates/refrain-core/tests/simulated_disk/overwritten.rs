//! A run that is overwritten by another, cut off at every operation.

use std::collections::HashSet;
use std::path::Path;

use refrain_core::checkpoint::{Every, JournalText, Record, verify};
use refrain_core::files::Files;
use refrain_core::testing::SimulatedDisk;

use super::runs::{
    Plan, RUN, fit, foreign_disk, foreign_on, is_clean, journal, result, resume, trainer,
};

/// Power cuts that are looked at in front of a change.
const CUTS: usize = 8;

const OLD: Plan = Plan::new(Every::Epochs(1), 2);
const NEW: Plan = Plan { epochs: 2, overwrites: true, ..OLD };

fn numbers(disk: &SimulatedDisk) -> Vec<u64> {
    let reports = verify(&Files::on(disk.clone()), Path::new(RUN)).unwrap();
    reports.iter().filter(|report| report.manifest.is_ok()).map(|report| report.number).collect()
}

fn overwrite(disk: &SimulatedDisk) -> String {
    let mut trainer = trainer(disk, NEW).0;
    fit(&mut trainer, NEW).unwrap();
    result(&trainer, disk)
}

#[test]
fn it_is_there_whole_or_says_that_it_goes() {
    let start = foreign_disk(512);
    fit(&mut trainer(&start, OLD).0, OLD).unwrap();
    let (old_journal, old_numbers) = (journal(&start), numbers(&start));
    assert_eq!(old_numbers.len(), 2);

    let disk = start.after_kill();
    disk.record();
    let truth = overwrite(&disk);
    let mut seen = HashSet::new();
    let (mut whole, mut going, mut new) = (0, 0, 0);
    for (index, crash) in disk.recorded().iter().enumerate() {
        let cuts = crash.power_cuts(CUTS, index as u64);
        for left in cuts.chain([crash.after_kill()]) {
            if !seen.insert(left.fingerprint()) {
                continue;
            }
            let place = format!("in front of change {index}");
            let (bytes, there) = (journal(&left), numbers(&left));
            if bytes == old_journal {
                assert_eq!(there, old_numbers, "{place}");
                whole += 1;
            } else {
                let text = JournalText::parse(&bytes);
                let committed = text.entries.iter().rev().find_map(|entry| match entry.record {
                    Record::Checkpoint { number, .. } => Some(number),
                    _ => None,
                });
                assert!(there.last().copied() >= committed, "{place}: {there:?} {committed:?}");
                let goes = text.is_being_overwritten();
                assert!(goes || !bytes.is_empty() || there.is_empty(), "{place}: {there:?}");
                going += usize::from(goes);
                new += usize::from(!goes);
                // Gone on with, it is the new run.
                let disk = left.after_kill();
                let (mut trainer, point) = resume(&disk, NEW).unwrap();
                assert_eq!(point.was_overwritten(), goes, "{place}");
                assert!(!goes || point.checkpoint().is_none(), "{place}: {point}");
                fit(&mut trainer, NEW).unwrap();
                assert_eq!(result(&trainer, &disk), truth, "{place}");
                assert_eq!(is_clean(&disk.contents(), &foreign_on(&start)), Ok(()), "{place}");
            }
            assert_eq!(overwrite(&left.after_kill()), truth, "{place}, overwritten again");
        }
    }
    assert!(whole > 0 && going > 10 && new > 10, "{whole} {going} {new}");
}
