//! What the loop costs: `fit` with a learner that does nothing, by number of callbacks.
//!
//! `cargo bench -p refrain-bench --bench loop_tax`; each figure is for 1,000 steps, so microseconds there are
//! nanoseconds a step.

use divan::Bencher;
use refrain::testing::Script;
use refrain::{Fit, LambdaCallback, Trainer};

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 1, 10, 100])]
fn thousand_steps_with_noop_callbacks(bencher: Bencher<'_, '_>, n: usize) {
    let script = Script::losses(&[1.0]);
    let data = script.samples(1_000);
    let mut trainer = Trainer::new(script.learner(), 0.1);
    for i in 0..n {
        trainer = trainer.callback(LambdaCallback::new(format!("no-op {i}")));
    }
    bencher.bench_local(|| trainer.fit(&data, Fit::epochs(1).batch_size(1).verbose(0)));
}
