//! A run that goes on with other settings, cut off at every operation.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use refrain_core::checkpoint::{Checkpoints, Every};
use refrain_core::console::Console;
use refrain_core::files::{Disk as _, Files};
use refrain_core::testing::{Script, ScriptLearner, SimulatedDisk};
use refrain_core::{Fit, Result, Trainer};

use super::runs::RUN;

/// Power cuts that are looked at in front of a change.
const CUTS: usize = 16;

/// Where a program keeps the settings of a run, to go on with them.
fn settings() -> PathBuf {
    Path::new(RUN).join("settings")
}

fn trainer(disk: &SimulatedDisk, setting: &str, accepts: bool) -> Trainer<ScriptLearner> {
    let checkpoints = Checkpoints::in_dir(RUN)
        .every(Every::Epochs(1))
        .keep(1)
        .wait(true)
        .describe("setting", setting)
        .accept_changes(accepts);
    let text = setting.to_owned();
    let script = Script::losses(&[4.0, 3.0, 2.0, 1.0]);
    Trainer::new(script.learner(), 0.1)
        .files(Files::on(disk.clone()))
        .console(Console::memory().0)
        .checkpoints(checkpoints)
        .prepare_folder(move |files| files.write_atomically(&settings(), text.as_bytes()))
}

fn fit(trainer: &mut Trainer<ScriptLearner>, epochs: usize) -> Result {
    let data = Script::losses(&[0.0]).data();
    trainer.fit(&data, Fit::epochs(epochs).verbose(0)).map(drop)
}

fn resume(disk: &SimulatedDisk, setting: &str, accepts: bool) -> Result {
    let disk = disk.after_kill();
    let mut trainer = trainer(&disk, setting, accepts);
    trainer.resume()?;
    fit(&mut trainer, 4)
}

#[test]
fn what_was_accepted_is_not_asked_again() {
    let start = SimulatedDisk::new(512);
    fit(&mut trainer(&start, "old", false), 2).unwrap();
    assert!(resume(&start, "new", false).is_err());

    let disk = start.after_kill();
    disk.record();
    let mut accepting = trainer(&disk, "new", true);
    accepting.resume().unwrap();
    fit(&mut accepting, 4).unwrap();
    drop(accepting);
    let mut seen = HashSet::new();
    let (mut old, mut new) = (0, 0);
    for (index, crash) in disk.recorded().iter().enumerate() {
        let cuts = crash.power_cuts(CUTS, index as u64);
        for left in cuts.chain([crash.after_kill()]) {
            if !seen.insert(left.fingerprint()) {
                continue;
            }
            let setting = String::from_utf8(left.read(&settings()).unwrap()).unwrap();
            // What stands in the folder goes on, whichever it is; anything else is a change.
            resume(&left, &setting, false).unwrap_or_else(|e| panic!("change {index}: {e}"));
            assert!(resume(&left, "another", false).is_err(), "change {index}");
            match setting.as_str() {
                "old" => old += 1,
                _ => new += 1,
            }
        }
    }
    assert!(old > 2 && new > 10, "{old} {new}");
}
