//! A trial of learning rates: what it finds, and that it leaves no trace.

use std::sync::{Arc, Mutex};

use refrain_core::testing::{Script, Trace};
use refrain_core::weights::Weights;
use refrain_core::{
    Clip, Dataset, Epochs, Error, Fit, LambdaCallback, Learner, Logs, ModelAccess, Result,
    StopHandle, TrainStep, Trainer, Trial,
};

/// One weight w and one target each sample: loss (w − target)², plain momentum. The step's seed
/// shows in the weights, and so does the order of the batches.
struct Quadratic {
    weight: f64,
    velocity: f64,
    gradient: Option<f64>,
    loss: f64,
    samples: usize,
    fails_at: Option<usize>,
    batches: usize,
}

impl Quadratic {
    fn new() -> Self {
        Self {
            weight: 1.0,
            velocity: 0.0,
            gradient: None,
            loss: 0.0,
            samples: 0,
            fails_at: None,
            batches: 0,
        }
    }
}

fn one(value: f64) -> Weights {
    let mut weights = Weights::from_f32([("w", vec![1], vec![0.0])]);
    weights.tensors[0].bytes = value.to_le_bytes().to_vec().into();
    weights
}

fn value(weights: &Weights) -> f64 {
    f64::from_le_bytes(weights.tensors[0].bytes[..8].try_into().unwrap())
}

impl ModelAccess for Quadratic {
    fn weights(&self) -> Result<Weights> {
        Ok(one(self.weight))
    }
    fn set_weights(&mut self, weights: &Weights) -> Result {
        self.weight = value(weights);
        Ok(())
    }
    fn gradient_norm(&mut self) -> Result<f64> {
        self.gradient.ok_or_else(|| Error::engine("no gradients"))
    }
    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(vec![("w".to_owned(), self.gradient_norm()?)])
    }
    fn clip_gradients(&mut self, _: Clip) -> Result {
        Ok(())
    }
    fn set_momentum(&mut self, _: f64) -> Result {
        Ok(())
    }
    fn optimizer_state(&self) -> Result<Weights> {
        Ok(one(self.velocity))
    }
    fn set_optimizer_state(&mut self, state: &Weights) -> Result {
        self.velocity = value(state);
        Ok(())
    }
    fn read_metrics(&mut self, logs: &mut Logs) -> Result {
        if self.samples > 0 {
            logs.insert("loss", self.loss / self.samples as f64);
        }
        Ok(())
    }
}

impl Learner for Quadratic {
    fn step_state(&self) -> Result<Weights> {
        Ok(Weights::default())
    }

    fn set_step_state(&mut self, _: &Weights) -> Result {
        Ok(())
    }

    type Batch = Vec<f64>;
    type Output = ();

    fn metric_names(&self) -> Vec<String> {
        vec!["loss".to_owned()]
    }
    fn forward_backward(&mut self, batch: Vec<f64>, step: TrainStep<'_>) -> Result<usize> {
        self.batches += 1;
        if self.fails_at == Some(self.batches) {
            return Err(Error::engine("out of memory"));
        }
        let noise = (step.seed % 1000) as f64 * 1e-6;
        let differences = batch.iter().map(|target| self.weight - target + noise);
        self.loss += differences.clone().map(|d| d * d).sum::<f64>();
        self.gradient = Some(2.0 * differences.sum::<f64>() / batch.len() as f64);
        self.samples += batch.len();
        Ok(batch.len())
    }
    fn apply_gradients(&mut self, learning_rate: f64) -> Result {
        let gradient = self.gradient.take().ok_or_else(|| Error::engine("no gradients"))?;
        self.velocity = 0.5 * self.velocity - learning_rate * gradient;
        self.weight += self.velocity;
        Ok(())
    }
    fn clear_gradients(&mut self) {
        self.gradient = None;
    }
    fn accumulate_gradients(&mut self) -> Result {
        Ok(())
    }
    fn evaluate(&mut self, batch: Vec<f64>, _: Option<&[f32]>) -> Result<usize> {
        Ok(batch.len())
    }
    fn predict(&mut self, batch: Vec<f64>) -> Result<((), usize)> {
        Ok(((), batch.len()))
    }
    fn concat(&mut self, _: Vec<()>) -> Result<()> {
        Ok(())
    }
    fn reset_metrics(&mut self) {
        (self.loss, self.samples) = (0.0, 0);
    }
}

struct Targets;

impl Dataset for Targets {
    type Batch = Vec<f64>;
    fn len(&self) -> usize {
        10
    }
    fn batch(&self, indices: &[usize]) -> Result<Vec<f64>> {
        Ok(indices.iter().map(|&i| i as f64 / 10.0).collect())
    }
}

fn fit() -> Fit<'static, Vec<f64>> {
    Fit::epochs(3).batch_size(3).verbose(0)
}

/// Asks for a trial of these rates, and keeps what was found.
fn ask(rates: &[f64], stop_above: f64, found: &Arc<Mutex<Option<Trial>>>) -> LambdaCallback {
    let (rates, found) = (rates.to_vec(), Arc::clone(found));
    LambdaCallback::new("ask")
        .on_train_begin(move |run| {
            assert!(run.trial().is_none());
            run.request_trial(rates.clone(), stop_above)
        })
        .on_epoch_begin(move |run| {
            *found.lock().unwrap() = run.trial().cloned();
            Ok(())
        })
}

fn rates() -> Vec<f64> {
    (0..30).map(|i| 10_f64.powf(-5.0 + f64::from(i) / 4.0)).collect()
}

