//! Sequences whose steps are compared with targets of their own, from recipes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use refrain::Recipe;
use refrain::console::Console;

/// Rows of three numbers, of each of which the model is to say whether it is above 0.5: `rule` of each.
fn table(folder: &Path, rule: impl Fn(f64) -> f64) {
    let mut text = "a,b,c,x,y,z\n".to_owned();
    for row in 0..60 {
        let numbers = [0, 1, 2].map(|i| f64::from((row * 7 + i * 5) % 11) / 10.0);
        let [a, b, c] = numbers;
        let [x, y, z] = numbers.map(&rule);
        writeln!(text, "{a},{b},{c},{x},{y},{z}").unwrap();
    }
    fs::write(folder.join("table.csv"), text).unwrap();
}

fn recipe_of(folder: &Path, layers: &str, loss: &str, more: &str) -> Recipe {
    let text = format!(
        "seed = 1\n[data]\nsource = 'csv'\npath = 'table.csv'\ntarget = ['x', 'y', 'z']\n\
         validation_split = 0.2\n[model]\nlayers = [{{ type = 'reshape', target_shape = [3, 1] }}, \
         {layers}]\n[compile]\noptimizer = {{ type = 'adam', learning_rate = 0.05 }}\nloss = {loss}\n\
         metrics = ['accuracy']\n[fit]\nepochs = 60\nbatch_size = 16\n{more}"
    );
    let file = folder.join("steps.toml");
    fs::write(&file, text).unwrap();
    Recipe::load(&file, &[]).unwrap()
}

const CLASSIFIER: &str = "{ type = 'dense', units = 8, activation = 'tanh' }, { type = 'dense', units = 2, activation = 'softmax' }";

/// (the last layers, the loss)
#[test]
fn a_class_for_each_step_is_learnt() {
    let logits =
        "{ type = 'dense', units = 8, activation = 'tanh' }, { type = 'dense', units = 2 }";
    let cases = [
        (CLASSIFIER, "'sparse_categorical_crossentropy'"),
        (CLASSIFIER, "{ type = 'categorical_crossentropy', label_smoothing = 0.1 }"),
        (CLASSIFIER, "'kl_divergence'"),
        (logits, "{ type = 'sparse_categorical_crossentropy', from_logits = true }"),
    ];
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), |number| f64::from(number > 0.5));
    for (layers, loss) in cases {
        let recipe = recipe_of(folder.path(), layers, loss, "");
        let data = recipe.load_data().unwrap();
        assert!(!recipe.check(&data, folder.path()).unwrap().has_errors(), "{loss}");
        let mut trainer = recipe.trainer(&data).unwrap().console(Console::silent());
        trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
        let logs = trainer.evaluate(&data, 16).unwrap();
        // Of 180 steps, 0.5 is the hardest.
        assert!(logs.get("accuracy").unwrap() > 0.9, "{loss}: {logs:?}");
        let outputs = trainer.predict(&data, 16).unwrap();
        assert_eq!(outputs.dims(), [60, 6]);
    }
}

/// What is ignored may be no class; what is said of the others.
#[test]
fn classes_that_the_model_has_not_are_refused_unless_they_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), |number| if number > 0.8 { -1.0 } else { f64::from(number > 0.5) });
    let trainer = |loss: &str, more: &str| {
        let recipe = recipe_of(folder.path(), CLASSIFIER, loss, more);
        let data = recipe.load_data().unwrap();
        recipe.trainer(&data).map(|trainer| (trainer, recipe, data))
    };
    let ignoring = "{ type = 'sparse_categorical_crossentropy', ignore_class = -1 }";
    let (trained, recipe, data) = trainer(ignoring, "").unwrap();
    let mut trained = trained.console(Console::silent());
    let history = trained.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
    let loss = history.last().unwrap().get("loss").unwrap();
    assert!(loss < 0.4, "{loss}");

    let error =
        trainer("'sparse_categorical_crossentropy'", "").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("label -1 of sample "), "{error}");
    assert!(
        error.contains("is no class of the model's 2 outputs; allowed: whole numbers"),
        "{error}"
    );
    // Class 2 is nobody's, and would be if the third of three steps were a class.
    for weights in ["class_weight = { 0 = 2.0 }\n", "class_weight = { 2 = 2.0, 7 = 2.0 }\n"] {
        let weighted = trainer(ignoring, weights).map(|_| ()).unwrap_err();
        let error = weighted.to_string();
        assert!(error.contains("class_weight weighs whole samples"), "{error}");
        let recipe = recipe_of(folder.path(), CLASSIFIER, ignoring, weights);
        let check = recipe.check(&recipe.load_data().unwrap(), folder.path()).unwrap();
        let codes: Vec<&str> = check.check.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["loss-mismatch"], "{weights}");
    }
}

