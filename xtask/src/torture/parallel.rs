//! Cases of a proof, side by side on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Result, Torture};

impl Torture {
    /// Runs `case` for 0, 1, 2, … up to and without `count`, or for the one that `--only` names. The
    /// first failure ends all and is returned with its number.
    pub(super) fn cases(&self, count: u64, case: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
        self.cases_while(|| true, count, case)
    }

    /// As [`cases`](Self::cases); begins no further one once `goes_on` is false.
    pub(super) fn cases_while(
        &self,
        goes_on: impl Fn() -> bool + Sync,
        count: u64,
        case: impl Fn(u64) -> Result<()> + Sync,
    ) -> Result<()> {
        let (first, end) = self.only.map_or((0, count), |only| (only, only + 1));
        let next = AtomicU64::new(first);
        let failure = Mutex::new(None);
        let has_failed = || failure.lock().is_ok_and(|failure| failure.is_some());
        let work = || {
            while goes_on() && !has_failed() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    break;
                }
                if let Err(what) = case(number)
                    && let Ok(mut failure) = failure.lock()
                {
                    failure.get_or_insert(format!("case {number} (--only {number}): {what}"));
                }
            }
        };
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        failure.into_inner().map_err(|_| "a case panicked".to_owned())?.map_or(Ok(()), Err)
    }
}
