//! A recipe looked at before it is trained.

use std::path::Path;

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::{Activation, AnyLoss, Forward as _, LayerConfig, Loss, Sequential};
use refrain_core::checkpoint::Checkpoints;
use refrain_core::options::{Document, Section};
use refrain_core::{
    Callback as _, Check, CheckedCallback, Dataset as _, Error, Finding, Result, RunPlan, Severity,
};
use serde_json::{Value, json};

use super::{Recipe, RecipeData, reader, targets};

/// Where the recipe names the file of initial weights.
pub(super) const WEIGHTS: &str = "model.weights";

/// A finding, and where it stands.
pub(super) struct Found {
    pub(super) finding: Finding,
    /// A dotted path in the recipe; `None`: by the finding's callback and option.
    path: Option<String>,
}

impl Found {
    pub(super) fn at(path: impl Into<String>, finding: Finding) -> Self {
        Self { finding, path: Some(path.into()) }
    }

    fn is_error(&self) -> bool {
        self.finding.severity == Severity::Error
    }
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { finding, path: None }
    }
}

/// What a check of a recipe found: the run's plan, and each finding with its place in the file.
#[derive(Clone, Debug)]
pub struct RecipeCheck {
    recipe: String,
    /// Plan, callbacks, events and findings.
    pub check: Check,
    /// Line and column of each finding, both from 1; `None`: the recipe does not say it anywhere.
    pub places: Vec<Option<(usize, usize)>>,
}

impl RecipeCheck {
    /// Whether training would be refused.
    pub fn has_errors(&self) -> bool {
        self.check.has_errors()
    }

    /// Each finding with a line for people: `recipe.toml, line 3, column 5: ..`.
    pub fn findings(&self) -> impl Iterator<Item = (&Finding, String)> {
        self.check.findings.iter().zip(&self.places).map(|(finding, place)| {
            let text = match place {
                Some((line, column)) => {
                    format!("{}, line {line}, column {column}: {finding}", self.recipe)
                }
                None => format!("{}: {finding}", self.recipe),
            };
            (finding, text)
        })
    }

    /// The first finding that is an error, as an error.
    pub fn error(&self) -> Option<Error> {
        self.findings()
            .find(|(finding, _)| finding.severity == Severity::Error)
            .map(|(_, text)| Error::config(text))
    }

    /// As JSON: that of [`Check::to_json`], with `recipe`, and `line` and `column` in findings.
    pub fn to_json(&self) -> Value {
        let mut json = self.check.to_json();
        json["recipe"] = self.recipe.as_str().into();
        if let Some(findings) = json["findings"].as_array_mut() {
            for (finding, place) in findings.iter_mut().zip(&self.places) {
                finding["line"] = json!(place.map(|(line, _)| line));
                finding["column"] = json!(place.map(|(_, column)| column));
            }
        }
        json
    }
}

