//! Which batch a data set is told comes next: a hint that changes no run.

use std::cell::RefCell;

use refrain_core::testing::Script;
use refrain_core::{Dataset, Error, Fit, Part, Prefetched, Result, Trainer};

/// Writes down what it is asked for.
struct Asked {
    len: usize,
    log: RefCell<Vec<String>>,
}

impl Asked {
    fn new(len: usize) -> Self {
        Self { len, log: RefCell::default() }
    }

    fn log(&self) -> String {
        std::mem::take(&mut *self.log.borrow_mut()).join(" ")
    }
}

impl Dataset for Asked {
    type Batch = usize;

    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, indices: &[usize]) -> Result<usize> {
        self.log.borrow_mut().push(format!("{indices:?}").replace(' ', ""));
        Ok(indices.len())
    }

    fn prefetch(&self, next: &[usize]) {
        self.log.borrow_mut().push(format!("next{next:?}").replace(' ', ""));
    }
}

#[test]
fn the_next_batch_is_named_before_this_one_is_trained() {
    let script = Script::losses(&[1.0]);
    let data = Asked::new(7);
    let mut trainer = Trainer::new(script.learner(), 0.1);
    let fit = || Fit::epochs(1).batch_size(2).shuffle(false).verbose(0);
    trainer.fit(&data, fit()).unwrap();
    assert_eq!(data.log(), "[0,1] next[2,3] [2,3] next[4,5] [4,5] next[6] [6]");
    // Held-out samples by their places in the data.
    trainer.fit(&data, fit().validation_split(0.5)).unwrap();
    assert_eq!(data.log(), "[0,1] next[2] [2] [3,4] next[5,6] [5,6]");
    trainer.evaluate(&data, 4).unwrap();
    assert_eq!(data.log(), "[0,1,2,3] next[4,5,6] [4,5,6]");
    trainer.predict(&Part::new(&data, 2..7).unwrap(), 3).unwrap();
    assert_eq!(data.log(), "[2,3,4] next[5,6] [5,6]");
}

#[test]
fn a_part_has_its_own_samples_alone() {
    let data = Asked::new(7);
    let part = Part::new(&data, 2..5).unwrap();
    assert_eq!((part.len(), part.is_empty()), (3, false));
    for index in [3, usize::MAX] {
        let error = part.batch(&[index]).unwrap_err().to_string();
        assert!(error.contains(&format!("no sample {index} in this part")), "{error}");
        assert_eq!(part.class(index), None);
    }
    #[expect(clippy::reversed_empty_ranges, reason = "what is refused")]
    let backwards = 4..2;
    for range in [0..8, 8..9, backwards] {
        assert!(Part::new(&data, range).is_err());
    }
}

/// Fails at one sample.
struct Fails(usize);

impl Dataset for Fails {
    type Batch = usize;

    fn len(&self) -> usize {
        10
    }

    fn batch(&self, indices: &[usize]) -> Result<usize> {
        match indices.contains(&self.0) {
            true => Err(Error::data("the disk is gone")),
            false => Ok(indices.len()),
        }
    }
}

#[test]
fn a_thread_that_gathers_ahead_changes_no_run() {
    let script = Script::losses(&[3.0, 2.0, 1.0]);
    let run = |data: &dyn Fn(&mut Trainer<_>, Fit<'_, usize>) -> Result<String>| {
        let mut trainer = Trainer::new(script.learner(), 0.1).seed(7);
        data(&mut trainer, Fit::epochs(3).batch_size(3).validation_split(0.2).verbose(0))
    };
    let plain = run(&|trainer, fit| {
        trainer.fit(&script.samples(20), fit).map(|history| format!("{history:?}"))
    });
    let ahead = run(&|trainer, fit| {
        let data = Prefetched::new(script.samples(20));
        trainer.fit(&data, fit).map(|history| format!("{history:?}"))
    });
    assert_eq!(plain.unwrap(), ahead.unwrap());
    // An error comes when its batch does.
    for fails_at in 0..8 {
        let error = |result: Result<_>| result.map(drop).unwrap_err().to_string();
        let fit = || Fit::epochs(1).batch_size(2).shuffle(false).verbose(0);
        let mut trainer = Trainer::new(script.learner(), 0.1);
        let first = error(trainer.fit(&Fails(fails_at), fit()));
        let at = trainer.history().len();
        let second = error(trainer.fit(&Prefetched::new(Fails(fails_at)), fit()));
        assert_eq!((first, at), (second, trainer.history().len()));
    }
}
