//! burn-train: `burn_train WORK FOLDER`.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Int, Tensor};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};

use answering::Answering;
use net::{BATCH, Digits, Net};

mod answering;
#[path = "../../commands.rs"]
mod commands;
mod net;

type Batch = (Tensor<2>, Tensor<1, Int>);

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (pixels, labels): Batch) -> TrainOutput<ClassificationOutput> {
        let logits = self.forward(pixels);
        // One for each sample, so that the metric weighs the last, smaller batch as it should.
        let losses = net::losses(logits.clone(), labels.clone());
        let gradients = losses.clone().mean().backward();
        TrainOutput::new(self, gradients, ClassificationOutput::new(losses, logits, labels))
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (pixels, labels): Batch) -> ClassificationOutput {
        let logits = self.forward(pixels);
        ClassificationOutput::new(net::losses(logits.clone(), labels.clone()), logits, labels)
    }
}

/// The batches of a part, from memory. That of the training waits at an epoch's begin.
struct Loader {
    digits: Arc<Digits>,
    batches: Vec<Batch>,
    epochs: Option<Arc<Epochs>>,
}

/// Where one epoch ends and the next begins: the trainer asks for batches anew.
struct Epochs {
    /// When the running epoch began; `None` before the first.
    began: Mutex<Option<Instant>>,
    /// What the metrics' thread has when it is done with an epoch.
    ended: Mutex<Receiver<answering::Numbers>>,
}

impl Epochs {
    fn turn(&self) {
        let (Ok(mut began), Ok(ended)) = (self.began.lock(), self.ended.lock()) else {
            commands::fail("a thread of the trainer panicked");
        };
        if let Some(began) = *began {
            let Ok(numbers) = ended.recv() else {
                commands::fail("the metrics' thread ended early");
            };
            commands::epoch(began, &numbers);
        }
        *began = Some(commands::wait_for_epoch());
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        if let Some(epochs) = &self.epochs {
            epochs.turn();
        }
        Box::new(Walk { batches: &self.batches, next: 0 })
    }

    fn num_items(&self) -> usize {
        self.batches.iter().map(|(_, labels)| labels.dims()[0]).sum()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        let batches = self.digits.batches(device);
        Arc::new(Loader { digits: self.digits.clone(), batches, epochs: self.epochs.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let batches = self.batches[start.div_ceil(BATCH)..end.div_ceil(BATCH)].to_vec();
        Arc::new(Loader { digits: self.digits.clone(), batches, epochs: self.epochs.clone() })
    }
}

struct Walk<'a> {
    batches: &'a [Batch],
    next: usize,
}

impl Iterator for Walk<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.get(self.next)?.clone();
        self.next += 1;
        Some(Ok(batch))
    }
}

impl DataLoaderIterator<Batch> for Walk<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.batches.len(), Some("batches".to_owned()))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(work), Some(folder)) = (arguments.next(), arguments.next()) else {
        commands::fail("usage: burn_train WORK FOLDER");
    };
    let folder = Path::new(&folder);
    let device = Device::flex().autodiff();
    let (ended, received): (SyncSender<_>, _) = sync_channel(1);
    let epochs = Epochs { began: Mutex::new(None), ended: Mutex::new(received) };
    let loader = |part, device: &Device, epochs| {
        let digits = Arc::new(Digits::load(folder, part));
        let batches = digits.batches(device);
        Arc::new(Loader { digits, batches, epochs })
    };
    let training = loader("train", &device, Some(Arc::new(epochs)));
    let validation = loader("valid", &Device::flex(), None);
    let net = Net::load(&work, folder, &device);
    let (optimizer, rate) = net::optimizer(&work);
    commands::ready("burn-train", "0.22.1");
    SupervisedTraining::new(folder.join(format!("burn-train-{work}")), training, validation)
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .num_epochs(usize::MAX >> 1)
        .with_application_logger(None)
        .renderer(Box::new(Answering::new(ended)))
        .launch(Learner::new(net, optimizer, rate));
}
