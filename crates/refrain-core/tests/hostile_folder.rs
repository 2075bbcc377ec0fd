//! Folders of runs that somebody else has had a hand in: links, pipes, devices, names and numbers
//! that no run writes. Nothing outside of the folder is touched, nothing blocks, and memory is of the
//! order of what lies there.
#![cfg(unix)]

mod peak;
#[path = "../../../fuzz/src/seal.rs"]
mod seal;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use refrain_core::callbacks::LambdaCallback;
use refrain_core::checkpoint::{Checkpoints, ResumePoint, inspect, remains, verify};
use refrain_core::files::Files;
use refrain_core::testing::{Script, ScriptLearner};
use refrain_core::{Fit, Result, Trainer};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use twox_hash::XxHash3_128;

use peak::peak;
use seal::{seal, seal_text};

const PARTS: [&str; 3] = ["weights.safetensors", "optimizer.safetensors", "state.json"];

fn trainer(folder: &Path) -> Trainer<ScriptLearner> {
    let script = Script::losses(&[4.0, 3.0, 2.0, 1.0]);
    Trainer::new(script.learner(), 0.1).checkpoints(Checkpoints::in_dir(folder).wait(true))
}

fn train(trainer: &mut Trainer<ScriptLearner>, epochs: usize) -> Result {
    let script = Script::losses(&[4.0, 3.0, 2.0, 1.0]);
    trainer.fit(&script.data(), Fit::epochs(epochs).verbose(0)).map(drop)
}

/// A folder in which `run` holds a run of two epochs, with checkpoints 1 and 2.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    train(&mut trainer(&folder.path().join("run")), 2).unwrap();
    folder
}

fn run(folder: &TempDir) -> PathBuf {
    folder.path().join("run")
}

fn newest(folder: &TempDir, file: &str) -> PathBuf {
    run(folder).join("checkpoints/000002").join(file)
}

/// Goes on with the run, and checks that it ends as it should.
fn go_on(folder: &TempDir, what: &str) -> ResumePoint {
    let mut resumed = trainer(&run(folder));
    let point = resumed.resume().unwrap_or_else(|e| panic!("{what}: {e}"));
    train(&mut resumed, 4).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(resumed.learner().updates(), 4, "{what}");
    assert_eq!(resumed.history().column("loss"), [4.0, 3.0, 2.0, 1.0].map(Some), "{what}");
    point
}

/// Why the run cannot be gone on with.
fn refusal(folder: &TempDir) -> String {
    let error = trainer(&run(folder)).resume().unwrap_err().to_string();
    assert!(error.contains(&run(folder).display().to_string()), "{error}");
    error
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// All that lies in a folder: paths, and what is in files and links.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let bytes = if kind.is_file() {
                fs::read(&path).unwrap()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                folders.push(path.clone());
            }
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

/// Ways to put something else in the place of a file.
type Replace = fn(&Path, &Path);

