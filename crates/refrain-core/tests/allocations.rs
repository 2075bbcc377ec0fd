//! The loop allocates nothing per step: counted, not timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use refrain_core::testing::Script;
use refrain_core::{Fit, LambdaCallback, Trainer};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// A counting allocator is the only way to see allocations from outside; it forwards to the
// system's and adds one. Tests are not shipped.
#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a run of `steps` steps with `n` callbacks.
fn allocations(n: usize, steps: usize) -> u64 {
    let script = Script::losses(&[1.0]);
    let mut trainer = Trainer::new(script.learner(), 0.1);
    for i in 0..n {
        trainer = trainer.callback(LambdaCallback::new(format!("no-op {i}")));
    }
    let data = script.samples(steps);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    trainer.fit(&data, Fit::epochs(1).batch_size(1).verbose(0)).unwrap();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_step_allocates_nothing() {
    for n in [0, 1, 10, 100] {
        // What a run allocates at its beginning and end does not depend on its length.
        assert_eq!(allocations(n, 10_000), allocations(n, 10), "{n} callbacks");
    }
}
