//! The next batch gathered while this one trains.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::dataset::Dataset;
use crate::error::Result;

/// A data set whose next batch is gathered by a thread while this one is trained on. The batches are
/// those of the data set alone.
///
/// Worth it where gathering takes long: decoding, reading from a disk or a network. The thread begins
/// with the first batch.
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Prefetched, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let data = Prefetched::new(script.data());
/// let mut trainer = Trainer::new(script.learner(), 0.1);
/// trainer.fit(&data, Fit::epochs(2).verbose(0))?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct Prefetched<D: Dataset> {
    data: Arc<D>,
    ahead: Ahead<D::Batch>,
}

impl<D> Prefetched<D>
where
    D: Dataset + Send + Sync + 'static,
    D::Batch: Send + 'static,
{
    /// The same data set, with a thread.
    pub fn new(data: D) -> Self {
        let data = Arc::new(data);
        let gather = Arc::clone(&data);
        Self { data, ahead: Ahead::new(move |indices| gather.batch(indices)) }
    }
}

impl<D> Dataset for Prefetched<D>
where
    D: Dataset + Send + Sync + 'static,
    D::Batch: Send + 'static,
{
    type Batch = D::Batch;

    fn len(&self) -> usize {
        self.data.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<D::Batch> {
        self.ahead.get(indices)
    }

    fn prefetch(&self, next: &[usize]) {
        self.ahead.prefetch(next);
    }

    fn class(&self, index: usize) -> Option<usize> {
        self.data.class(index)
    }
}

/// Gathers in a thread what will be wanted next; what is wanted otherwise, at once.
///
/// # Example
/// ```
/// use refrain_core::Ahead;
///
/// let doubled = Ahead::new(|indices| Ok(indices.iter().map(|i| 2 * i).collect::<Vec<_>>()));
/// doubled.prefetch(&[1, 2]);
/// assert_eq!(doubled.get(&[1, 2])?, [2, 4]);
/// // What was prefetched binds nobody.
/// doubled.prefetch(&[3]);
/// assert_eq!(doubled.get(&[7])?, [14]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct Ahead<T> {
    gather: Gather<T>,
    state: Mutex<State<T>>,
}

type Gather<T> = Arc<dyn Fn(&[usize]) -> Result<T> + Send + Sync>;

struct State<T> {
    /// Once there was something to gather.
    worker: Option<Worker<T>>,
    /// What it was asked for and has not been fetched.
    asked: Option<Vec<usize>>,
}

struct Worker<T> {
    /// `None` tells the thread to end.
    wishes: Option<Sender<Vec<usize>>>,
    answers: Receiver<Result<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<T> {
    /// `gather`: a function of the indices alone, called here or in the thread.
    pub fn new(gather: impl Fn(&[usize]) -> Result<T> + Send + Sync + 'static) -> Self {
        Self { gather: Arc::new(gather), state: Mutex::new(State { worker: None, asked: None }) }
    }

    /// What `gather` makes of these.
    ///
    /// # Errors
    /// Those of `gather`.
    pub fn get(&self, indices: &[usize]) -> Result<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(asked) = state.asked.take() else {
            return (self.gather)(indices);
        };
        let answer = state.worker.as_ref().and_then(|worker| worker.answers.recv().ok());
        match answer {
            Some(answer) if asked == indices => answer,
            Some(_) => (self.gather)(indices),
            None => {
                // The thread has panicked. The next one begins anew; whatever it was comes up here.
                state.worker = None;
                (self.gather)(indices)
            }
        }
    }

    /// Says what the next [`get`](Self::get) is likely to want.
    pub fn prefetch(&self, next: &[usize]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.asked.is_some() {
            return;
        }
        let worker = match &mut state.worker {
            Some(worker) => worker,
            // Without a thread it is gathered when it is wanted.
            none => match Worker::start(Arc::clone(&self.gather)) {
                Ok(worker) => none.insert(worker),
                Err(_) => return,
            },
        };
        if worker.wishes.as_ref().is_some_and(|wishes| wishes.send(next.to_vec()).is_ok()) {
            state.asked = Some(next.to_vec());
        }
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(gather: Gather<T>) -> std::io::Result<Self> {
        let (wishes, wished) = channel::<Vec<usize>>();
        let (answer, answers) = channel();
        let work = move || {
            for indices in wished {
                if answer.send(gather(&indices)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("refrain-ahead".to_owned()).spawn(work)?;
        Ok(Self { wishes: Some(wishes), answers, thread: Some(thread) })
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, had it one, was seen where its answer was missing.
            let _ = thread.join();
        }
    }
}

impl<T> std::fmt::Debug for Ahead<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn gives_what_was_asked_for_whatever_was_prefetched() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let ahead = Ahead::new(move |indices| {
            counted.fetch_add(1, Ordering::Relaxed);
            match indices {
                [9] => Err(Error::data("there is no 9")),
                _ => Ok(indices.to_vec()),
            }
        });
        // Wanted, prefetched before it; how often it was gathered so far.
        for (wanted, prefetched, gathered) in [
            (vec![1, 2], None, 1),
            (vec![3], Some(vec![3]), 2),
            (vec![4], Some(vec![5]), 4),
            (vec![4], None, 5),
            (vec![4], Some(vec![9]), 7),
        ] {
            if let Some(prefetched) = prefetched {
                ahead.prefetch(&prefetched);
                // A second wish is left out.
                ahead.prefetch(&[100]);
            }
            assert_eq!(ahead.get(&wanted).unwrap(), wanted);
            assert_eq!(calls.load(Ordering::Relaxed), gathered, "{wanted:?}");
        }
        ahead.prefetch(&[9]);
        assert_eq!(ahead.get(&[9]).unwrap_err().to_string(), "there is no 9");
    }

    #[test]
    fn a_thread_that_panics_is_replaced() {
        let ahead = Ahead::new(|indices: &[usize]| {
            assert_ne!(indices, [0], "no zero");
            Ok(indices.len())
        });
        ahead.prefetch(&[0]);
        assert_eq!(ahead.get(&[1, 2]).unwrap(), 2);
        ahead.prefetch(&[3]);
        assert_eq!(ahead.get(&[3]).unwrap(), 1);
    }
}
