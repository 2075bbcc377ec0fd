//! `refrain check`: the plan, and findings with code, place and fix.

mod common;

use common::Place;
use serde_json::Value;

/// The built-in recipe with one change of its text.
fn spoiled(place: &Place, good: &str, bad: &str) -> String {
    let recipe = place.run(&["recipe"]).ok().stdout;
    assert!(recipe.contains(good), "{good}");
    recipe.replacen(good, bad, 1)
}

#[test]
fn shows_who_acts_where() {
    let place = Place::new();
    let text = place.run(&["check"]).ok().stdout;
    for line in [
        "Plan: 50 epochs of 12 steps, with validation",
        "3. early_stopping: reads val_loss; may stop; may set weights",
        "2. json_training_logger: writes experiment_log.json; disabled if it fails",
        "on_epoch_end           json_training_logger, early_stopping\n",
        "No findings.",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let json: Value = serde_json::from_str(&place.run(&["check", "--json"]).ok().stdout).unwrap();
    assert_eq!(json["plan"]["steps_per_epoch"], 12);
    assert_eq!(json["callbacks"][0]["learning_rate"], "factor");
    assert_eq!(json["callbacks"][2]["requests"], serde_json::json!(["stop", "set weights"]));
    let begin = &json["events"][0];
    assert_eq!(begin["event"], "on_train_begin");
    assert_eq!(
        begin["callbacks"],
        serde_json::json!(["step_lr_scheduler", "json_training_logger"])
    );
    assert_eq!(json["findings"], serde_json::json!([]));
    // Nothing is trained, nothing written.
    assert!(place.list(".").is_empty());
}

#[test]
fn findings_have_code_place_and_fix_and_training_takes_the_same() {
    // What is replaced, by what, the code, whether it is an error, words, line.
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str, bool, &str, u64)] = &[
        ("monitor = \"val_loss\"", "monitor = \"val_los\"", "unknown-metric", true, "did you mean `val_loss`?", 40),
        ("validation_split = 0.2", "# validation_split = 0.2", "no-validation", true, "validation_split", 40),
        ("step_lr_scheduler\"\nfactor = 0.5\nstep_epochs = 10", "warmup_cosine_scheduler\"\n[[callbacks]]\ntype = \"warmup_cosine_scheduler\"\nname = \"b\"", "two-base-rates", true, "keep one of them", 31),
        ("type = \"step_lr_scheduler\"\nfactor = 0.5\nstep_epochs = 10", "type = \"warmup_cosine_scheduler\"\ntotal_epochs = 30", "schedule-horizon", false, "30", 31),
        ("type = \"step_lr_scheduler\"\nfactor = 0.5\nstep_epochs = 10", "type = \"warmup_cosine_scheduler\"\nwarmup_epochs = 60\ntotal_epochs = 70", "long-warmup", false, "60", 31),
        ("patience = 5", "patience = 5\nstart_from_epoch = 50", "start-beyond-run", false, "50", 42),
        ("restore_best_weights = true", "restore_best_weights = true\n[[callbacks]]\ntype = \"reduce_lr_on_plateau\"\npatience = 5", "plateau-after-stop", false, "patience", 45),
        ("log_file = \"experiment_log.json\"", "log_file = \"training_from_json.png\"", "same-file", true, "a file of its own", 44),
        ("batch_size = 128", "batch_size = 2000", "batch-larger-than-data", false, "1437", 26),
        ("units = 10", "units = 9", "loss-mismatch", true, "label 9", 21),
        ("metrics = [\"accuracy\"]", "metrics = [{ type = \"precision\", class_id = 10 }]", "metric-mismatch", true, "class_id is 10", 22),
        ("units = 10", "units = 12", "units-not-classes", false, "units = 10", 11),
        (", activation = \"softmax\"", "", "logits-as-probabilities", false, "from_logits = true", 21),
        ("loss = \"sparse_categorical_crossentropy\"", "loss = { type = \"sparse_categorical_crossentropy\", from_logits = true }", "softmax-from-logits", false, "leave from_logits out", 21),
        ("learning_rate = 0.1", "learning_rate = { type = \"cosine_decay\", initial_learning_rate = 0.1, decay_steps = 100 }", "schedule-horizon", false, "set decay_steps to 600", 20),
        ("learning_rate = 0.1", "learning_rate = { type = \"exponential_decay\", initial_learning_rate = 0.1, decay_steps = 0.01, decay_rate = 10 }", "impossible-rate", true, "(epoch 1) is inf", 20),
        ("learning_rate = 0.1", "learning_rate = { type = \"cosine_decay\", initial_learning_rate = 0.0, decay_steps = 600 }", "zero-rate", false, "warmup_target", 20),
        ("epochs = 50", "epochs = 50\nvalidation_freq = 60", "no-validation", true, "validation", 41),
        ("epochs = 50", "epochs = 3\ninitial_epoch = 3", "nothing-to-train", false, "initial_epoch is 3", 26),
        ("type = \"step_lr_scheduler\"", "type = \"step_lr_scheduler\"\nname = \"base\"", "reserved-name", true, "another name", 31),
        ("restore_best_weights = true", "restore_best_weights = true\n[[callbacks]]\ntype = \"throughput_monitor\"", "logger-before-writer", false, "samples_per_second", 34),
        ("restore_best_weights = true", "restore_best_weights = true\n[[callbacks]]\ntype = \"gradient_clip\"\nclipvalue = 1.0\n[[callbacks]]\ntype = \"gradient_accumulation\"\nsteps = 2", "clip-before-accumulation", false, "not on their mean", 43),
        ("restore_best_weights = true", "restore_best_weights = true\n[[callbacks]]\ntype = \"model_checkpoint\"\nfilepath = \"m{epoch}\"\n[[callbacks]]\ntype = \"model_checkpoint\"\nname = \"b\"\nfilepath = \"m{epoch:02d}\"", "same-file", true, "m{epoch}", 46),
        ("units = 10, activation = \"softmax\"", "units = 1, activation = \"sigmoid\"", "loss-mismatch", true, "label 9", 21),
        ("learning_rate = 0.1", "learning_rate = { type = \"constant\", learning_rate = 0.1 }", "none", false, "", 0),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"sgd\", groups = [{ layers = [\"*\"], type = \"adam\" }, { layers = [\"dense_1\"], type = \"sgd\" }] }", "idle-group", false, "list this one first", 20),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"sgd\", groups = [{ layers = [\"dense\", \"dense_9\"], type = \"adam\" }] }", "unknown-weights", true, "did you mean `dense_1`? there are dense, dense_1", 20),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"adamw\", exclude_from_weight_decay = \"dens.bias\" }", "unknown-weights", true, "did you mean `dense.bias`?", 20),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"sgd\", exclude_from_weight_decay = [\"*.bias\"] }", "ignored-option", false, "sgd decays no weights", 20),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"adamw\", exclude_from_weight_decay = [\"*.bias\"] }", "none", false, "", 0),
        ("optimizer = { type = \"sgd\", learning_rate = 0.1, momentum = 0.9 }", "optimizer = { type = \"sgd\", groups = [{ layers = [\"*\"], type = \"sgd\", learning_rate_scale = 0 }] }", "all-frozen", false, "none is trained", 20),
        ("{ type = \"dense\", units = 128, activation = \"relu\" }", "{ type = \"dense\", units = 128, activation = \"relu\", use_bias = false, bias_regularizer = \"l2\" }", "ignored-option", false, "`bias_regularizer` is given, and the layer has use_bias = false", 13),
        ("{ type = \"dense\", units = 128, activation = \"relu\" }", "{ type = \"residual\", layers = [{ type = \"dense\", units = 64, use_bias = 0, bias_constraint = \"non_neg\" }] }", "ignored-option", false, "`bias_constraint` is given", 13),
        ("epochs = 50", "epochs = 50\nclass_weight = { 3 = 2.0, 11 = 0.5 }", "class-without-samples", false, "class 11 has a weight, and no sample that is trained on has it: there are the classes 0 to 9", 26),
        ("  { type = \"flatten\" },\n", "", "layer-mismatch", true, "takes vectors of shape [inputs]", 12),
        ("  { type = \"dense\", units = 128, activation = \"relu\" },\n  { type = \"dropout\", rate = 0.2 },\n  { type = \"dense\", units = 10, activation = \"softmax\" },", "", "no-weights", true, "nothing to train", 11),
        ("# weights = \"initial.safetensors\"", "weights = \"x.toml\"", "weights-mismatch", true, "x.toml", 17),
        ("# weights = \"initial.safetensors\"", "weights = \"none.safetensors\"", "weights-mismatch", true, "none.safetensors", 17),
        ("[[callbacks]]", "[checkpoint]\nevery_epochs = 60\n[[callbacks]]", "checkpoint-never-due", false, "more frequent", 30),
    ];
    for (good, bad, code, is_error, word, line) in cases {
        let place = Place::new();
        place.write("x.toml", spoiled(&place, good, bad));
        let done = place.run(&["check", "x.toml", "--json"]);
        assert_eq!(done.status, i32::from(*is_error), "{code}: {}{}", done.stdout, done.stderr);
        let json: Value = serde_json::from_str(&done.stdout).unwrap();
        let findings = json["findings"].as_array().unwrap();
        if *code == "none" {
            assert!(findings.is_empty(), "{findings:?}");
            continue;
        }
        let finding = findings.iter().find(|finding| finding["code"] == *code);
        let finding = finding.unwrap_or_else(|| panic!("no {code} in {findings:?}"));
        assert_eq!(finding["severity"], if *is_error { "error" } else { "warning" });
        let text = format!("{}; {}", finding["message"], finding["fix"]);
        assert!(text.contains(word), "{code}: {text}");
        assert_eq!(finding["line"], *line, "{code}: {finding}");
        let only = findings.iter().filter(|f| f["severity"] == finding["severity"]).count();
        assert_eq!(only, 1, "{code}: {findings:?}");

        let train = ["train", "x.toml", "--dir", "run"];
        let done = place.run(&train);
        let (status, shown) = if *is_error { (2, "error: ") } else { (0, "warning[") };
        assert_eq!(done.status, status, "{code}: {}", done.stderr);
        let place_of_it = format!("x.toml, line {line}, ");
        assert!(done.stderr.contains(shown), "{code}: {}", done.stderr);
        assert!(done.stderr.contains(&place_of_it), "{code}: {}", done.stderr);
        assert_eq!(place.path("run").exists(), !is_error, "{code}");
    }
}

