//! How much memory there is.

use sysinfo::System;

/// Bytes of memory that this process could still take: of the machine, or of the container (cgroup)
/// where that has less. `None`: unknown.
///
/// # Example
/// ```
/// assert!(refrain_data::available_memory().is_none_or(|bytes| bytes > 0));
/// ```
pub fn available_memory() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let machine = Some(system.available_memory()).filter(|bytes| *bytes > 0);
    // 0 also stands for what is not limited.
    let container = system.cgroup_limits().map(|limits| limits.free_memory);
    let container = container.filter(|bytes| *bytes > 0);
    machine.into_iter().chain(container).min()
}
