//! A renderer that draws nothing, and hands on what the metrics are at an epoch's end.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::commands;

pub type Numbers = Vec<(&'static str, f64)>;

pub struct Answering {
    ended: SyncSender<Numbers>,
    /// Names of metrics, in training and in validation.
    names: HashMap<MetricId, [&'static str; 2]>,
    latest: HashMap<&'static str, f64>,
}

impl Answering {
    pub fn new(ended: SyncSender<Numbers>) -> Self {
        Self { ended, names: HashMap::new(), latest: HashMap::new() }
    }

    fn update(&mut self, state: MetricState, part: usize) {
        let MetricState::Numeric(entry, Some(number)) = state else {
            return;
        };
        let Some(names) = self.names.get(&entry.metric_id) else {
            return;
        };
        let (NumericEntry::Value(value)
        | NumericEntry::Final(value)
        | NumericEntry::Aggregated { aggregated_value: value, .. }) = number;
        // Burn's accuracy is in per cent.
        let scale = if names[0] == "accuracy" { 0.01 } else { 1.0 };
        self.latest.insert(names[part], value * scale);
    }
}

impl MetricsRendererTraining for Answering {
    fn update_train(&mut self, state: MetricState) {
        self.update(state, 0);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update(state, 1);
    }
}

impl TrainingProgressLogger for Answering {
    fn update_epoch(&mut self, _: usize) {
        if self.ended.send(self.latest.drain().collect()).is_err() {
            commands::fail("the trainer's thread ended early");
        }
    }

    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for Answering {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let names = match definition.name.as_str() {
            "Loss" => ["loss", "val_loss"],
            "Accuracy" => ["accuracy", "val_accuracy"],
            _ => return,
        };
        self.names.insert(definition.metric_id, names);
    }
}

impl MetricsRendererEvaluation for Answering {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for Answering {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}
