//! Saving a checkpoint takes one copy of the state, and no more: counted in bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use refrain_burn::burn::tensor::{Int, Tensor};
use refrain_burn::layers::{Dense, LayerConfig};
use refrain_burn::{Adam, AnyTensor, ArrayDataset, Sequential, SparseCategoricalCrossentropy};
use refrain_core::checkpoint::{Checkpoints, Every};
use refrain_core::{Fit, ModelAccess as _, Trainer};

struct Counting;

/// Bytes that are allocated now, by all threads, and the most that ever were.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// A counting allocator is the only way to see allocations from outside; it forwards to the
// system's. Tests are not shipped.
#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that a run has at once, and those of weights and optimizer.
fn most(checkpoints: Option<Checkpoints>) -> (usize, usize) {
    let samples = 64;
    let pixels: Vec<f32> = (0..samples * 256).map(|i| (i % 17) as f32).collect();
    let labels: Vec<i64> = (0..samples as i64).map(|i| i % 10).collect();
    let data: ArrayDataset<AnyTensor, Tensor<1, Int>> =
        ArrayDataset::new(&[256], pixels).unwrap().labels(labels).unwrap();
    let layers: Vec<LayerConfig> = vec![Dense::new(2048).into(), Dense::new(10).into()];
    let model = Sequential::input(&[256]).layers(layers).build(1).unwrap();
    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut trainer = Trainer::compile(model, Adam::new(0.001), loss);
    if let Some(checkpoints) = checkpoints {
        trainer = trainer.checkpoints(checkpoints);
    }
    MOST.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    trainer.fit(&data, Fit::epochs(4).batch_size(16).verbose(0)).unwrap();
    let most = MOST.load(Ordering::Relaxed);
    let learner = trainer.learner();
    let tensors = [learner.weights().unwrap(), learner.optimizer_state().unwrap()];
    let state = tensors.iter().flat_map(|part| &part.tensors).map(|tensor| tensor.bytes.len());
    (most, state.sum())
}

#[test]
fn a_save_takes_one_copy_of_the_state() {
    // What the engine allocates once for all.
    most(None);
    let (without, state) = most(None);
    for every in [Every::Epochs(1), Every::Steps(1)] {
        let folder = tempfile::tempdir().unwrap();
        let (with, _) = most(Some(Checkpoints::in_dir(folder.path()).every(every)));
        let more = with.saturating_sub(without);
        let allowed = state + state / 10;
        assert!(more <= allowed, "{more} bytes more for a state of {state} ({every:?})");
    }
}
