//! What a durable checkpoint after every epoch costs: the same run with and without, in turn in one
//! process, and the ratio of the two times; then how long a resume takes until its first batch.
//!
//! `cargo bench -p refrain-bench --bench checkpoint_cost`

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use refrain::burn::tensor::{Int, Tensor};
use refrain::checkpoint::{JournalText, Record};
use refrain::layers::{Dense, Flatten};
use refrain::prelude::*;
use refrain::{Activation, AnyTensor, BurnLearner, ModelAccess as _, Recipe};
use tempfile::TempDir;

type Data = ArrayDataset<AnyTensor, Tensor<1, Int>>;
type Model = Trainer<BurnLearner<Sequential, SparseCategoricalCrossentropy>>;

/// A run, with checkpoints where a folder is given: how long it took, and a hash of its weights.
type Run<'a> = dyn Fn(Option<&Path>) -> Result<(Duration, Vec<u8>)> + 'a;

fn main() -> Result {
    // `cargo test --benches` only wants to see it run.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let recipe = Recipe::builtin(&[])?;
    let digits = recipe.load_data()?;
    let builtin = |folder: Option<&Path>| {
        let outputs = TempDir::new()?;
        let mut trainer = recipe.trainer(&digits)?.console(refrain::console::Console::silent());
        trainer = trainer.callbacks(recipe.callbacks(outputs.path())?);
        if let Some(folder) = folder {
            trainer = trainer.checkpoints(Checkpoints::in_dir(folder));
        }
        let began = Instant::now();
        trainer.fit(&digits, recipe.fit(&digits).verbose(0))?;
        Ok((began.elapsed(), trainer.learner().weights()?.to_safetensors()?))
    };
    compare("the built-in recipe", &builtin, if is_bench { 61 } else { 3 })?;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets/mnist10k");
    if !folder.exists() {
        println!("784-1024-1024-10: skipped, there is no `{}`", folder.display());
        return Ok(());
    }
    if !is_bench {
        // Minutes where nothing is optimised.
        println!("784-1024-1024-10: skipped, it is for `cargo bench`");
        return Ok(());
    }
    let (train, validation) = (mnist(&folder, "train")?, mnist(&folder, "t10k")?);
    let epochs = 4;
    let wide = |folder: Option<&Path>| {
        let mut trainer = wide_model()?;
        if let Some(folder) = folder {
            trainer = trainer.checkpoints(Checkpoints::in_dir(folder));
        }
        let fit = Fit::epochs(epochs).batch_size(128).validation_data(&validation).verbose(0);
        let began = Instant::now();
        trainer.fit(&train, fit)?;
        Ok((began.elapsed(), trainer.learner().weights()?.to_safetensors()?))
    };
    compare("784-1024-1024-10, Adam", &wide, 13)?;
    resume_time(&train, epochs)
}

/// Runs in turn with and without checkpoints.
fn compare(name: &str, run: &Run<'_>, pairs: usize) -> Result {
    let mut ratios = Vec::new();
    let mut means = [0.0; 2];
    let (mut committed, mut epochs) = (0, 0);
    for pair in 0..pairs {
        let folder = TempDir::new()?;
        let with = || run(Some(folder.path()));
        let without = || run(None);
        // In turn first, so that a drift of the machine's speed favours neither.
        let (with, without) = if pair % 2 == 0 {
            let with = with()?;
            (with, without()?)
        } else {
            let without = without()?;
            (with()?, without)
        };
        assert!(with.1 == without.1, "checkpoints must not change the weights");
        let journal = JournalText::parse(&std::fs::read(folder.path().join("journal.jsonl"))?);
        let count =
            |of: fn(&Record) -> bool| journal.entries.iter().filter(|e| of(&e.record)).count();
        // The first pair warms caches and thread pools.
        if pair > 0 {
            committed += count(|record| matches!(record, Record::Checkpoint { .. }));
            epochs += count(|record| matches!(record, Record::Epoch { .. }));
            ratios.push(with.0.as_secs_f64() / without.0.as_secs_f64());
            means[0] += with.0.as_secs_f64() / (pairs - 1) as f64;
            means[1] += without.0.as_secs_f64() / (pairs - 1) as f64;
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: with ÷ without checkpoints: median {:.3}, quartiles {:.3} to {:.3}, {} pairs; \
         means {:.1} and {:.1} ms; {committed} checkpoints in {epochs} epochs; weights bit-equal",
        at(0.5),
        at(0.25),
        at(0.75),
        ratios.len(),
        means[0] * 1e3,
        means[1] * 1e3,
    );
    Ok(())
}

/// Time from `resume` to the first batch, where the model has been built and the data loaded.
fn resume_time(train: &Data, epochs: usize) -> Result {
    let folder = TempDir::new()?;
    let fit = |epochs| Fit::epochs(epochs).batch_size(128).verbose(0);
    let mut first = wide_model()?.checkpoints(Checkpoints::in_dir(folder.path()));
    first.fit(train, fit(epochs))?;
    drop(first);
    let mut times = Vec::new();
    for more in 1..=5 {
        let at: Arc<OnceLock<Instant>> = Arc::default();
        let seen = Arc::clone(&at);
        let stamp = LambdaCallback::new("stamp").on_train_batch_begin(move |_| {
            seen.get_or_init(Instant::now);
            Ok(())
        });
        let checkpoints = Checkpoints::in_dir(folder.path()).accept_changes(true);
        let mut trainer = wide_model()?.callback(stamp).checkpoints(checkpoints);
        let began = Instant::now();
        trainer.resume()?;
        trainer.fit(train, fit(epochs + more))?;
        let first_batch = at.get().ok_or_else(|| Error::msg("no batch was trained"))?;
        times.push(first_batch.duration_since(began).as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "784-1024-1024-10, Adam: resume to first batch: median {:.0} ms, {times:.0?}",
        times[2]
    );
    Ok(())
}

fn wide_model() -> Result<Model> {
    let model = Sequential::input(&[1, 28, 28])
        .layer(Flatten::new())
        .layer(Dense::new(1024).activation(Activation::Relu))
        .layer(Dense::new(1024).activation(Activation::Relu))
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(42)?;
    Ok(Trainer::compile(model, Adam::new(0.001), SparseCategoricalCrossentropy::new()))
}

/// The images and labels of an IDX data set.
fn mnist(folder: &Path, part: &str) -> Result<Data> {
    let read = |kind: &str| -> Result<Vec<u8>> {
        let path: PathBuf = folder.join(format!("{part}-{kind}-ubyte.gz"));
        let mut bytes = Vec::new();
        GzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let pixels = read("images-idx3")?.split_off(16);
    let labels = read("labels-idx1")?.split_off(8);
    let pixels = pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect::<Vec<_>>();
    let labels = labels.into_iter().map(i64::from).collect::<Vec<_>>();
    ArrayDataset::new(&[1, 28, 28], pixels)?.labels(labels)
}
