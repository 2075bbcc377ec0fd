//! On the real engine: a run goes on from every batch to the same bits, whatever the optimizer and
//! the callbacks; and taking a checkpoint changes nothing.
//!
//! One run takes a checkpoint after every batch. From each of them a second one goes on, in a folder
//! that has the log files of the first as they were at its end: what comes after the checkpoint is
//! superseded there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use refrain::burn::module::Module;
use refrain::burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use refrain::burn::tensor::activation::relu;
use refrain::burn::tensor::{Device, Int, Tensor};
use refrain::callbacks::{
    EarlyStopping, GradientAccumulation, JsonTrainingLogger, ReduceLrOnPlateau,
    StochasticWeightAveraging, SwapEmaWeights, TerminateOnNan,
};
use refrain::checkpoint::{Checkpoints, Every, SaveHandle};
use refrain::console::Console;
use refrain::layers::{BatchNormalization, Dense, Dropout as DropoutLayer};
use refrain::options::Document;
use refrain::plot::{LrFinder, TrainingPlot};
use refrain::prelude::*;
use refrain::schedule::OneCycle;
use refrain::{
    Activation, Adadelta, Adafactor, Adagrad, AdamW, Adamax, Auc, Batch, BuildContext, BurnLearner,
    FromArray, Ftrl, Group, History, Lamb, Learner, Lion, LossScale, Muon, Nadam, ParameterGroups,
    Recipe, Registry, RmsProp, ScheduleFreeAdamW, StopHandle,
};

const FEATURES: usize = 6;
const EPOCHS: usize = 6;
const BATCHES: usize = 10;
const BATCH_SIZE: usize = 4;

/// Noise, and the class in the first three of six.
fn data<I>(samples: usize, seed: usize) -> ArrayDataset<I, Tensor<1, Int>> {
    let noise = |i: usize| ((i * 13 + seed) % 29) as f32 / 29.0;
    let class = |i: usize| if i % 6 == (i / 6) % 3 { 1.0 } else { 0.0 };
    let inputs = (0..samples * FEATURES).map(|i| noise(i) + class(i)).collect();
    let labels = (0..samples as i64).map(|i| i % 3);
    ArrayDataset::new(&[FEATURES], inputs).unwrap().labels(labels).unwrap()
}

fn network() -> Sequential {
    Sequential::input(&[FEATURES])
        .layer(Dense::new(8).activation(Activation::Relu))
        .layer(DropoutLayer::new(0.3))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(7)
        .unwrap()
}

/// A folder in memory where there is one: these runs sync some ten thousand files.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Asks for a checkpoint after every batch, or stops after so many.
struct AfterBatches {
    save: Option<SaveHandle>,
    stop: Option<(usize, StopHandle)>,
}

impl Callback for AfterBatches {
    fn on_train_batch_end(&mut self, _: &mut Run<'_>, _: &BatchEnd) -> Result {
        if let Some(save) = &self.save {
            save.save();
        }
        if let Some((left, stop)) = &mut self.stop {
            *left = left.saturating_sub(1);
            if *left == 0 {
                stop.stop();
            }
        }
        Ok(())
    }
}

/// Burn's own dropout takes random numbers of the process, which every step of every run seeds.
static ALONE: Mutex<()> = Mutex::new(());

/// A trainer by its callbacks' folder.
type Make<'a, L> = &'a dyn Fn(&Path) -> Trainer<L>;

/// Whether checkpoints are taken, and how the run ends.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    NoCheckpoints,
    AfterEveryBatch,
    GoOn,
    GoOnAndStop(usize),
}