/// The findings of the built-in recipe with these changes of its text.
fn findings(changes: &[(&str, &str)]) -> Vec<Value> {
    let place = Place::new();
    let mut recipe = place.run(&["recipe"]).ok().stdout;
    for (good, bad) in changes {
        assert!(recipe.contains(good), "{good}");
        recipe = recipe.replacen(good, bad, 1);
    }
    place.write("x.toml", recipe);
    let json = place.run(&["check", "x.toml", "--json"]).stdout;
    serde_json::from_str::<Value>(&json).unwrap()["findings"].as_array().unwrap().clone()
}

#[test]
fn averages_of_the_optimizer_and_of_a_callback_are_two() {
    let use_ema = ("type = \"sgd\"", "type = \"sgd\", use_ema = true");
    let early_stopping = "type = \"early_stopping\"\nmonitor = \"val_loss\"\npatience = 5\n\
                          restore_best_weights = true";
    let swap = (early_stopping, "type = \"swap_ema_weights\"");
    let both = findings(&[use_ema, swap]);
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(both[0]["code"], "two-averages");
    assert_eq!(both[0]["severity"], "warning");
    assert_eq!(both[0]["line"], 38);
    for one in [use_ema, swap] {
        assert!(findings(&[one]).is_empty(), "{one:?}");
    }
}

