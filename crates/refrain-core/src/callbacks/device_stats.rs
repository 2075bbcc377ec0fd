//! CPU and memory of the process.

use std::time::Instant;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

const MIB: f64 = 1024.0 * 1024.0;

/// Writes the process' use of CPU and memory into the logs of every epoch.
///
/// `cpu_percent` is the CPU time of all threads by the time that the epoch took, validation
/// included: 100 is one core busy all the time, 200 two. `memory_mib` is the memory resident at
/// the epoch's end, `peak_memory_mib` the most since the process began; where the system does not
/// keep it (it does on Linux) the most that this callback saw. A mebibyte is 2²⁰ bytes. Memory of
/// a GPU is not in it. List it before callbacks that log: they then log its numbers too.
///
/// It exists with the feature `device-stats` of the crate, and works on Linux, macOS, Windows and
/// FreeBSD. Where the system does not answer, it is disabled as every observer that fails is: with
/// a warning, and the run goes on.
///
/// - Reads: nothing
/// - Writes: `cpu_percent`, `memory_mib`, `peak_memory_mib`
/// - Requests: nothing
/// - State: nothing
/// - Cost: two questions to the system an epoch, some ten microseconds each on Linux
///
/// # Options
/// None.
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "device_stats"
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::DeviceStats;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(DeviceStats::new());
/// let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let logs = history.last().unwrap();
/// assert!(logs.get("memory_mib").unwrap() > 0.0);
/// assert!(logs.get("peak_memory_mib") >= logs.get("memory_mib"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Refrain's own; Lightning's `DeviceStatsMonitor` writes the same of the machine as a whole.
#[derive(Debug, Default)]
pub struct DeviceStats {
    system: Option<System>,
    /// When the epoch began, and the CPU time used until then.
    epoch: Option<(Instant, f64)>,
    /// The most memory seen, in bytes.
    peak: u64,
}

/// What the system says of this process.
struct Usage {
    cpu_seconds: f64,
    /// Bytes.
    resident: u64,
}

impl DeviceStats {
    /// Writes into the logs.
    pub fn new() -> Self {
        Self::default()
    }

    fn usage(&mut self) -> Result<Usage> {
        let unknown = |why: &str| Error::msg(format!("CPU and memory cannot be measured: {why}"));
        let process = sysinfo::get_current_pid().map_err(unknown)?;
        let system = self.system.get_or_insert_with(System::new);
        usage(system, process).ok_or_else(|| unknown("the system says nothing about this process"))
    }

    /// Begins to measure an epoch, or what is left of it where a run goes on.
    fn begin(&mut self) -> Result {
        let usage = self.usage()?;
        self.epoch = Some((Instant::now(), usage.cpu_seconds));
        Ok(())
    }
}

fn usage(system: &mut System, process: Pid) -> Option<Usage> {
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), true, what);
    let process = system.process(process)?;
    let cpu_seconds = process.accumulated_cpu_time() as f64 / 1000.0;
    // A process that has no memory does not ask.
    (process.memory() > 0).then_some(Usage { cpu_seconds, resident: process.memory() })
}

/// The most memory that was ever resident, in bytes, where the system keeps it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

impl Callback for DeviceStats {
    fn on_train_begin(&mut self, _: &mut Run<'_>) -> Result {
        self.peak = 0;
        self.begin()
    }

    fn on_epoch_begin(&mut self, _: &mut Run<'_>) -> Result {
        self.begin()
    }

    fn on_epoch_end(&mut self, _: &mut Run<'_>, end: &mut EpochEnd<'_>) -> Result {
        let usage = self.usage()?;
        // The system counts no finer than this, and no rate is infinite.
        const CLOCK_SECONDS: f64 = 1e-3;
        if let Some((began, cpu_before)) = self.epoch.take() {
            let seconds = began.elapsed().as_secs_f64().max(CLOCK_SECONDS);
            end.logs.insert("cpu_percent", 100.0 * (usage.cpu_seconds - cpu_before) / seconds);
        }
        self.peak = self.peak.max(usage.resident).max(peak().unwrap_or(0));
        end.logs.insert("memory_mib", usage.resident as f64 / MIB);
        end.logs.insert("peak_memory_mib", self.peak as f64 / MIB);
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new()
            .acts_in([Hook::TrainBegin, Hook::EpochBegin, Hook::EpochEnd])
            .writes_measured("cpu_percent")
            .writes_measured("memory_mib")
            .writes_measured("peak_memory_mib")
            .observes()
    }
}

impl FromOptions for DeviceStats {
    const NAME: &'static str = "device_stats";

    fn from_options(_: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        Ok(Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;
    use crate::{Fit, LambdaCallback, Trainer};

    #[test]
    fn what_is_used_is_seen() {
        const BYTES: usize = 64 << 20;
        let mut kept = Vec::new();
        let busy = LambdaCallback::new("busy").on_train_batch_end(move |run, _| {
            if run.progress.epoch == 1 {
                // Written to, so that it is resident, and until the system's clock has ticked.
                kept.resize(BYTES, 1_u8);
                let began = Instant::now();
                while began.elapsed().as_millis() < 200 {
                    std::hint::black_box(kept.iter().map(|x| u64::from(*x)).sum::<u64>());
                }
            }
            if run.progress.epoch == 2 {
                kept.clear();
                kept.shrink_to_fit();
            }
            Ok(())
        });
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(DeviceStats::new()).callback(busy);
        let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        let column = |name: &str| -> Vec<f64> {
            history.column(name).into_iter().map(|value| value.unwrap()).collect()
        };
        let (memory, peak) = (column("memory_mib"), column("peak_memory_mib"));
        assert!(memory[1] >= 64.0, "{memory:?}");
        assert!(peak.is_sorted() && peak[2] >= memory[1], "{peak:?} {memory:?}");
        assert!(column("cpu_percent")[1] > 0.0);
    }
}
