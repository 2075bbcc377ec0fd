//! Every operation of a run fails with every error that a disk knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use refrain_core::checkpoint::{Every, JournalText, OnSaveFailure, Record};
use refrain_core::testing::{Failure, SimulatedDisk};

use crate::length::stride;

use super::runs::{
    Contents, Plan, fit, foreign_disk, foreign_on, is_clean, journal, killed, result, resume,
    trainer,
};

/// EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE, ENFILE, EINTR, ENOMEM, by Linux' numbers.
const ERRORS: [i32; 9] = [5, 28, 122, 30, 13, 24, 23, 4, 12];

/// A run, begun or gone on with, and what it leaves where nothing fails.
struct Tried {
    plan: Plan,
    start: SimulatedDisk,
    resumes: bool,
    foreign: Contents,
    operations: usize,
    result: String,
}

impl Tried {
    fn new(plan: Plan, start: &SimulatedDisk, resumes: bool) -> Self {
        let disk = start.after_kill();
        let (mut trainer, _) = trainer(&disk, plan);
        if resumes {
            trainer.resume().unwrap();
        }
        fit(&mut trainer, plan).unwrap();
        Self {
            plan,
            start: start.after_kill(),
            resumes,
            foreign: foreign_on(start),
            operations: disk.operations().len(),
            result: result(&trainer, &disk),
        }
    }

    /// Fails one operation, and looks at what has become of the run; whether it ended well.
    fn fail(&self, at: usize, failure: Failure, on_failure: OnSaveFailure) -> bool {
        let plan = Plan { on_failure, ..self.plan };
        let disk = self.start.after_kill();
        disk.fail_at(at, failure);
        let (mut trainer, text) = trainer(&disk, plan);
        let ended = if self.resumes { trainer.resume().map(drop) } else { Ok(()) };
        let ended = ended.and_then(|()| fit(&mut trainer, plan).map(drop));
        drop(trainer);
        let text = text.contents();
        let place =
            format!("{:?} {failure:?} {on_failure:?}: {ended:?}\n{text}", disk.operations()[at]);
        assert!(!place.contains("panicked"), "{place}");
        assert!(disk.synced_again().is_empty(), "{place}");
        match &ended {
            Err(error) => assert!(error.to_string().contains("`/"), "{place}"),
            // What was passed over was told.
            Ok(()) => assert!(!failure.lasts || text.contains("warning"), "{place}"),
        }
        let recorded = JournalText::parse(&journal(&disk));
        if ended.is_err() && !failure.lasts {
            let ending = recorded.ending();
            assert!(!matches!(ending, Some(("completed" | "stopped", _))), "{place}\n{ending:?}");
        }
        let committed = recorded.entries.iter().rev().find_map(|entry| match entry.record {
            Record::Checkpoint { number, .. } => Some(number),
            _ => None,
        });
        for left in [disk.after_kill(), disk.after_power_cut(&[])] {
            let (mut trainer, point) =
                resume(&left, plan).unwrap_or_else(|e| panic!("{place}\n{e}"));
            assert!(point.checkpoint() >= committed, "{place}\n{committed:?} {point}");
            if ended.is_ok() && !text.contains("warning") {
                assert_eq!(point.epochs(), plan.epochs, "{place}\n{point}");
            }
            fit(&mut trainer, plan).unwrap_or_else(|e| panic!("{place}\n{e}"));
            assert_eq!(is_clean(&left.contents(), &self.foreign), Ok(()), "{place}");
            // A log that could not be written meanwhile is told what it has missed.
            assert_eq!(result(&trainer, &left), self.result, "{place}");
        }
        ended.is_ok()
    }
}

#[test]
fn whatever_fails_loses_no_checkpoint_and_is_told() {
    let begun = Instant::now();
    let plan = Plan { epochs: 2, ..Plan::new(Every::Epochs(1), 1) };
    let by_steps = Plan::new(Every::Steps(2), 1);
    let tried = [
        Tried::new(plan, &foreign_disk(512), false),
        Tried::new(plan, &SimulatedDisk::new(512), false),
        Tried::new(by_steps, &killed(by_steps, 512), true),
    ];
    let mut cases = Vec::new();
    for tried in &tried {
        for at in (0..tried.operations).step_by(stride(3)) {
            for (i, errno) in ERRORS.into_iter().enumerate() {
                for lasts in [false, true] {
                    let failure = Failure { errno, lasts, part: (at * 7 + i) % 64 };
                    cases.push((tried, at, failure, OnSaveFailure::Abort));
                    cases.push((tried, at, failure, OnSaveFailure::Warn));
                }
            }
        }
    }
    let (next, ended_well) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some((tried, at, failure, policy)) =
            cases.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let is_well = tried.fail(*at, *failure, *policy);
            ended_well.fetch_add(usize::from(is_well), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for thread in [scope.spawn(work), scope.spawn(work)] {
            thread.join().unwrap();
        }
    });
    let ended_well = ended_well.into_inner();
    println!(
        "{} runs with a failure, {ended_well} of them ended well; {:.1} s",
        cases.len(),
        begun.elapsed().as_secs_f64()
    );
    // Neither is every failure passed over, nor does each end the run.
    assert!(ended_well > 0 && ended_well < cases.len());
}
