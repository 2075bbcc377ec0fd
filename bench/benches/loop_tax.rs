//! What the loop costs: `fit` with a learner that does nothing, by number and kind of callbacks.
//!
//! `cargo bench -p refrain-bench --bench loop_tax`; each figure is for 1,000 steps, so microseconds there are
//! nanoseconds a step.

use std::borrow::Cow;

use divan::Bencher;
use refrain::callbacks::{EarlyStopping, TensorBoard, UpdateFreq};
use refrain::testing::{Script, ScriptLearner};
use refrain::{Callback, CallbackExt as _, Fit, Monitor, Trainer};

/// Is called at every hook, and does nothing in it.
struct Noop(usize);

impl Callback for Noop {
    fn name(&self) -> Cow<'static, str> {
        format!("no-op {}", self.0).into()
    }
}

fn main() {
    divan::main();
}

fn trainer() -> Trainer<ScriptLearner> {
    Trainer::new(Script::losses(&[1.0]).learner(), 0.1)
}

fn thousand_steps(bencher: Bencher<'_, '_>, mut trainer: Trainer<ScriptLearner>) {
    let data = Script::losses(&[1.0]).samples(1_000);
    bencher.bench_local(|| trainer.fit(&data, Fit::epochs(1).batch_size(1).verbose(0)));
}

#[divan::bench(args = [0, 1, 10, 100])]
fn called_at_every_hook(bencher: Bencher<'_, '_>, n: usize) {
    let callbacks = (0..n).map(|i| Box::new(Noop(i)) as Box<dyn Callback>);
    thousand_steps(bencher, trainer().callbacks(callbacks));
}

#[divan::bench(args = [10, 100])]
fn called_at_the_end_of_epochs(bencher: Bencher<'_, '_>, n: usize) {
    let stopping = |i| EarlyStopping::new(Monitor::min("loss")).named(format!("stopping {i}"));
    let callbacks = (0..n).map(|i| Box::new(stopping(i)) as Box<dyn Callback>);
    thousand_steps(bencher, trainer().callbacks(callbacks));
}

/// Event files with the loss of every batch.
#[divan::bench]
fn tensor_board_per_batch(bencher: Bencher<'_, '_>) {
    let folder = std::env::temp_dir().join(format!("refrain-loop-tax-{}", std::process::id()));
    let board = TensorBoard::new(&folder).update_freq(UpdateFreq::Batch);
    thousand_steps(bencher, trainer().callback(board));
    // Best effort: it is a temporary folder.
    let _ = std::fs::remove_dir_all(folder);
}