impl Recipe {
    /// Looks for what is odd in the run that this recipe describes on `data`, its own, without
    /// training. What callbacks write would go into `folder`.
    ///
    /// Where the layers do not fit the data or each other, or the optimizer names weights that the
    /// model has not, that is what is found: what follows from the model is not looked at.
    ///
    /// # Errors
    /// When the data cannot be read, or does not fit the arguments of `fit`.
    pub fn check(&self, data: &RecipeData, folder: &Path) -> Result<RecipeCheck> {
        let document = reader::parse(&self.origin, &self.text)?;
        // Without weights: they may be more than there is memory for.
        let model = self.outline_or_fault(data);
        let output_shape = model.as_ref().ok().map(Sequential::output_shape);
        let mut found = self.idle_findings(document.node(), data, output_shape);
        let model = match model {
            Ok(model) => model,
            Err((error, path)) => {
                let finding = Finding::error("layer-mismatch", error.to_string());
                found.push(Found::at(path, finding));
                let check = self.check_without_model(data, folder)?;
                return Ok(self.placed(&document, check, found));
            }
        };
        let inputs = self.input_finding(&model, data)?;
        let mut trainer = self.trainer_of(model)?;
        found.extend(self.parameter_findings(document.node(), trainer.learner())?);
        if found.iter().any(Found::is_error) {
            let check = self.check_without_model(data, folder)?;
            return Ok(self.placed(&document, check, found));
        }
        let memory = self.memory_finding(trainer.learner(), data)?;
        if memory.as_ref().is_none_or(|finding| finding.severity != Severity::Error)
            && let Err(error) = self.read_weights(&mut trainer)
        {
            let finding = Finding::error("weights-mismatch", error.to_string());
            found.push(Found::at(WEIGHTS, finding));
        }
        let output_shape = trainer.learner().model()?.output_shape().to_vec();
        let mut trainer = trainer.callbacks(self.callbacks(folder)?);
        if self.checkpoint.takes_some() {
            // Some callbacks need them; a check takes none.
            trainer = trainer.checkpoints(Checkpoints::in_dir(folder));
        }
        let check = trainer.check(data, self.fit(data))?;
        let of_model = self.model_findings(data, &output_shape).into_iter().chain(memory);
        let of_fit = self.fit_findings(&check.plan, data.len());
        found.extend(of_model.chain(inputs).chain(of_fit).map(Found::from));
        Ok(self.placed(&document, check, found))
    }

    /// The plan of a run whose model cannot be.
    fn check_without_model(&self, data: &RecipeData, folder: &Path) -> Result<Check> {
        let plan = self.fit(data).plan(data)?;
        let metrics = self.compile.metric_names();
        let metrics = std::iter::once("loss".to_owned()).chain(metrics).collect();
        let callbacks = self.callbacks(folder)?;
        let callbacks = callbacks.iter().map(|callback| CheckedCallback {
            name: callback.name().into_owned(),
            access: callback.access(),
            on_failure: callback.failure_policy(),
        });
        let (plan, callbacks) = (RunPlan { metrics, ..plan }, callbacks.collect());
        Ok(Check { plan, callbacks, findings: Vec::new() })
    }

    /// A check with what else was found, errors first, and the place of each finding.
    fn placed(&self, document: &Document, mut check: Check, more: Vec<Found>) -> RecipeCheck {
        let of_run = std::mem::take(&mut check.findings).into_iter().map(Found::from);
        let mut found: Vec<Found> = of_run.chain(more).collect();
        found.sort_by_key(|found| std::cmp::Reverse(found.finding.severity));
        let places = found.iter().map(|found| place(document, found)).collect();
        check.findings = found.into_iter().map(|found| found.finding).collect();
        RecipeCheck { recipe: self.origin.clone(), check, places }
    }

    /// Whether all samples are what the first layer takes. Looks at the numbers only where it is an
    /// embedding, whose table they must be in.
    fn input_finding(&self, model: &Sequential, data: &RecipeData) -> Result<Option<Finding>> {
        const AT_ONCE: usize = 1024;
        if !matches!(self.model.layers.first(), Some(LayerConfig::Embedding(_))) {
            return Ok(None);
        }
        for part in [Some(data.train()), data.validation()].into_iter().flatten() {
            let samples: Vec<usize> = (0..part.len()).collect();
            for indices in samples.chunks(AT_ONCE) {
                if let Err(error) = model.check_input(&part.batch(indices)?.inputs) {
                    let finding = Finding::error("input-mismatch", error.to_string());
                    return Ok(Some(finding.option("layers")));
                }
            }
        }
        Ok(None)
    }