#[test]
fn a_part_that_is_no_regular_file_is_damage() {
    let ways: [(&str, Replace); 6] = [
        ("is missing", |path, _| fs::remove_file(path).unwrap()),
        ("is no regular file", |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("is no regular file", |path, beside| {
            // The right bytes, and yet not the run's: they change with somebody else's file.
            fs::rename(path, beside).unwrap();
            symlink(beside, path).unwrap();
        }),
        ("is no regular file", |path, _| {
            fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        }),
        ("is no regular file", |path, _| {
            fs::remove_file(path).unwrap();
            symlink(path, path).unwrap();
        }),
        ("is no regular file", |path, _| {
            fs::remove_file(path).unwrap();
            pipe(path);
        }),
    ];
    for file in PARTS.into_iter().chain(["manifest.json"]) {
        for (i, (problem, replace)) in ways.iter().enumerate() {
            let folder = folder();
            let beside = folder.path().join("beside");
            replace(&newest(&folder, file), &beside);
            let bytes = fs::read(&beside).ok();
            // Looked at without a change first.
            let before = content(&run(&folder));
            let reports = verify(&Files::default(), &run(&folder)).unwrap();
            let found = reports.iter().map(|r| r.manifest.as_ref().err().map(ToString::to_string));
            let found: Vec<_> = found.collect();
            assert_eq!(found[0], None);
            assert_eq!(found[1], Some(format!("{file} {problem}")), "{i}");
            assert!(!inspect(&Files::default(), &run(&folder)).unwrap().unwrap().is_running);
            assert_eq!(content(&run(&folder)), before);

            let point = go_on(&folder, file);
            let note = format!(
                "checkpoint 000002 is damaged ({file} {problem}); it was moved to quarantine/000002"
            );
            assert_eq!((point.checkpoint(), point.notes()), (Some(1), &[note][..]), "{i}");
            assert_eq!(fs::read(&beside).ok(), bytes, "{file} {i}");
        }
    }
}

#[test]
fn a_checkpoint_that_is_no_folder_is_damage() {
    for way in 0..3 {
        let folder = folder();
        let path = newest(&folder, "");
        let path = path.parent().unwrap().join("000002");
        let away = folder.path().join("away");
        fs::rename(&path, &away).unwrap();
        match way {
            0 => symlink(&away, &path).unwrap(),
            1 => fs::write(&path, "text").unwrap(),
            _ => pipe(&path),
        }
        let before = content(&away);
        let point = go_on(&folder, "no folder");
        assert!(point.notes()[0].contains("damaged (it is no folder)"), "{:?}", point.notes());
        assert_eq!(content(&away), before);
    }
}

#[test]
fn what_the_run_did_not_make_stays() {
    let folder = folder();
    let mine = ["checkpoints/000001/notes.txt", "checkpoints/notes.txt", "notes.txt"];
    for file in mine {
        fs::write(run(&folder).join(file), "mine").unwrap();
    }
    // Left by a killed process, with a folder where a file should be.
    let left = run(&folder).join("checkpoints/.tmp-0123456789abcdef-000009-1");
    fs::create_dir_all(left.join("weights.safetensors/below")).unwrap();
    fs::write(left.join("state.json"), "left").unwrap();
    symlink("/", run(&folder).join("checkpoints/.tmp-link")).unwrap();
    let point = go_on(&folder, "extra files");
    assert_eq!(point.notes(), [""; 0]);
    // Checkpoint 1 has been dropped, but for what is not the run's.
    assert!(!run(&folder).join("checkpoints/000001").exists());
    let all = content(&run(&folder));
    assert_eq!(all.iter().filter(|(_, bytes)| bytes == b"mine").count(), mine.len());
    assert!(left.join("weights.safetensors/below").exists() && !left.join("state.json").exists());
    go_on(&folder, "once more");
}

/// Changes the manifest of checkpoint 2, and seals it again.
/// What killed processes leave beside files has a name that nothing else has, and is removed; what is
/// only like it, or another run's, is not.
#[test]
fn only_what_killed_processes_left_is_removed() {
    let folder = folder();
    let run = run(&folder);
    fs::create_dir_all(run.join("logs/deep")).unwrap();
    fs::create_dir(run.join("other")).unwrap();
    let left = [".refrain-12-3.tmp", "logs/.refrain-1-0.tmp", "logs/deep/.refrain-9-99.tmp"];
    let kept = [
        ".refrain--3.tmp",
        ".refrain-12-.tmp",
        ".refrain-12.tmp",
        ".refrain-x-3.tmp",
        ".refrain-12-x.tmp",
        ".refrain-12-3.new",
        "refrain-12-3.tmp",
        "logs/notes.txt",
        "other/run.lock",
        "other/.refrain-12-3.tmp",
        "quarantine/.refrain-12-3.tmp",
    ];
    fs::create_dir(run.join("quarantine")).unwrap();
    left.iter().chain(&kept).for_each(|name| fs::write(run.join(name), "half").unwrap());
    let mut expected = left.map(PathBuf::from);
    expected.sort();
    assert_eq!(remains(&Files::default(), &run).unwrap().leftovers, expected);
    go_on(&folder, "leftovers");
    assert!(left.iter().all(|name| !run.join(name).exists()));
    let gone: Vec<&&str> = kept.iter().filter(|name| !run.join(name).exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
    assert!(remains(&Files::default(), &run).unwrap().leftovers.is_empty());
}

#[test]
fn copies_by_links_keep_what_they_held() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoints, backup) = (run(&folder).join("checkpoints"), folder.path().join("backup"));
    fs::create_dir(&backup).unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "mine").unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (from, to, seen, aim) =
        (checkpoints.clone(), backup.clone(), Arc::clone(&kept), target.clone());
    // As `cp --archive --link` after each epoch; and one file is replaced by a link.
    let copy = LambdaCallback::new("backup").on_epoch_end(move |run, _| {
        let files =
            content(&from).into_iter().filter(|(path, _)| path.is_file() && !path.is_symlink());
        for (i, (path, bytes)) in files.enumerate() {
            let copy = to.join(format!("{}-{i}", run.progress.epoch));
            fs::hard_link(&path, &copy)?;
            seen.lock().unwrap().push((copy, bytes));
            if run.progress.epoch == 2 && path.ends_with("state.json") {
                fs::remove_file(&path)?;
                symlink(&aim, path)?;
            }
        }
        Ok(())
    });
    let script = Script::losses(&[4.0, 3.0, 2.0, 1.0, 0.5, 0.25]);
    let options = Checkpoints::in_dir(run(&folder)).keep(1).wait(true);
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(copy).checkpoints(options);
    trainer.fit(&script.data(), Fit::epochs(6).verbose(0)).unwrap();
    let kept = kept.lock().unwrap();
    // Four files in front of each epoch's end but the first, and those of dropped ones.
    assert!(kept.len() > 5 * 4, "{}", kept.len());
    for (path, bytes) in &*kept {
        assert!(fs::read(path).unwrap() == *bytes, "{} was written over", path.display());
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "mine");
    // Nothing is left of those that were dropped.
    let left: Vec<_> = fs::read_dir(checkpoints).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["000006"]);
}

