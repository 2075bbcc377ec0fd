//! The exercise: a step scheduler, a JSON logger and early stopping, alone and together, then the
//! picture drawn from the log. `cargo run --example exercise -- FOLDER`

use std::path::PathBuf;

use refrain::burn::tensor::{Int, Tensor};
use refrain::callbacks::{
    EarlyStopping, JsonTrainingLogger, StepLrScheduler, WarmupCosineScheduler,
};
use refrain::layers::{Dense, Dropout, Flatten};
use refrain::plot::{Figure, Options, TrainingLog};
use refrain::prelude::*;
use refrain::{Activation, AnyTensor, BurnLearner, History};

type Data = ArrayDataset<AnyTensor, Tensor<1, Int>>;
type Model = Trainer<BurnLearner<Sequential, SparseCategoricalCrossentropy>>;

fn main() -> Result {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let data = digits()?;

    println!("Part 1: the scheduler alone");
    let history = test_the_scheduler(&data)?;
    for (epoch, rate) in history.iter().enumerate() {
        println!("  Epoch {epoch}: {rate:.6}");
    }

    println!("Part 2: the logger alone");
    let log_file = folder.join("my_training_log.json");
    let mut trainer = create_simple_model(&data)?.callback(JsonTrainingLogger::new(&log_file));
    trainer.fit(&data, Fit::epochs(5).validation_split(0.2).verbose(0))?;
    println!("Logged {} epochs", trainer.history().len());

    println!("Part 3: all together");
    let log_file = folder.join("experiment_log.json");
    let (history, rates) = train_with_full_pipeline(&data, &log_file)?;
    println!("{} epochs, final rate {:?}", history.len(), rates.last());

    let picture = folder.join("training_from_json.png");
    let log = TrainingLog::read(&log_file).map_err(Error::wrap)?;
    let figure = Figure::training(&log, &Options::default()).map_err(Error::wrap)?;
    figure.write(&picture).map_err(Error::wrap)?;
    println!("Drawn: {}", picture.display());

    println!("Bonus: warm-up, then cosine");
    let schedule = WarmupCosineScheduler { base_lr: 0.1, warmup_epochs: 2, total_epochs: 8 };
    let mut trainer = create_simple_model(&data)?.callback(schedule);
    trainer.fit(&data, Fit::epochs(8).batch_size(128).verbose(0))?;
    for rate in trainer.history().column("learning_rate").into_iter().flatten() {
        println!("  {rate:.6}");
    }
    Ok(())
}

fn digits() -> Result<Data> {
    let digits = refrain::data::digits()?;
    ArrayDataset::new(&digits.shape, digits.pixels)?.labels(digits.labels)
}

fn create_simple_model(data: &Data) -> Result<Model> {
    let model = Sequential::input(data.sample_shape())
        .layer(Flatten::new())
        .layer(Dense::new(128).activation(Activation::Relu))
        .layer(Dropout::new(0.2))
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(42)?;
    let loss = SparseCategoricalCrossentropy::new();
    Ok(Trainer::compile(model, Sgd::new(0.1).momentum(0.9), loss).metric(Accuracy::new()).seed(42))
}

fn test_the_scheduler(data: &Data) -> Result<Vec<f64>> {
    let mut trainer = create_simple_model(data)?.callback(StepLrScheduler::new(0.5, 5));
    trainer.fit(data, Fit::epochs(20).batch_size(128).verbose(0))?;
    let scheduler = trainer.get::<StepLrScheduler>();
    Ok(scheduler.map(|s| s.lr_history().to_vec()).unwrap_or_default())
}

fn train_with_full_pipeline(
    data: &Data,
    log_file: &std::path::Path,
) -> Result<(History, Vec<f64>)> {
    let mut trainer = create_simple_model(data)?
        .callback(StepLrScheduler::new(0.5, 10))
        .callback(JsonTrainingLogger::new(log_file))
        .callback(
            EarlyStopping::new(Monitor::min("val_loss")).patience(5).restore_best_weights(true),
        );
    let history = trainer.fit(data, Fit::epochs(50).batch_size(128).validation_split(0.2))?;
    let scheduler = trainer.get::<StepLrScheduler>();
    let rates = scheduler.map(|s| s.lr_history().to_vec()).unwrap_or_default();
    Ok((history, rates))
}