    /// Whether the last layer, the loss and the labels fit each other.
    fn model_findings(&self, data: &RecipeData, output_shape: &[usize]) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Err(error) = self.check_loss(data, output_shape) {
            found.push(Finding::error("loss-mismatch", error.to_string()).option("loss"));
        }
        found.extend(self.metric_findings(data, output_shape));
        found.extend(self.ignored_findings(data));
        let outputs = output_shape.last().copied().unwrap_or(1);
        let classes = data.classes();
        let is_of_classes = targets::has_an_output_a_class(&self.compile.loss);
        if let Some(classes) = classes.filter(|_| is_of_classes)
            && outputs > classes
        {
            let message = format!("the model has {outputs} outputs, the data {classes} classes");
            found.push(
                Finding::warning("units-not-classes", message)
                    .fix(format!("give the last layer units = {classes}"))
                    .option("layers"),
            );
        }
        let loss = &self.compile.loss;
        let Some(takes_logits) = loss.takes_logits() else {
            return found;
        };
        let closing = self.model.layers.last().and_then(LayerConfig::activation);
        let is_probability = matches!(closing, Some(Activation::Softmax | Activation::Sigmoid));
        let name = Loss::<Tensor<2>>::name(loss);
        let finding = match (takes_logits, is_probability) {
            (true, true) if matches!(loss, AnyLoss::Ctc { .. }) => Finding::warning(
                "softmax-from-logits",
                format!("{name} takes logits, and the last layer makes probabilities of them"),
            )
            .fix("leave the last layer's activation out"),
            (true, true) => Finding::warning(
                "softmax-from-logits",
                format!(
                    "{name} takes logits (from_logits = true), and the last layer makes \
                         probabilities of them"
                ),
            )
            .fix("leave from_logits out, or the last layer's activation"),
            (false, false) => Finding::warning(
                "logits-as-probabilities",
                format!("{name} takes probabilities, and the last layer makes none"),
            )
            .fix(format!(
                "end with activation = \"{}\", or say from_logits = true",
                if name.starts_with("binary_") || outputs == 1 { "sigmoid" } else { "softmax" }
            )),
            _ => return found,
        };
        found.push(finding.option("loss"));
        found
    }

    /// Whether batches and checkpoints fit the data and the run's length.
    fn fit_findings(&self, plan: &RunPlan, samples: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        let trained = self.fit.trained_samples(samples, self.data.validation_split);
        if self.fit.batch_size > trained {
            let message = format!(
                "batch_size is {}, and there are {trained} samples to train on",
                self.fit.batch_size
            );
            found.push(
                Finding::warning("batch-larger-than-data", message)
                    .fix("every epoch is one batch; make it smaller")
                    .option("batch_size"),
            );
        }
        let every = &self.checkpoint;
        let is_late = |n: Option<u64>, most: u64| n.is_none_or(|n| n == 0 || n > most);
        let never = every.is_wanted_explicitly()
            && is_late(every.every_epochs, plan.epochs_to_run() as u64)
            && is_late(every.every_steps, plan.total_steps().unwrap_or(u64::MAX))
            && every.every_seconds.is_none();
        if never {
            found.push(
                Finding::warning(
                    "checkpoint-never-due",
                    "no checkpoint is due before the run ends",
                )
                .fix("make them more frequent")
                .option("every_epochs"),
            );
        }
        found
    }
}

/// Where in the recipe a finding's path, option, or else its callback stands.
fn place(document: &Document, found: &Found) -> Option<(usize, usize)> {
    let Found { finding, path } = found;
    if let Some(path) = path {
        return reader::find(document.node(), path).map(|node| document.place(node.at));
    }
    let root = document.root().ok()?;
    let at = |section: &Section<'_>| {
        finding.option.and_then(|option| section.get(option)).map(|value| value.at())
    };
    let at = match finding.callback {
        Some(index) => {
            let callbacks = root.get("callbacks")?.items().ok()?;
            let entry = callbacks.get(index)?;
            let section = entry.section("a callback").ok()?;
            at(&section).unwrap_or(entry.at())
        }
        None => ["compile", "fit", "model", "checkpoint"]
            .into_iter()
            .filter_map(|name| root.section(name).ok()?)
            .find_map(|section| at(&section))
            .or_else(|| schedule_at(&root))?,
    };
    Some(document.place(at))
}

/// Where the optimizer's schedule stands: what it has to say is about options inside of it.
fn schedule_at(root: &Section<'_>) -> Option<usize> {
    let compile = root.section("compile").ok()??;
    let optimizer = compile.get("optimizer")?.section("the optimizer").ok()?;
    let rate = optimizer.get("learning_rate")?;
    rate.is_table().then(|| rate.at())
}
