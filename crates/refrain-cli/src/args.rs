//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use refrain::DataPart;

/// Trains models from recipes: the experience of Keras' compile, fit and callbacks.
#[derive(Parser)]
#[command(name = "refrain", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Trains a recipe; without one, the built-in recipe on handwritten digits
    Train(TrainArgs),
    /// Draws a JSON log
    Plot(PlotArgs),
    /// Looks at a recipe before training: who acts where, and what is odd
    Check(CheckArgs),
    /// Shows the learning rate over the epochs, before any training
    Preview(PreviewArgs),
    /// Runs a recipe's callbacks over a recorded log: what would they have done?
    Replay(ReplayArgs),
    /// Loss and metrics of a run's weights
    Evaluate(EvaluateArgs),
    /// A run's model on new inputs: CSV, NPY or NPZ
    Predict(PredictArgs),
    /// Layers, shapes, parameters, and what training needs of memory
    Summary(SummaryArgs),
    /// Prints the built-in recipe, to start your own from
    Recipe,
    /// Reads every byte of a run's checkpoints, journal and files, and says what it found
    Verify(VerifyArgs),
    /// Lists runs: state, epoch, best value, age, size
    Runs(RunsArgs),
}

#[derive(clap::Args)]
#[command(after_help = TrainArgs::EXIT)]
pub(crate) struct TrainArgs {
    /// The recipe, a TOML file; without it, the built-in one (`refrain recipe` prints it)
    pub(crate) recipe: Option<PathBuf>,
    /// Where the run's files go [default: runs/NAME, or runs/NAME-2, -3, .. where that exists]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Goes on with the run in --dir, from its newest checkpoint; without --dir, with the newest
    /// unfinished run of the recipe's name. Without RECIPE, with the run's own
    #[arg(long)]
    pub(crate) resume: bool,
    /// Replaces the run that the folder holds
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Resumes although the recipe has changed; without --resume there is nothing to accept
    #[arg(long)]
    pub(crate) accept_changes: bool,
    /// Changes a value of the recipe, for example fit.epochs=3 or callbacks.2.patience=10
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where to compute: cpu, or what was compiled in with the feature of its name, as cuda or cuda:1
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// 0 warnings and errors alone, 1 a live bar on a terminal, else a line per epoch, 2 a line per epoch
    #[arg(long, value_name = "0|1|2", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) verbose: u8,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl TrainArgs {
    const EXIT: &str = "Exit status: 0 finished (early stop included), 1 failed, 2 wrong usage or \
                        recipe, 130, 143 or 129 interrupted by SIGINT, SIGTERM or SIGHUP, after \
                        saving.\n\nSignals: the first SIGINT (Ctrl-C), SIGTERM or SIGHUP finishes \
                        the batch, saves and ends the run; a second one ends it at once. SIGUSR1 \
                        saves, and the run goes on. SIGHUP does nothing where the command was \
                        started to ignore it, as by `nohup`.";
}

#[derive(clap::Args)]
#[command(after_help = EvaluateArgs::EXIT)]
pub(crate) struct EvaluateArgs {
    /// The run's folder: its recipe and its final weights are used; where it has none yet, those of
    /// its newest checkpoint. Nothing in it is changed
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// On which part of the recipe's data
    #[arg(long, value_name = "PART", default_value = "validation",
          value_parser = PossibleValuesParser::new(DataPart::NAMES))]
    pub(crate) data: String,
    /// Samples at once [default: as many as in the run, which gives its val_* to the bit]
    #[arg(long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Evaluates although the data is not what the run was trained on
    #[arg(long)]
    pub(crate) accept_changes: bool,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl EvaluateArgs {
    const EXIT: &str = "Prints one JSON object: {\"loss\": .., \"accuracy\": ..}. Exit status: 0 \
                        finished, 1 failed, 2 wrong usage, no run, or other data than the run's.";
}

#[derive(clap::Args)]
#[command(after_help = PredictArgs::EXIT)]
pub(crate) struct PredictArgs {
    /// The run's folder: its recipe and its final weights are used; where it has none yet, those of
    /// its newest checkpoint. Nothing in it is changed, and the training data is not needed
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The inputs. CSV: the columns of the training data, with or without the targets; NPY, NPZ: an
    /// array with the samples along its first axis
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Samples at once [default: as many as in the run]
    #[arg(long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl PredictArgs {
    const EXIT: &str = "Prints one JSON array of outputs for each row of the input. Exit status: 0 \
                        finished, 1 failed, 2 wrong usage or no run.";
}

/// A number of samples.
fn batch_size(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 40;
    let size = text.parse().ok().filter(|size| (1..=MOST).contains(size));
    size.ok_or_else(|| format!("allowed: 1 to {MOST}"))
}

#[derive(clap::Args)]
pub(crate) struct SummaryArgs {
    /// The recipe, a TOML file; without it, the built-in one
    pub(crate) recipe: Option<PathBuf>,
    /// The run whose recipe it is
    #[arg(long, value_name = "DIR", conflicts_with = "recipe")]
    pub(crate) dir: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Changes a value of the recipe, for example model.layers.1.units=256
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(clap::Args)]
#[command(after_help = VerifyArgs::EXIT)]
pub(crate) struct VerifyArgs {
    /// The run's folder; nothing in it is changed, and it may be training
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl VerifyArgs {
    const EXIT: &str =
        "Exit status: 0 all is well, 1 something is damaged, 2 wrong usage, or no run.";
}

#[derive(clap::Args)]
pub(crate) struct RunsArgs {
    /// A folder of runs, or a run [default: runs]
    pub(crate) dir: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct PlotArgs {
    /// The log, a JSON array of objects with `epoch`
    pub(crate) log: PathBuf,
    /// The picture, .png or .svg [default: training_from_json.png beside the log]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What to draw, for example loss,val_loss [default: everything]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) metrics: Option<Vec<String>>,
}

#[derive(clap::Args)]
#[command(after_help = CheckArgs::EXIT)]
pub(crate) struct CheckArgs {
    /// The recipe, a TOML file; without it, the built-in one
    pub(crate) recipe: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Changes a value of the recipe, for example fit.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl CheckArgs {
    const EXIT: &str = "Exit status: 0 training would begin, 1 a finding is an error, 2 wrong \
                        usage, or a recipe that cannot be read.";
}

#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    /// The recipe, a TOML file; without it, the built-in one
    pub(crate) recipe: Option<PathBuf>,
    /// The log, a JSON array of objects with `epoch`
    #[arg(long, value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// Changes a value of the recipe, for example callbacks.2.patience=10
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct PreviewArgs {
    /// The recipe, a TOML file; without it, the built-in one
    pub(crate) recipe: Option<PathBuf>,
    /// A JSON log whose metrics callbacks such as reduce_lr_on_plateau see
    #[arg(long, value_name = "LOG")]
    pub(crate) log: Option<PathBuf>,
    /// Draws the rates into a picture, .png or .svg
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Prints a JSON array of rates
    #[arg(long)]
    pub(crate) json: bool,
    /// One rate per optimizer step instead of one per epoch
    #[arg(long)]
    pub(crate) steps: bool,
    /// Changes a value of the recipe, for example fit.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}