fn forge(folder: &TempDir, change: impl FnOnce(&mut Map<String, Value>)) {
    let path = newest(folder, "manifest.json");
    let mut fields: Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fields.remove("crc32c");
    change(&mut fields);
    fs::write(path, seal(&fields)).unwrap();
}

fn part(fields: &mut Map<String, Value>, i: usize) -> &mut Value {
    &mut fields["parts"][i]
}

#[test]
fn forged_manifests_are_damage() {
    type Forge = fn(&mut Map<String, Value>);
    let forges: [(&str, Forge); 14] = [
        ("names the file `../x`", |m| part(m, 0)["file"] = json!("../x")),
        ("names the file `/etc/passwd`", |m| part(m, 0)["file"] = json!("/etc/passwd")),
        ("names the file `/dev/zero`", |m| part(m, 1)["file"] = json!("/dev/zero")),
        ("names the file `manifest.json`", |m| part(m, 1)["file"] = json!("manifest.json")),
        ("names the file `\\u{1b}`", |m| part(m, 1)["file"] = json!("\u{1b}")),
        ("names the file `state.json`", |m| part(m, 1)["file"] = json!("state.json")),
        (": expected 9223372036854775808 bytes", |m| part(m, 0)["bytes"] = json!(1_u64 << 63)),
        ("cannot be read: ", |m| part(m, 0)["bytes"] = json!(-1)),
        ("is that of checkpoint 1", |m| m["number"] = json!(1)),
        ("names no format", |m| m["format"] = json!(0)),
        ("names no format", |m| m["format"] = json!("1")),
        ("names the run `/../../x`", |m| m["run"] = json!("/../../x")),
        ("names the run ``", |m| m["run"] = json!("")),
        ("cannot be read: missing field `parts`", |m| drop(m.remove("parts"))),
    ];
    for (problem, change) in forges {
        let folder = folder();
        forge(&folder, change);
        let point = go_on(&folder, problem);
        let [note] = point.notes() else { panic!("{problem}: {:?}", point.notes()) };
        assert_eq!(point.checkpoint(), Some(1), "{note}");
        assert!(note.contains(problem), "{note:?} lacks {problem:?}");
        assert!(!note.contains('\u{1b}'));
    }
}