#[test]
fn the_activation_that_a_loss_wants_is_the_one_that_is_advised() {
    let without = (", activation = \"softmax\"", "");
    let loss = "\"sparse_categorical_crossentropy\"";
    for (other, activation) in
        [("\"categorical_crossentropy\"", "softmax"), ("\"binary_crossentropy\"", "sigmoid")]
    {
        let found = findings(&[without, (loss, other)]);
        let advice = found.iter().find(|finding| finding["code"] == "logits-as-probabilities");
        let advice = advice.unwrap_or_else(|| panic!("{other}: {found:?}"))["fix"].to_string();
        assert!(advice.contains(activation), "{other}: {advice}");
    }
}

#[test]
fn what_is_about_validation_alone_needs_one() {
    let place = Place::new();
    let callbacks = "callbacks=[]";
    let recipe = spoiled(&place, "validation_split = 0.2", "# validation_split = 0.2");
    place.write("x.toml", recipe.replace("epochs = 50", "epochs = 1\nvalidation_freq = 1"));
    let text = place.run(&["check", "x.toml", "--set", callbacks]).ok().stdout;
    let words = "warning[ignored-option]: x.toml after --set, line 27, column 19: \
                 `validation_freq` is given, and there is no validation";
    assert!(text.contains(words), "{text}");
    let split = ["check", "x.toml", "--set", callbacks, "--set", "data.validation_split=0.2"];
    let text = place.run(&split).ok().stdout;
    assert!(text.contains("No findings."), "{text}");
}