#[test]
fn a_run_is_the_same_with_a_trial_and_without() {
    let mut plain = Trainer::new(Quadratic::new(), 0.1).seed(3);
    let expected = plain.fit(&Targets, fit()).unwrap();

    let found = Arc::default();
    let trace = Trace::new("trace");
    let mut tried = Trainer::new(Quadratic::new(), 0.1)
        .seed(3)
        .callback(ask(&rates(), 4.0, &found))
        .callback(trace.clone());
    let history = tried.fit(&Targets, fit()).unwrap();
    assert_eq!(history, expected);
    assert_eq!(tried.learner().weight.to_bits(), plain.learner().weight.to_bits());
    assert_eq!(tried.learner().velocity.to_bits(), plain.learner().velocity.to_bits());
    let batches = trace.lines().iter().filter(|line| line.contains("batch_begin")).count();
    assert_eq!(batches, 12, "the trial's batches are nobody's");

    // A second run is tried again, from where the model is now.
    let first = found.lock().unwrap().take().unwrap();
    tried.fit(&Targets, fit()).unwrap();
    let second = found.lock().unwrap().take().unwrap();
    assert_ne!(first.points[0].loss, second.points[0].loss);
}

#[test]
fn the_curve_is_the_loss_before_each_update_up_to_divergence() {
    let found = Arc::default();
    let mut trainer = Trainer::new(Quadratic::new(), 0.1).callback(ask(&rates(), 4.0, &found));
    trainer.fit(&Targets, fit()).unwrap();
    let trial = found.lock().unwrap().take().unwrap();
    assert_eq!(trial.planned, 30);
    assert!((15..30).contains(&trial.points.len()), "{}", trial.points.len());
    let tried: Vec<f64> = trial.points.iter().map(|point| point.learning_rate).collect();
    assert_eq!(tried, rates()[..tried.len()]);
    let last = trial.points.last().unwrap();
    let best = trial.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
    assert!(last.smoothed > 4.0 * best && last.learning_rate > 0.1, "{last:?}");
}

#[test]
fn a_stop_asked_for_at_the_same_time_comes_after_the_trial() {
    let found: Arc<Mutex<Option<Trial>>> = Arc::default();
    let seen = Arc::clone(&found);
    let ask = LambdaCallback::new("ask")
        .on_train_begin(|run| {
            run.request_trial(vec![1e-3, 1e-2], 4.0)?;
            run.stop("to look at rates");
            Ok(())
        })
        .on_train_end(move |run, _| {
            *seen.lock().unwrap() = run.trial().cloned();
            Ok(())
        });
    let mut trainer = Trainer::new(Quadratic::new(), 0.1).callback(ask);
    let history = trainer.fit(&Targets, fit()).unwrap();
    assert_eq!((history.len(), trainer.learner().weight), (0, 1.0));
    assert_eq!(found.lock().unwrap().as_ref().map(|trial| trial.points.len()), Some(2));
}

#[test]
fn an_error_in_the_trial_ends_the_run_with_the_model_as_it_was() {
    let mut learner = Quadratic::new();
    learner.fails_at = Some(5);
    let trace = Trace::new("trace");
    let mut trainer = Trainer::new(learner, 0.1)
        .callback(ask(&rates(), 4.0, &Arc::default()))
        .callback(trace.clone());
    let error = trainer.fit(&Targets, fit()).unwrap_err().to_string();
    assert!(error.contains("trial of learning rates for `ask`: out of memory"), "{error}");
    assert_eq!(trace.lines().last().unwrap(), "trace: on_train_end failed");
    assert_eq!((trainer.learner().weight, trainer.learner().velocity), (1.0, 0.0));
}

#[test]
fn a_stop_from_outside_ends_the_trial_too() {
    let handle = StopHandle::default();
    let stop = handle.clone();
    let found = Arc::default();
    let mut trainer = Trainer::new(Quadratic::new(), 0.1)
        .stop_with(handle)
        .callback(ask(&rates(), 4.0, &found))
        .callback(LambdaCallback::new("stop").on_train_begin(move |_| {
            stop.stop();
            Ok(())
        }));
    trainer.fit(&Targets, fit()).unwrap();
    assert_eq!((trainer.learner().batches, trainer.learner().weight), (0, 1.0));
}

#[test]
fn refuses_what_cannot_be_tried() {
    // In a loop written by hand.
    let script = Script::losses(&[1.0]);
    let mut trainer =
        Trainer::new(script.learner(), 0.1).callback(ask(&[0.1], 4.0, &Arc::default()));
    let mut session = trainer.session(Epochs::new(1).verbose(0)).unwrap();
    let error = session.begin_epoch().unwrap_err().to_string();
    assert!(error.contains("callback `ask` asked for a trial of learning rates"), "{error}");
    assert!(error.contains("a loop written by hand"), "{error}");
    drop(session);

    // Two at once, and rates that are none.
    let ask = |rate: f64, name: &str| {
        LambdaCallback::new(name).on_train_begin(move |run| run.request_trial(vec![rate], 4.0))
    };
    for (rates, message) in [
        ([0.1, 0.1], "`a` has asked for a trial of learning rates already"),
        ([f64::NAN, 0.1], "a learning rate of NaN was to be tried"),
        ([0.1, -1.0], "a learning rate of -1 was to be tried"),
    ] {
        let mut trainer = Trainer::new(Quadratic::new(), 0.1)
            .callback(ask(rates[0], "a"))
            .callback(ask(rates[1], "b"));
        let error = trainer.fit(&Targets, fit()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
