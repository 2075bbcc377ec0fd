//! What the estimate of a run's memory says is exact where it says so: against what is there after a
//! step.

use refrain::console::Console;
use refrain::weights::Weights;
use refrain::{ModelAccess as _, Recipe};

/// Bytes of all tensors, without counters of steps and the like.
fn bytes(weights: &Weights) -> u64 {
    let arrays = weights.tensors.iter().filter(|tensor| tensor.bytes.len() > 8);
    arrays.map(|tensor| tensor.bytes.len() as u64).sum()
}

#[test]
fn weights_and_optimizer_state_are_as_estimated() {
    let layers = "model.layers=[{ type = 'conv2d', filters = 3, kernel_size = 3 }, \
                  { type = 'batch_normalization' }, { type = 'flatten' }, \
                  { type = 'dense', units = 10, activation = 'softmax' }]";
    for optimizer in [
        "'sgd'",
        "{ type = 'sgd', momentum = 0.9 }",
        "{ type = 'sgd', momentum = 0.9, nesterov = true, weight_decay = 0.01 }",
        "'adam'",
        "{ type = 'adam', amsgrad = true }",
        "'adamw'",
        "'rmsprop'",
        "{ type = 'rmsprop', momentum = 0.9, centered = true }",
        "'nadam'",
        "'adagrad'",
        "'adamax'",
        "'adadelta'",
        "'lion'",
        "'ftrl'",
        "'lamb'",
        "'adafactor'",
        "'muon'",
        "{ type = 'adam', use_ema = true }",
    ] {
        let set = [
            layers.to_owned(),
            format!("compile.optimizer={optimizer}"),
            "callbacks=[]".into(),
            "fit.epochs=1".into(),
            "fit.steps_per_epoch=1".into(),
            "fit.validation_steps=1".into(),
        ];
        let recipe = Recipe::builtin(&set).unwrap();
        let data = recipe.load_data().unwrap();
        let memory = recipe.summary().unwrap().memory;
        let mut trainer = recipe.trainer(&data).unwrap().console(Console::silent());
        trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
        let learner = trainer.learner();
        assert_eq!(bytes(&learner.weights().unwrap()), memory.weights, "{optimizer}");
        assert_eq!(bytes(&learner.optimizer_state().unwrap()), memory.optimizer, "{optimizer}");
    }
}

/// (options of `fit`, what the estimate is of): 1437 digits are trained on, and 360 held out.
#[test]
fn no_batch_is_larger_than_its_part_of_the_data() {
    for (options, size, option) in [
        (["batch_size=64", "validation_batch_size=100"], 64, "batch_size"),
        (["batch_size=5000", "validation_batch_size=5000"], 1437, "batch_size"),
        (["batch_size=16", "validation_batch_size=5000"], 360, "validation_batch_size"),
    ] {
        let memory = Recipe::builtin(&options.map(|option| format!("fit.{option}")));
        let memory = memory.unwrap().summary().unwrap().memory;
        assert_eq!((memory.batch_size, memory.batch_option), (size, option), "{options:?}");
    }
}