/// (the last layers, the loss, words of the error)
#[test]
fn what_cannot_be_compared_step_by_step_is_refused() {
    let table_of: [(&str, &str, &[&str]); 3] = [
        (
            "{ type = 'dense', units = 2 }, { type = 'max_pooling1d', pool_size = 3 }",
            "'sparse_categorical_crossentropy'",
            &[
                "gives the shape [1, 2]",
                "targets have the shape [3]",
                "takes targets of the shape [1]",
            ],
        ),
        (
            "{ type = 'dense', units = 1 }",
            "'sparse_categorical_crossentropy'",
            &[
                "gives the shape [3, 1]",
                "takes targets of the shape [3], the class of each step among",
            ],
        ),
        (
            "{ type = 'dense', units = 2 }",
            "'mse'",
            &[
                "gives the shape [3, 2]",
                "takes targets of the shape [3, 2], a number for each output",
            ],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), |number| f64::from(number > 0.5));
    for (layers, loss, words) in table_of {
        let recipe = recipe_of(folder.path(), layers, loss, "");
        let error =
            recipe.trainer(&recipe.load_data().unwrap()).map(|_| ()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
    }
}

/// Along the last axis of an image a loss of vectors would see another thing than Keras.
#[test]
fn a_loss_of_vectors_is_refused_on_images() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), |number| number);
    let layers = "{ type = 'reshape', target_shape = [1, 1, 3] }";
    let trains = |loss: &str| {
        let recipe = recipe_of(folder.path(), layers, loss, "");
        recipe.trainer(&recipe.load_data().unwrap()).map(|_| ()).map_err(|error| error.to_string())
    };
    trains("'mse'").unwrap();
    let error = trains("'cosine_similarity'").unwrap_err();
    assert!(error.contains("takes vectors of the shape [outputs] or sequences of them"), "{error}");
}

/// A row with a number for each step, and the labels that are read off it: 1 where the number is above
/// 0.6, 2 where it is below 0.3, nothing between.
fn sequences(folder: &Path, last_row: &str) -> Vec<String> {
    let mut text = "a,b,c,d,e,f,x,y,z\n".to_owned();
    for row in 0..120 {
        let numbers = [0, 1, 2, 3, 4, 5].map(|i| f64::from((row * 7 + i * i * 5) % 11) / 10.0);
        let of = |number: f64| if number > 0.6 { 1 } else { i32::from(number < 0.3) * 2 };
        let mut labels = numbers.map(of).to_vec();
        labels.dedup();
        labels.retain(|label| *label != 0);
        labels.resize(6, 0);
        let cells = numbers.iter().map(f64::to_string);
        let labels = labels.iter().take(3).map(i32::to_string);
        text += &format!("{}\n", cells.chain(labels).collect::<Vec<_>>().join(","));
    }
    text += last_row;
    fs::write(folder.join("table.csv"), text).unwrap();
    vec![
        "data.target=['x', 'y', 'z']".into(),
        "compile.metrics=[]".into(),
        "compile.loss='ctc'".into(),
    ]
}

const READER: &str = "{ type = 'reshape', target_shape = [6, 1] }, { type = 'lstm', units = 12, return_sequences = true }, { type = 'dense', units = 3 }";

fn reader(folder: &Path, more: &[&str], last_row: &str) -> Recipe {
    let mut changes = sequences(folder, last_row);
    changes.extend(more.iter().map(|change| (*change).to_owned()));
    recipe_of(folder, "{ type = 'dense', units = 2 }", "'mse'", "");
    if !changes.iter().any(|change| change.starts_with("model.layers")) {
        changes.push(format!("model.layers=[{READER}]"));
    }
    Recipe::load(&folder.join("steps.toml"), &changes).unwrap()
}

#[test]
fn labels_are_read_off_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = reader(folder.path(), &[], "");
    let data = recipe.load_data().unwrap();
    let check = recipe.check(&data, folder.path()).unwrap();
    assert!(check.check.findings.is_empty(), "{:?}", check.check.findings);
    let mut trainer = recipe.trainer(&data).unwrap().console(Console::silent());
    let history = trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
    let losses: Vec<f64> = history.iter().filter_map(|(_, epoch)| epoch.get("val_loss")).collect();
    assert!(losses[0] > 1.0 && losses[losses.len() - 1] < 0.1, "{losses:?}");
}