fn run<I, L>(make: Make<'_, L>, folder: &Path, mode: Mode) -> Vec<(String, String)>
where
    I: FromArray,
    L: Learner<Batch = Batch<I, Tensor<1, Int>>>,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trainer = make(&folder.join("out")).seed(3).console(Console::silent());
    let mut after = AfterBatches { save: None, stop: None };
    if mode != Mode::NoCheckpoints {
        // What describes the run is said here: the callback that asks is not in every one.
        let checkpoints =
            Checkpoints::in_dir(folder).every(Every::Epochs(1)).keep(1000).describe("run", "same");
        trainer = trainer.checkpoints(checkpoints);
    }
    match mode {
        Mode::NoCheckpoints | Mode::GoOn => {}
        Mode::AfterEveryBatch => after.save = Some(trainer.save_handle()),
        Mode::GoOnAndStop(batches) => after.stop = Some((batches, trainer.stop_handle())),
    }
    if matches!(mode, Mode::GoOn | Mode::GoOnAndStop(_)) {
        trainer.resume().unwrap();
    }
    let mut trainer = trainer.callback(after);
    let (training, validation) = (data::<I>(BATCHES * BATCH_SIZE, 0), data::<I>(10, 5));
    let fit = Fit::epochs(EPOCHS).batch_size(BATCH_SIZE).validation_data(&validation).verbose(0);
    let history = trainer.fit(&training, fit).unwrap();
    left(&trainer, &history, &folder.join("out"))
}

/// Measured in every run anew.
const MEASURED: [&str; 6] = [
    "samples_per_second",
    "steps_per_second",
    "seconds",
    "cpu_percent",
    "memory_mib",
    "peak_memory_mib",
];

