//! The loop allocates nothing per step: counted, not timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use refrain_core::callbacks::{EarlyStopping, StepLrScheduler};
use refrain_core::testing::Script;
use refrain_core::{
    Callback, CallbackExt as _, Event, Fit, LambdaCallback, Monitor, OnFailure, Result, Run,
    Trainer,
};

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness allocates on its own when it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// A counting allocator is the only way to see allocations from outside; it forwards to the
// system's and adds one. Tests are not shipped.
#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Nothing to count in a thread that is ending.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a run of `steps` steps with these callbacks.
fn allocations(callbacks: Vec<Box<dyn Callback>>, steps: usize) -> u64 {
    let script = Script::losses(&[1.0]);
    let mut trainer = Trainer::new(script.learner(), 0.1).callbacks(callbacks);
    let data = script.samples(steps);
    let before = ALLOCATIONS.get();
    trainer.fit(&data, Fit::epochs(1).batch_size(1).verbose(0)).unwrap();
    ALLOCATIONS.get() - before
}

/// Sees every event, and does nothing.
struct Idle(usize);

impl Callback for Idle {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        format!("idle {}", self.0).into()
    }
    fn on_event(&mut self, _: &mut Run<'_>, _: &mut Event<'_>) -> Result {
        Ok(())
    }
}

fn boxed(callback: impl Callback) -> Box<dyn Callback> {
    Box::new(callback)
}

fn idle(n: usize) -> Vec<Box<dyn Callback>> {
    (0..n).map(|i| boxed(Idle(i))).collect()
}

/// Ten callbacks that act per epoch, as a run has them.
fn per_epoch() -> Vec<Box<dyn Callback>> {
    let stopping = || EarlyStopping::new(Monitor::min("loss")).patience(3);
    let scheduler = || StepLrScheduler::new(0.5, 10).verbose(false);
    let five = |i: usize| {
        let gap = LambdaCallback::new(format!("gap {i}")).on_epoch_end(|_, _| Ok(()));
        [boxed(stopping().named(format!("stop {i}"))), boxed(gap)]
    };
    let mut all: Vec<Box<dyn Callback>> = (0..4).flat_map(five).collect();
    all.push(boxed(scheduler()));
    all.push(boxed(scheduler().named("another")));
    all
}

/// Wrapped callbacks, nested too, that see every batch or pass it over.
fn wrapped() -> Vec<Box<dyn Callback>> {
    let idle = Idle;
    vec![
        boxed(idle(0).every(1)),
        boxed(idle(1).every(2)),
        boxed(idle(2).after(0)),
        boxed(idle(3).once()),
        boxed(idle(4).when(|run| run.progress.step.is_multiple_of(2))),
        boxed(idle(5).every_steps(3)),
        boxed(idle(6).every_seconds(1e-9)),
        boxed(idle(7).named("named").on_failure(OnFailure::Disable)),
        boxed(idle(8).every_steps(2).once().after(0).when(|_| true).every(1).named("nested")),
        boxed(boxed(idle(9).every_seconds(1e4)).once()),
    ]
}

#[test]
fn a_step_allocates_nothing() {
    type Make = Box<dyn Fn() -> Vec<Box<dyn Callback>>>;
    let mut cases: Vec<(String, Make)> = Vec::new();
    for n in [0, 1, 10, 100] {
        cases.push((format!("{n} that do nothing"), Box::new(move || idle(n))));
    }
    cases.push(("ten that act per epoch".to_owned(), Box::new(per_epoch)));
    cases.push(("ten in wrappers".to_owned(), Box::new(wrapped)));
    for (what, make) in cases {
        // What a run allocates at its beginning and end does not depend on its length.
        assert_eq!(allocations(make(), 10_000), allocations(make(), 10), "{what}");
    }
}