/// (changes, the last row of the table, code and words of the finding)
#[test]
fn what_cannot_be_read_off_sequences_is_found_before_training() {
    let cases: [(&[&str], &str, &str, &str); 8] = [
        (
            &["model.layers=[{ type = 'dense', units = 3 }]"],
            "",
            "loss-mismatch",
            "layer 1 `dense`, the last one, gives the shape [3], and loss `ctc` takes sequences of the shape [steps, classes]; let the recurrent layers have return_sequences = true",
        ),
        (
            &[
                "model.layers=[{ type = 'reshape', target_shape = [6, 1] }, { type = 'dense', units = 1 }]",
            ],
            "",
            "loss-mismatch",
            "an output for each class beside the blank",
        ),
        (
            &[],
            "0,0,0,0,0,0,1,3,0",
            "loss-mismatch",
            "label 3 of sample 120, place 1, is no class of the model's 3; allowed: whole numbers, 1..=2",
        ),
        (
            &[],
            "0,0,0,0,0,0,1,0,2",
            "loss-mismatch",
            "sample 120 has a 0 at place 1 and a label behind it",
        ),
        (
            &[
                "model.layers=[{ type = 'reshape', target_shape = [3, 2] }, { type = 'dense', units = 3 }]",
            ],
            "",
            "loss-mismatch",
            "the 3 labels of sample 3 need 4 steps, one each and a blank",
        ),
        (
            &["compile.metrics=['accuracy']"],
            "",
            "metric-mismatch",
            "metric `accuracy` compares each step with a target of its own",
        ),
        (
            &["fit.class_weight={ 1 = 2.0 }"],
            "",
            "loss-mismatch",
            "a sample has several labels; leave class_weight out",
        ),
        (
            &[
                "model.layers=[{ type = 'reshape', target_shape = [6, 1] }, { type = 'dense', units = 3, activation = 'softmax' }]",
            ],
            "",
            "softmax-from-logits",
            "ctc takes logits, and the last layer makes probabilities of them; leave the last layer's activation out",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (changes, last_row, code, words) in cases {
        let recipe = reader(folder.path(), changes, last_row);
        let data = recipe.load_data().unwrap();
        let check = recipe.check(&data, folder.path()).unwrap();
        let [(finding, text)] = check.findings().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(finding.code, code, "{text}");
        assert!(text.contains(words), "no {words:?} in {text}");
        assert_eq!(recipe.trainer(&data).is_err(), check.has_errors(), "{text}");
    }
    // What it has no option for, and what is no number.
    let error = |change: &str, last_row: &str| {
        let mut changes = sequences(folder.path(), last_row);
        changes.push(change.to_owned());
        let recipe = Recipe::load(&folder.path().join("steps.toml"), &changes);
        recipe.and_then(|recipe| recipe.load_data()).map(|_| ()).unwrap_err().to_string()
    };
    for loss in ["ctc", "mse"] {
        let unknown =
            error(&format!("compile.loss={{ type = '{loss}', from_logits = false }}"), "");
        assert!(unknown.contains("`from_logits`"), "{unknown}");
    }
    let metric = error("compile.metrics=['ctc']", "");
    assert!(metric.contains("`ctc`"), "{metric}");
    let text = error("compile.metrics=[]", "0,0,0,0,0,0,a,0,0");
    assert!(text.contains("`a` is no number"), "{text}");
}

#[test]
fn one_hot_steps_are_told_to_take_another_loss() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), |number| number);
    let error = |layers: &str, shape: &str| {
        let layers = format!("{{ type = 'reshape', target_shape = {shape} }}, {layers}");
        let recipe = recipe_of(folder.path(), &layers, "'sparse_categorical_crossentropy'", "");
        let error = recipe.trainer(&recipe.load_data().unwrap()).map(|_| ()).unwrap_err();
        error.to_string()
    };
    // A row of three targets is one step of three classes.
    let of_rows = error("{ type = 'dense', units = 3, activation = 'softmax' }", "[1, 3]");
    let hint = "rows of a number for each class go with loss = \"categorical_crossentropy\"";
    assert!(of_rows.contains(hint), "{of_rows}");
    let of_none = error("{ type = 'dense', units = 4, activation = 'softmax' }", "[1, 3]");
    assert!(!of_none.contains(hint), "{of_none}");
}

/// (the rule of the labels, what is left out, severities of what is found)
#[test]
fn data_of_which_the_loss_leaves_all_out_is_found() {
    let folder = tempfile::tempdir().unwrap();
    type Rule = fn(f64) -> f64;
    let cases: [(Rule, i64, &[&str]); 3] = [
        (
            |_| -1.0,
            -1,
            &[
                "error: all that is trained on has the label -1",
                "warning: all that is held out has the label -1",
            ],
        ),
        (|number| f64::from(number > 0.5), 7, &[]),
        (|number| if number > 0.5 { -1.0 } else { 1.0 }, -1, &[]),
    ];
    for (rule, ignored, expected) in cases {
        table(folder.path(), rule);
        let loss =
            format!("{{ type = 'sparse_categorical_crossentropy', ignore_class = {ignored} }}");
        let recipe = recipe_of(folder.path(), CLASSIFIER, &loss, "");
        let data = recipe.load_data().unwrap();
        let check = recipe.check(&data, folder.path()).unwrap();
        let found = check.check.findings.iter().filter(|finding| finding.code == "all-ignored");
        let found: Vec<String> =
            found.map(|finding| format!("{}: {}", finding.severity, finding.message)).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(recipe.trainer(&data).is_err(), !expected.is_empty());
    }
}
