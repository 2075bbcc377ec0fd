//! A callback's own thread computes on the threads of the command, which waits for it meanwhile. The
//! test is the parent of a command with that callback.

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use refrain::options::Section;
use refrain::prelude::*;
use refrain::{Access, BuildContext, FromOptions, Recipe, Registry};

struct Adds;

impl Callback for Adds {
    fn access(&self) -> Access {
        Access::new()
    }

    fn on_epoch_end(&mut self, _: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        let sum = thread::spawn(|| rayon::join(|| 1, || 2)).join();
        sum.map(drop).map_err(|_| Error::msg("the thread panicked"))
    }
}

impl FromOptions for Adds {
    const NAME: &'static str = "adds";
    const EXAMPLE: &'static str = "";

    fn from_options(_: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        Ok(Self)
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("train") {
        return refrain_cli::run(Registry::builtin().callback::<Adds>());
    }
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe::builtin(&["fit.epochs=2".to_owned()]).unwrap().to_toml().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, recipe + "\n[[callbacks]]\ntype = \"adds\"\n").unwrap();
    for threads in ["1", "2"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["train", "x.toml", "--threads", threads, "--dir", threads])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                // Nobody does the thread's work.
                None if began.elapsed() > Duration::from_secs(120) => {
                    child.kill().unwrap();
                    panic!("--threads {threads}: waits for ever");
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(status.success(), "--threads {threads}: {status}");
    }
    ExitCode::SUCCESS
}