/// Weights, optimizer, sums, rate, history, ending and files.
fn left<L: Learner>(trainer: &Trainer<L>, history: &History, out: &Path) -> Vec<(String, String)> {
    let learner = trainer.learner();
    let mut left = vec![
        ("weights".to_owned(), format!("{:?}", learner.weights().unwrap())),
        ("optimizer".to_owned(), format!("{:?}", learner.optimizer_state().unwrap())),
        ("step state".to_owned(), format!("{:?}", learner.step_state().unwrap())),
        ("rate".to_owned(), format!("{:?}", trainer.learning_rate())),
        ("ending".to_owned(), format!("{:?}", history.ending)),
        ("disabled".to_owned(), format!("{:?}", trainer.disabled().count())),
    ];
    for (epoch, logs) in history.iter() {
        let logs = logs.iter().map(|(name, value)| {
            let value = if MEASURED.contains(&name) { 0 } else { value.to_bits() };
            format!("{name}: {value:x}")
        });
        left.push((format!("epoch {epoch}"), logs.collect::<Vec<String>>().join(", ")));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    if let Ok(entries) = fs::read_dir(out) {
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let text = if name.ends_with("log.json") {
            let mut log: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
            for entry in &mut log {
                entry.as_object_mut().unwrap().remove("timestamp");
            }
            format!("{log:?}")
        } else {
            format!("{bytes:?}")
        };
        left.push((name, text));
    }
    left
}

fn assert_same(left: &[(String, String)], expected: &[(String, String)], what: &str) {
    for ((name, found), (_, expected)) in left.iter().zip(expected) {
        assert!(found == expected, "{what}: {name} is\n{found}\ninstead of\n{expected}");
    }
    let names = |all: &[(String, String)]| -> Vec<String> {
        all.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(left), names(expected), "{what}");
}

/// Taking checkpoints changes nothing, and a run goes on from every `stride`-th of them, also in
/// chains of three.
fn goes_on<I, L>(name: &str, stride: usize, make: Make<'_, L>)
where
    I: FromArray,
    L: Learner<Batch = Batch<I, Tensor<1, Int>>>,
{
    let plain = folder();
    let expected = run(make, plain.path(), Mode::NoCheckpoints);
    let whole = folder();
    let with_checkpoints = run(make, whole.path(), Mode::AfterEveryBatch);
    assert_same(&with_checkpoints, &expected, &format!("{name}, a checkpoint after every batch"));

    let mut checkpoints: Vec<PathBuf> = fs::read_dir(whole.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    checkpoints.sort();
    // After every batch and every epoch.
    assert!(checkpoints.len() > BATCHES, "{name}: {}", checkpoints.len());
    for (i, checkpoint) in checkpoints.iter().enumerate().step_by(stride) {
        let cut = folder();
        let number = checkpoint.file_name().unwrap();
        copy(checkpoint, &cut.path().join("checkpoints").join(number));
        fs::copy(whole.path().join("journal.jsonl"), cut.path().join("journal.jsonl")).unwrap();
        if whole.path().join("out").is_dir() {
            copy(&whole.path().join("out"), &cut.path().join("out"));
        }
        if i % 3 == 0 {
            for batches in [1, 1 + i % 7] {
                run(make, cut.path(), Mode::GoOnAndStop(batches));
            }
        }
        let left = run(make, cut.path(), Mode::GoOn);
        assert_same(&left, &expected, &format!("{name}, from checkpoint {number:?}"));
    }
}

type NetLearner = BurnLearner<Sequential, SparseCategoricalCrossentropy>;
type MakeTrainer = fn() -> Trainer<NetLearner>;

fn compile<O>(optimizer: O) -> Trainer<NetLearner>
where
    O: refrain::IntoLearner<Sequential, SparseCategoricalCrossentropy, Learner = NetLearner>,
{
    Trainer::compile(network(), optimizer, SparseCategoricalCrossentropy::new())
        .metric(Accuracy::new())
        .metric(Auc::new().num_thresholds(10))
}

/// The optimizers with all that they can remember, and a schedule that sets the momentum.
fn optimizers() -> Vec<(&'static str, MakeTrainer)> {
    fn one_cycle() -> OneCycle {
        OneCycle::new(0.2, (EPOCHS * BATCHES) as f64)
    }
    vec![
        ("sgd", || compile(Sgd::new(0.1))),
        ("momentum", || compile(Sgd::new(0.1).momentum(0.9))),
        ("nesterov", || compile(Sgd::new(0.1).momentum(0.9).nesterov(true))),
        ("adam", || compile(Adam::new(0.01))),
        ("adam with amsgrad", || compile(Adam::new(0.01).amsgrad(true))),
        ("adamw", || compile(AdamW::new(0.01).global_clipnorm(1.0))),
        ("rmsprop", || compile(RmsProp::new(0.01).centered(true).momentum(0.9))),
        ("nadam", || compile(Nadam::new(0.01))),
        ("adagrad", || compile(Adagrad::new(0.1))),
        ("adamax", || compile(Adamax::new(0.01))),
        ("adadelta", || compile(Adadelta::new(1.0))),
        ("lion", || compile(Lion::new(0.01).clipvalue(0.1))),
        ("ftrl", || compile(Ftrl::new(0.1).l1_regularization_strength(1e-3))),
        ("lamb", || compile(Lamb::new(0.01).weight_decay(0.01))),
        ("adafactor", || compile(Adafactor::new(0.1))),
        ("muon", || compile(Muon::new(0.01).exclude_layers(["dense_1"]))),
        ("schedule_free_adamw", || compile(ScheduleFreeAdamW::new(0.01).warmup_steps(7))),
        ("averages", || compile(Sgd::new(0.1).use_ema(0.9).ema_overwrite_frequency(7))),
        ("a loss scale", || {
            let scale = LossScale::dynamic().dynamic_growth_steps(3);
            compile(Sgd::new(0.1).momentum(0.9).loss_scale(scale))
        }),
        ("groups", || {
            let last = Group::new(["dense_1"], Adam::new(0.01).use_ema(0.5));
            let biases = Group::new(["*.bias"], Sgd::default()).learning_rate_scale(2.0);
            compile(ParameterGroups::new(Sgd::new(0.1).momentum(0.9)).group(last).group(biases))
        }),
        ("sgd in one cycle", || compile(Sgd::new(one_cycle()).momentum(0.9))),
        ("adam in one cycle", || compile(Adam::new(one_cycle()))),
    ]
}

/// What decides how a run goes, with the optimizer and the loss that are given.
fn described(optimizer: &str, loss: &str) -> Vec<(String, String)> {
    let changes = [
        format!("compile.optimizer={optimizer}"),
        format!("compile.loss={loss}"),
        "compile.metrics=[]".to_owned(),
    ];
    let recipe = Recipe::builtin(&changes).unwrap();
    let checkpoints = recipe.checkpoints("runs/a".as_ref(), &recipe.load_data().unwrap()).unwrap();
    let described = checkpoints.described();
    described.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn a_default_that_is_written_out_is_no_change() {
    for (name, written) in [
        ("sgd", "learning_rate = 0.01, momentum = 0.0, nesterov = false"),
        ("adam", "learning_rate = 0.001, beta_1 = 0.9, amsgrad = false"),
        ("adamw", "weight_decay = 0.004, epsilon = 1e-7"),
        ("rmsprop", "rho = 0.9, momentum = 0, epsilon = 1e-7, centered = false"),
        ("nadam", "beta_1 = 0.9, beta_2 = 0.999"),
        ("adagrad", "initial_accumulator_value = 0.1, epsilon = 1e-7"),
        ("adamax", "beta_1 = 0.9, beta_2 = 0.999"),
        ("adadelta", "learning_rate = 0.001, rho = 0.95"),
        ("lion", "beta_1 = 0.9, beta_2 = 0.99"),
        ("ftrl", "learning_rate_power = -0.5, beta = 0, l1_regularization_strength = 0"),
        ("lamb", "beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-7"),
        ("adafactor", "beta_2_decay = -0.8, relative_step = true, use_ema = false"),
        ("muon", "momentum = 0.95, nesterov = true, exclude_layers = []"),
        ("schedule_free_adamw", "learning_rate = 0.0025, warmup_steps = 0"),
    ] {
        let written = format!("{{ type = \"{name}\", {written} }}");
        assert_eq!(described(name, "mse"), described(&written, "mse"), "{name}");
        let decayed = written.replace(" }", ", weight_decay = 0.5, clipnorm = 2.0 }");
        if !["adamw", "muon"].contains(&name) {
            assert_ne!(described(name, "mse"), described(&decayed, "mse"), "{name}");
        }
    }
    for (name, written) in [
        ("huber", "delta = 1.0"),
        ("categorical_crossentropy", "label_smoothing = 0.0, from_logits = false"),
        ("binary_focal_crossentropy", "alpha = 0.25, gamma = 2, apply_class_balancing = false"),
        ("categorical_focal_crossentropy", "alpha = 0.25, from_logits = false"),
        ("tversky", "alpha = 0.5, beta = 0.5, per_sample = false"),
        ("circle", "gamma = 80, margin = 0.4, remove_diagonal = true"),
    ] {
        let written = format!("{{ type = \"{name}\", {written} }}");
        assert_eq!(described("sgd", name), described("sgd", &written), "{name}");
    }
}

#[test]
fn options_of_metrics_are_part_of_what_describes_a_run() {
    let described = |metric: &str| {
        let recipe = Recipe::builtin(&[format!("compile.metrics=[{metric}]")]).unwrap();
        let data = recipe.load_data().unwrap();
        let checkpoints = recipe.checkpoints("runs/a".as_ref(), &data).unwrap();
        let described = checkpoints.described();
        described.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
    };
    for (name, same, other) in [
        ("auc", "curve = \"ROC\", num_thresholds = 200", "curve = \"PR\""),
        ("f1_score", "average = \"macro\"", "average = \"micro\""),
        ("precision", "", "thresholds = 0.25"),
        ("huber", "delta = 1.0", "delta = 2.0"),
        ("top_k_categorical_accuracy", "k = 5", "k = 3"),
        ("r2_score", "class_aggregation = \"uniform_average\"", "name = \"r2\""),
        ("mean_io_u", "", "target_class_ids = [0]"),
    ] {
        let table = |options: &str| {
            let comma = if options.is_empty() { "" } else { ", " };
            described(&format!("{{ type = \"{name}\"{comma}{options} }}"))
        };
        let plain = described(&format!("\"{name}\""));
        assert_eq!(plain, table(same), "{name}");
        assert_ne!(plain, table(other), "{name}");
    }
}

#[test]
fn every_optimizer_goes_on_from_every_batch() {
    for (name, make) in optimizers() {
        goes_on(name, 1, &|out| {
            make()
                .callback(SwapEmaWeights::new().ema_momentum(0.9))
                .callback(
                    EarlyStopping::new(Monitor::min("val_loss"))
                        .patience(9)
                        .restore_best_weights(true),
                )
                .callback(JsonTrainingLogger::new(out.join("log.json")).verbose(false))
        });
        goes_on(&format!("{name}, accumulating"), 1, &|_| {
            make().callback(GradientAccumulation::new(3))
        });
    }
}

/// Each callback that a recipe can name, from the example in its `FromOptions`.
fn each_registered(check: impl Fn(&str, &dyn Fn(&Path) -> Box<dyn Callback>)) {
    let registry = Registry::builtin();
    // Its server is not there; the trial of rates has a test of its own.
    let names = registry.callbacks.names();
    for name in names.filter(|name| !["remote_monitor", "lr_finder"].contains(name)) {
        let example = registry.callbacks.example(name).unwrap_or_default();
        let table: toml::Table = format!("type = {name:?}\n{example}").parse().unwrap();
        let document = Document::from_json(name, &serde_json::to_value(table).unwrap());
        check(name, &|folder| {
            let context = BuildContext { folder };
            registry.callbacks.build(&document.value(), 0, &context).unwrap()
        });
    }
}

/// Every batch in the long form, with `REFRAIN_LONG`; else every seventh, and each optimizer another.
fn stride() -> usize {
    if std::env::var_os("REFRAIN_LONG").is_some() { 1 } else { 7 }
}

#[test]
fn every_callback_goes_on_with_every_optimizer() {
    each_registered(|name, build| {
        for (optimizer, make) in optimizers().into_iter().take(4) {
            goes_on(&format!("{name}, {optimizer}"), stride(), &|out| {
                make().callbacks([build(out)])
            });
        }
    });
}

/// As a user writes one: with running statistics, and dropout by the device's random numbers.
#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    output: Linear,
}

impl Net {
    fn new() -> Self {
        let device = Device::flex();
        device.seed(11);
        Self {
            hidden: LinearConfig::new(FEATURES, 8).init(&device),
            norm: BatchNormConfig::new(8).init(&device),
            dropout: DropoutConfig::new(0.3).init(),
            output: LinearConfig::new(8, 3).init(&device),
        }
    }
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let x = relu(self.norm.forward(self.hidden.forward(input)));
        self.output.forward(self.dropout.forward(x))
    }
}

#[test]
fn a_users_module_goes_on_with_its_running_statistics_and_dropout() {
    let compile = || {
        let loss = SparseCategoricalCrossentropy::new().from_logits(true);
        Trainer::compile(Net::new(), Adam::new(0.01), loss)
    };
    goes_on("a module", 1, &|out| {
        compile()
            .callback(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1))
            .callback(JsonTrainingLogger::new(out.join("log.json")).verbose(false))
    });
    goes_on("a module, accumulating and averaged", 1, &|_| {
        compile()
            .callback(GradientAccumulation::new(4))
            .callback(SwapEmaWeights::new().ema_momentum(0.9).swap_on_epoch(true))
            .callback(StochasticWeightAveraging::new().start_epoch(2))
    });
}

#[test]
fn a_layer_goes_on_with_its_moving_statistics() {
    let compile = || {
        let network = Sequential::input(&[FEATURES])
            .layer(Dense::new(8).activation(Activation::Relu))
            .layer(BatchNormalization::new().momentum(0.9))
            .layer(Dense::new(3).activation(Activation::Softmax))
            .build(7)
            .unwrap();
        Trainer::compile(network, Adam::new(0.01), SparseCategoricalCrossentropy::new())
    };
    goes_on("batch normalization", 3, &|_| {
        compile()
            .callback(GradientAccumulation::new(3))
            .callback(SwapEmaWeights::new().ema_momentum(0.9).swap_on_epoch(true))
    });
}

#[test]
fn the_trial_of_rates_is_made_once_and_the_picture_is_the_same() {
    let make = |out: &Path| {
        let finder =
            LrFinder::new().steps(20).file(out.join("rates.json")).picture(out.join("rates.svg"));
        compile(Sgd::new(0.1).momentum(0.9))
            .callback(finder)
            .callback(TrainingPlot::new(out.join("training.png")))
            .callback(JsonTrainingLogger::new(out.join("log.json")).verbose(false))
    };
    goes_on("a trial", 5, &make);

    let cut = folder();
    run(&make, cut.path(), Mode::GoOnAndStop(13));
    let rates = cut.path().join("out/rates.json");
    fs::remove_file(&rates).unwrap();
    run(&make, cut.path(), Mode::GoOn);
    assert!(!rates.exists(), "a second trial was made");
}

/// A checkpoint of the beginning comes after the trial and before its report: not a second one either.
#[test]
fn the_trial_of_rates_is_not_made_again_from_the_beginning() {
    let make = |out: &Path| {
        let finder =
            LrFinder::new().steps(20).file(out.join("rates.json")).picture(out.join("rates.svg"));
        compile(Sgd::new(0.1)).callback(TerminateOnNan::new().rollbacks(1)).callback(finder)
    };
    let whole = folder();
    let expected = run(&make, whole.path(), Mode::AfterEveryBatch);
    let cut = folder();
    let first = "checkpoints/000001";
    copy(&whole.path().join(first), &cut.path().join(first));
    fs::copy(whole.path().join("journal.jsonl"), cut.path().join("journal.jsonl")).unwrap();
    let left = run(&make, cut.path(), Mode::GoOn);
    assert_same(&left, &expected, "from the beginning");
}

/// A rate that is far too high: the run goes back until it is not, and does so again wherever it is
/// gone on with.
#[test]
fn a_run_that_diverges_goes_back_and_on_with_a_lower_rate() {
    let make = |out: &Path| {
        compile(Sgd::new(1e30).momentum(0.9))
            .callback(TerminateOnNan::new().rollbacks(3).factor(1e-16))
            .callback(JsonTrainingLogger::new(out.join("log.json")).verbose(false))
    };
    let whole = folder();
    let left = run(&make, whole.path(), Mode::AfterEveryBatch);
    let ending = &left.iter().find(|(name, _)| name == "ending").unwrap().1;
    assert!(ending.contains("Completed"), "{ending}");
    let journal = fs::read_to_string(whole.path().join("journal.jsonl")).unwrap();
    assert!(journal.contains(r#""type":"rollback","by":"terminate_on_nan""#), "{journal}");
    let log = fs::read_to_string(whole.path().join("out/log.json")).unwrap();
    assert!(log.contains(r#""learning_rate_factors":{"base":1e+30,"terminate_on_nan":"#), "{log}");

    for batches in 1..=EPOCHS * BATCHES {
        let cut = folder();
        run(&make, cut.path(), Mode::GoOnAndStop(batches));
        let again = run(&make, cut.path(), Mode::GoOn);
        assert_same(&again, &left, &format!("diverging, stopped after {batches} batches"));
    }
}

/// A recipe whose callback goes back to checkpoints has some, unless it says that it has none.
#[test]
fn a_recipe_that_goes_back_is_checked_for_checkpoints() {
    let registry = Arc::new(Registry::builtin());
    let folder = folder();
    let path = folder.path().join("recipe.toml");
    let check = |checkpoint: &str| {
        let callback = "[[callbacks]]\ntype = \"terminate_on_nan\"\nrollbacks = 2\nfactor = 0.1\n";
        fs::write(&path, format!("{}\n{checkpoint}\n{callback}", Recipe::BUILTIN)).unwrap();
        let recipe = Recipe::load_with(&registry, &path, &[]).unwrap();
        recipe.check(&recipe.load_data().unwrap(), folder.path()).unwrap()
    };
    assert!(!check("").has_errors());
    assert!(!check("[checkpoint]\nevery_steps = 5").has_errors());
    let refused = check("[checkpoint]\nevery_epochs = 0");
    let (finding, text) = refused.findings().next().unwrap();
    assert_eq!((finding.code, finding.option), ("no-checkpoints", Some("rollbacks")));
    assert!(text.contains("recipe.toml, line "), "{text}");
    assert!(text.contains("turn checkpoints on (in a recipe: [checkpoint])"), "{text}");
}