#[test]
fn a_model_that_cannot_be_is_a_finding_beside_others() {
    let place = Place::new();
    let recipe = spoiled(&place, "  { type = \"flatten\" },\n", "");
    place.write("x.toml", recipe.replace("epochs = 50", "epochs = 50\nclass_weight = { 12 = 2 }"));
    let done = place.run(&["check", "x.toml"]);
    assert_eq!(done.status, 1, "{}", done.stderr);
    for words in [
        "Plan: 50 epochs of 12 steps, with validation; logs have loss, accuracy, val_loss",
        "3. early_stopping: reads val_loss",
        "2 findings:",
        "error[layer-mismatch]: x.toml, line 12, column 3: layer 1 `dense`",
        "warning[class-without-samples]: x.toml, line 25, column 23: class 12",
    ] {
        assert!(done.stdout.contains(words), "no {words:?} in {}", done.stdout);
    }
}

#[test]
fn a_reader_before_its_writer() {
    let place = Place::new();
    let recipe = spoiled(
        &place,
        "monitor = \"val_loss\"",
        "monitor = \"samples_per_second\"\nmode = \"max\"",
    );
    let writer = "\n[[callbacks]]\ntype = \"throughput_monitor\"\n";
    place.write("x.toml", recipe + writer);
    let done = place.run(&["check", "x.toml"]);
    assert_eq!(done.status, 1);
    let text = "error[reader-before-writer]: x.toml, line 40, column 11: `early_stopping` reads \
                `samples_per_second`, which `throughput_monitor`, listed after it, writes; list \
                `throughput_monitor` first";
    assert!(done.stdout.contains(text), "{}", done.stdout);
}

#[test]
fn a_recipe_that_cannot_be_read_is_wrong_usage() {
    let place = Place::new();
    place.write("x.toml", spoiled(&place, "patience = 5", "patiense = 5"));
    place.run(&["check", "x.toml"]).fails(2, &["x.toml, line 41", "did you mean `patience`?"]);
    place.run(&["check", "none.toml"]).fails(2, &["none.toml"]);
}

/// (what is written for what, line and column, words)
#[test]
fn a_recipe_that_cannot_be_read_says_where() {
    let place = Place::new();
    let cases = [
        ("epochs = 50", "epochs = -1", Some((25, 10)), "1 or more"),
        ("epochs = 50", "epoch = 50", Some((25, 1)), "`epochs`"),
        ("units = 128", "unit = 128", Some((13, 21)), "`units`"),
        ("epochs = 50", "epochs = ", Some((25, 10)), "x.toml"),
        ("factor = 0.5", "factor = 0", Some((31, 10)), "above 0"),
        (
            "momentum = 0.9",
            "loss_scale = 2.0",
            Some((20, 63)),
            "one that stays is loss_scale_factor",
        ),
        (
            "source = \"digits\"",
            "source = \"npz\"\npath = \"not-there.npz\"",
            None,
            "not-there.npz",
        ),
    ];
    for (from, to, at, words) in cases {
        place.write("x.toml", spoiled(&place, from, to));
        let done = place.run(&["check", "x.toml", "--json"]);
        assert_ne!(done.status, 0, "{to}");
        let json: Value = serde_json::from_str(&done.stdout).unwrap();
        let finding = &json["findings"][0];
        assert_eq!(finding["code"], "bad-recipe", "{to}: {finding}");
        let number = |key: &str| finding[key].as_u64();
        assert_eq!(number("line").zip(number("column")), at, "{to}: {finding}");
        assert!(finding["message"].as_str().unwrap().contains(words), "{to}: {finding}");
        assert!(finding["line"].is_null() == at.is_none(), "{to}: {finding}");
    }
}