#[test]
fn deep_and_huge_manifests_are_damage() {
    // The reader of JSON stops on the way down, and not at the end of the stack.
    let deep = |inside: &str| {
        let fields = format!("{{\"format\":1,\"x\":{}", inside.repeat(200_000));
        seal_text(fields.into_bytes())
    };
    for (bytes, problem) in [
        (deep("["), "does not have the checksum"),
        (deep("{\"x\":"), "does not have the checksum"),
        (vec![b'\n'; 1 << 20], "does not have the checksum"),
        (vec![], "does not have the checksum"),
    ] {
        let folder = folder();
        fs::write(newest(&folder, "manifest.json"), &bytes).unwrap();
        let (point, most) = peak(|| go_on(&folder, problem));
        assert!(point.notes()[0].contains(problem), "{:?}", point.notes());
        assert!(most < 4 * bytes.len() + (1 << 18), "{most} bytes for {}", bytes.len());
    }
    // Not read at all.
    let folder = folder();
    let file = fs::File::create(newest(&folder, "manifest.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let (point, most) = peak(|| go_on(&folder, "huge"));
    assert!(point.notes()[0].contains("has 1099511627776 bytes; allowed: at most 16777216"));
    assert!(most < 1 << 18, "{most} bytes");
}

#[test]
fn a_manifest_of_a_later_format_is_refused_and_stays() {
    for format in [2, u64::MAX] {
        let folder = folder();
        forge(&folder, |manifest| manifest["format"] = json!(format));
        let before = content(&run(&folder).join("checkpoints"));
        let error = refusal(&folder);
        assert!(
            error.contains(&format!("has the format {format}, which a later version")),
            "{error}"
        );
        assert_eq!(content(&run(&folder).join("checkpoints")), before);
    }
}

#[test]
fn a_checkpoint_of_another_run_is_not_used_and_stays() {
    let (folder, other) = (folder(), self::folder());
    let put = |number: &str, parts: &[&str]| {
        for part in parts {
            let from = run(&other).join("checkpoints/000002").join(part);
            fs::copy(from, run(&folder).join("checkpoints").join(number).join(part)).unwrap();
        }
    };
    // A whole one.
    put("000002", &PARTS);
    put("000002", &["manifest.json"]);
    let before = content(&newest(&folder, ""));
    let point = go_on(&folder, "another run's");
    let note = "checkpoint 000002 is another run's and is not used";
    assert_eq!((point.checkpoint(), point.notes()), (Some(1), &[note.to_owned()][..]));
    assert_eq!(content(&newest(&folder, "")), before);
    // Its numbers are not used again, and it is never dropped.
    assert!(run(&folder).join("checkpoints/000004").exists());
}

/// Puts another state into checkpoint 2, as if it had been written so.
fn forge_state(folder: &TempDir, change: impl FnOnce(&mut Value)) {
    let path = newest(folder, "state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    let bytes = serde_json::to_vec(&state).unwrap();
    let hash = format!("{:032x}", XxHash3_128::oneshot(&bytes));
    fs::write(path, &bytes).unwrap();
    forge(folder, |manifest| {
        let parts = manifest["parts"].as_array_mut().unwrap();
        let part = parts.iter_mut().find(|part| part["file"] == "state.json").unwrap();
        part["bytes"] = json!(bytes.len());
        part["xxh3"] = json!(hash);
    });
}

#[test]
fn a_state_that_is_none_is_refused_by_name() {
    type Forge = fn(&mut Value);
    let forges: [(&str, Forge); 5] = [
        ("state.json cannot be read: ", |state| *state = json!({})),
        ("state.json cannot be read: ", |state| *state = json!([[[[1]]]])),
        ("state.json cannot be read: ", |state| state["position"]["step"] = json!(-1)),
        ("state.json is at epoch 7, batch 0, step 2; expected what the manifest says", |state| {
            state["position"]["epoch"] = json!(7);
        }),
        ("and none above 9007199254740992", |state| {
            state["position"]["samples"] = json!(u64::MAX);
        }),
    ];
    for (problem, change) in forges {
        let folder = folder();
        forge_state(&folder, change);
        let before = content(&run(&folder).join("checkpoints"));
        let error = trainer(&run(&folder)).resume().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        let way_out = "checkpoint 000002 cannot be used; move it away to go on from the one before";
        assert!(error.starts_with(way_out), "{error}");
        assert_eq!(content(&run(&folder).join("checkpoints")), before);
        // As the message says.
        fs::rename(newest(&folder, ""), folder.path().join("away")).unwrap();
        assert_eq!(go_on(&folder, "moved away").checkpoint(), Some(1));
    }
}

#[test]
fn numbers_that_no_run_comes_to_are_not_counted_on() {
    let folder = folder();
    let checkpoints = run(&folder).join("checkpoints");
    let names =
        ["000000", "18446744073709551615", "9007199254740993", "000001x", "1", "+00003", ""];
    for name in names.iter().filter(|name| !name.is_empty()) {
        fs::create_dir(checkpoints.join(name)).unwrap();
    }
    let odd = checkpoints.join(OsStr::from_bytes(b".tmp-\xff\xfe"));
    fs::create_dir(&odd).unwrap();
    fs::create_dir(checkpoints.join(OsStr::from_bytes(b"\xff"))).unwrap();
    fs::create_dir_all(run(&folder).join("quarantine/18446744073709551615")).unwrap();
    fs::create_dir_all(run(&folder).join("quarantine/+7")).unwrap();
    let point = go_on(&folder, "names");
    assert_eq!((point.checkpoint(), point.notes()), (Some(2), &[][..]));
    for name in names {
        assert!(checkpoints.join(name).exists(), "{name}");
    }
    assert!(checkpoints.join("000004").exists() && odd.exists());
}

#[test]
fn a_journal_with_impossible_numbers_is_no_end() {
    let folder = folder();
    let path = run(&folder).join("journal.jsonl");
    let text = fs::read(&path).unwrap();
    let record = json!({
        "seq": u64::MAX, "time": "", "type": "checkpoint", "number": u64::MAX, "epochs": usize::MAX,
        "step": u64::MAX,
    });
    let forged = seal(record.as_object().unwrap());
    for forged in [forged.clone(), [&forged[..], &forged].concat()] {
        fs::write(&path, [&text[..], &forged].concat()).unwrap();
        let mut resumed = trainer(&run(&folder));
        let point = resumed.resume().unwrap();
        assert!(point.notes()[0].contains("record 18446744073709551615 follows record"));
        train(&mut resumed, 2).unwrap();
    }
    // The name of a run becomes a part of names of folders.
    let begin = json!({
        "seq": 1, "time": "", "type": "begin", "run": "/../../evil", "refrain": "", "planned": 1,
    });
    fs::write(&path, seal(begin.as_object().unwrap())).unwrap();
    fs::create_dir(run(&folder).join("checkpoints/.tmp-")).unwrap();
    fs::write(run(&folder).join("checkpoints/.tmp-/keep"), "").unwrap();
    for entry in fs::read_dir(run(&folder).join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with(".tmp-") {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let before = fs::read_dir(folder.path()).unwrap().count();
    go_on(&folder, "evil");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    let all = content(folder.path());
    assert!(!all.iter().any(|(path, _)| path.to_string_lossy().contains("evil")), "{all:?}");
}

#[test]
fn lock_and_journal_are_regular_files_or_refused() {
    let ways: [(&str, Replace); 5] = [
        ("is a folder; expected a regular file: move it away", |path, _| {
            fs::create_dir(path).unwrap();
        }),
        ("is a symbolic link;", |path, beside| {
            fs::write(beside, "precious, and\nnot written to its end").unwrap();
            symlink(beside, path).unwrap();
        }),
        ("is a symbolic link;", |path, _| symlink("/dev/zero", path).unwrap()),
        ("is a symbolic link;", |path, beside| {
            pipe(beside);
            symlink(beside, path).unwrap();
        }),
        ("is a device, a pipe or a socket;", |path, _| pipe(path)),
    ];
    for file in ["run.lock", "journal.jsonl"] {
        for (problem, replace) in ways {
            let folder = folder();
            let (path, beside) = (run(&folder).join(file), folder.path().join("beside"));
            fs::remove_file(&path).unwrap();
            replace(&path, &beside);
            let is_pipe = |path: &Path| !path.is_file();
            let bytes = if is_pipe(&beside) { None } else { fs::read(&beside).ok() };
            let error = refusal(&folder);
            assert!(error.contains(problem) && error.contains(file), "{error}");
            // Nor is it written by a run that begins.
            let anew = Checkpoints::in_dir(run(&folder)).overwrite(true);
            let learner = Script::losses(&[1.0]).learner();
            let error = train(&mut Trainer::new(learner, 0.1).checkpoints(anew), 1).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            // Looking does not block either: what is no lock is held by nobody.
            let looked = inspect(&Files::default(), &run(&folder));
            match file {
                "run.lock" => assert!(!looked.unwrap().unwrap().is_running),
                _ => assert!(looked.unwrap_err().to_string().contains(problem)),
            }
            if !is_pipe(&beside) {
                assert_eq!(fs::read(&beside).ok(), bytes);
            }
        }
    }
}

#[test]
fn huge_journals_take_what_they_have() {
    const MANY: usize = 1 << 20;
    // One line without an end; a line of blanks; many empty lines.
    let blanks = [vec![b' '; MANY], vec![b'\n']].concat();
    for more in [vec![b'x'; MANY], blanks, vec![b'\n'; MANY]] {
        let problem =
            format!("{} bytes of records that were not written to their end were cut", more.len());
        let folder = folder();
        let path = run(&folder).join("journal.jsonl");
        let bytes = [&fs::read(&path).unwrap()[..], &more].concat();
        fs::write(&path, &bytes).unwrap();
        let (point, most) = peak(|| go_on(&folder, &problem));
        let notes = point.notes();
        assert!(notes[0].contains(&problem) && notes.len() == 1, "{notes:?}");
        assert_eq!(point.checkpoint(), Some(2));
        assert!(most < 2 * bytes.len(), "{most} bytes for {}", bytes.len());
    }
    // Longer than any journal: not read.
    let folder = folder();
    let path = run(&folder).join("journal.jsonl");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((1 << 30) + 1).unwrap();
    let (error, most) = peak(|| refusal(&folder));
    assert!(error.contains("has 1073741825 bytes; allowed: at most 1073741824"), "{error}");
    assert!(most < 1 << 18, "{most} bytes");
}

#[test]
fn the_quarantine_may_be_in_the_way() {
    let folder = folder();
    fs::write(newest(&folder, "state.json"), "").unwrap();
    fs::write(run(&folder).join("quarantine"), "a file").unwrap();
    let error = refusal(&folder);
    assert!(error.contains("quarantine"), "{error}");
    // Nothing was lost, and nothing is held.
    fs::remove_file(run(&folder).join("quarantine")).unwrap();
    fs::create_dir_all(run(&folder).join("quarantine/000002")).unwrap();
    let point = go_on(&folder, "taken name");
    assert!(point.notes()[0].ends_with("it was moved to quarantine/000002-2"), "{point:?}");
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_a_folder_is_not_followed() {
    for name in ["checkpoints", "quarantine"] {
        let (folder, elsewhere) = (folder(), tempfile::tempdir().unwrap());
        let path = run(&folder).join(name);
        let _ = fs::rename(&path, run(&folder).join("away"));
        std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
        let refused = refusal(&folder);
        assert!(refused.contains(name) && refused.contains("is a symbolic link"), "{refused}");
        let files = refrain_core::files::Files::default();
        assert!(refrain_core::checkpoint::verify(&files, &run(&folder)).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
