//! The recipes that are tortured: variants of the built-in one, on the same data.

/// A recipe under a name.
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) recipe: String,
}

const SGD: &str = "{ type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }";
const ADAM: &str = "{ type = \"adam\", learning_rate = 0.005 }";

/// What the built-in recipe has, but for `early_stopping`.
const BUILTIN: &str = "step_lr_scheduler, factor = 0.5, step_epochs = 3
json_training_logger, log_file = \"experiment_log.json\"
training_plot, file = \"training_from_json.png\"";
const LOGS: &str = "csv_logger, filename = \"log.csv\"
json_training_logger, log_file = \"experiment_log.json\"";
const STOP: &str = "early_stopping, monitor = \"val_loss\", patience = 1, min_delta = 0.05, \
                    restore_best_weights = true";
const PLATEAU: &str = "reduce_lr_on_plateau, monitor = \"val_loss\", factor = 0.5, patience = 1, \
                       min_delta = 0.05, cooldown = 1";
const BEST: &str = "model_checkpoint, filepath = \"best.safetensors\", monitor = \"val_loss\", \
                    save_best_only = true";
const EACH: &str = "model_checkpoint, filepath = \"weights/{epoch:02d}.safetensors\", keep = 2";
const EMA: &str = "swap_ema_weights, ema_momentum = 0.9, ema_overwrite_frequency = 10";
const SWAP: &str = "swap_ema_weights, ema_momentum = 0.9, swap_on_epoch = true";
const SWA: &str = "stochastic_weight_averaging, start_epoch = 3, swa_lr = 0.02";
const BOARD: &str = "tensor_board, log_dir = \"board\", histogram_freq = 1";
const ACCUMULATE: &str = "gradient_accumulation, steps = 5";

/// One run of each optimizer with each callback that has a state, with checkpoints after epochs and
/// after steps, and with several of them together.
pub(super) fn all() -> Vec<Variant> {
    let variant = |name, optimizer, every, callbacks: &[&str]| Variant {
        name,
        recipe: recipe(128, 8, optimizer, every, callbacks),
    };
    vec![
        variant("builtin", SGD, "every_epochs = 1", &[BUILTIN, STOP]),
        variant("adam_stop_steps", ADAM, "every_steps = 5", &[LOGS, STOP]),
        variant("sgd_plateau_steps", SGD, "every_steps = 7", &[PLATEAU, LOGS, BEST]),
        variant("adam_plateau", ADAM, "every_epochs = 1", &[PLATEAU, LOGS, EACH]),
        variant("sgd_ema_every_step", SGD, "every_steps = 1", &[EMA, LOGS]),
        variant("adam_swap", ADAM, "every_steps = 5\nkeep = 1", &[SWAP, LOGS, BEST]),
        variant("sgd_swa", SGD, "every_epochs = 2", &[SWA, LOGS, EACH]),
        variant("adam_swa_steps", ADAM, "every_steps = 11\nevery_epochs = 1", &[SWA, LOGS]),
        variant("sgd_accumulation", SGD, "every_steps = 1", &[ACCUMULATE, LOGS]),
        variant("adam_accumulation_seconds", ADAM, "every_seconds = 0.01", &[ACCUMULATE, LOGS]),
        variant("sgd_board_steps", SGD, "every_steps = 7", &[PLATEAU, BOARD, LOGS]),
        variant("adam_all", ADAM, "every_steps = 3", &[ACCUMULATE, EMA, PLATEAU, LOGS, BEST, STOP]),
    ]
}

/// The one that is short and small, for proofs with thousands of cases.
pub(super) fn small(epochs: u32) -> Variant {
    let callbacks = [PLATEAU, LOGS, BEST];
    Variant { name: "small", recipe: recipe(8, epochs, ADAM, "every_epochs = 1", &callbacks) }
}

/// As [`small`], with a checkpoint after every step.
pub(super) fn small_steps(epochs: u32) -> Variant {
    let callbacks = [PLATEAU, LOGS];
    Variant { name: "small_steps", recipe: recipe(8, epochs, SGD, "every_steps = 1", &callbacks) }
}

/// `callbacks`: lines of a type and its options.
fn recipe(units: u32, epochs: u32, optimizer: &str, every: &str, callbacks: &[&str]) -> String {
    let mut recipe = format!(
        "name = \"torture\"
seed = 42

[data]
source = \"digits\"
validation_split = 0.2

[model]
layers = [
  {{ type = \"flatten\" }},
  {{ type = \"dense\", units = {units}, activation = \"relu\" }},
  {{ type = \"dropout\", rate = 0.2 }},
  {{ type = \"dense\", units = 10, activation = \"softmax\" }},
]

[compile]
optimizer = {optimizer}
loss = \"sparse_categorical_crossentropy\"
metrics = [\"accuracy\"]

[fit]
epochs = {epochs}
batch_size = 128

[checkpoint]
{every}
"
    );
    for callback in callbacks.iter().flat_map(|lines| lines.lines()) {
        let (name, options) = callback.split_once(", ").unwrap_or((callback, ""));
        recipe.push_str(&format!("\n[[callbacks]]\ntype = \"{name}\"\n"));
        for option in options.split(", ").filter(|option| !option.is_empty()) {
            recipe.push_str(&format!("{option}\n"));
        }
    }
    recipe
}
