//! Devices by name.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(any(feature = "metal", feature = "vulkan", feature = "webgpu", feature = "wgpu"))]
use burn::tensor::DeviceKind;
#[cfg(any(
    feature = "cuda",
    feature = "metal",
    feature = "rocm",
    feature = "vulkan",
    feature = "webgpu",
    feature = "wgpu"
))]
use burn::tensor::DeviceType;
use burn::tensor::{Device, Tensor};
use refrain_core::{Error, Escaped, Result, list_names, nearest};

const CPU: &str = "cpu";

/// Devices beside the CPU: the name of each is that of the Cargo feature that it needs, too.
const ACCELERATORS: [(&str, bool); 6] = [
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("rocm", cfg!(feature = "rocm")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("webgpu", cfg!(feature = "webgpu")),
    ("wgpu", cfg!(feature = "wgpu")),
];

/// A device by its name: `cpu`; and with the Cargo feature of that name `cuda`, `metal`, `rocm`,
/// `vulkan`, `webgpu`, `wgpu`. `cuda:1` is the second of its kind.
///
/// The CPU is Burn's Flex, whatever else is compiled in. Another device is opened, and computes two
/// numbers, which takes up to some seconds: what would fail in the first step fails here.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::Device;
///
/// assert_eq!(refrain_burn::device("cpu")?, Device::flex());
///
/// let error = refrain_burn::device("gpu").unwrap_err();
/// assert!(error.to_string().contains("allowed: cpu, cuda"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Errors
/// A configuration error for a name that is none, and for a device that was not compiled in. An engine
/// error where the machine has no such device, or its driver fails.
pub fn device(name: &str) -> Result<Device> {
    if name == CPU {
        return Ok(Device::flex());
    }
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => (kind, Some(index.parse::<usize>().map_err(|_| unknown(name))?)),
    };
    let known = ACCELERATORS.iter().find(|(known, _)| *known == kind);
    let (kind, is_here) = known.ok_or_else(|| unknown(name))?;
    if !is_here {
        return Err(Error::config(format!(
            "device `{name}`: this program was built without it, and has {}; build it with the \
             feature `{kind}`: cargo build --release -p refrain-cli --features {kind}",
            list_names(compiled())
        )));
    }
    // Backends answer a missing driver or library with a panic.
    let opened = catch_unwind(|| open(kind, index)).unwrap_or_else(|panic| Err(text_of(&*panic)));
    opened.map_err(|problem| Error::engine(format!("device `{name}`: {problem}")))
}

/// What this program can compute on.
fn compiled() -> impl Iterator<Item = &'static str> {
    let here = ACCELERATORS.iter().filter(|(_, is_here)| *is_here);
    std::iter::once(CPU).chain(here.map(|(name, _)| *name))
}

fn unknown(name: &str) -> Error {
    let names = || std::iter::once(CPU).chain(ACCELERATORS.iter().map(|(name, _)| *name));
    let hint = nearest(name, names()).map(|near| format!("; did you mean `{near}`?"));
    Error::config(format!(
        "no device is named `{}`; allowed: {}, and `cuda:1` for the second of a kind{}",
        Escaped(name),
        list_names(names()),
        hint.unwrap_or_default()
    ))
}

fn open(kind: &str, index: Option<usize>) -> std::result::Result<Device, String> {
    let (best, mut all) = found(kind);
    let count = all.len();
    if count == 0 {
        return Err(
            "this machine has none, or its driver is not installed; `cpu` needs neither".into()
        );
    }
    let device = match index {
        None => best,
        Some(index) if index < count => all.swap_remove(index),
        Some(_) => {
            return Err(match count {
                1 => format!("this machine has one; allowed: {kind}, {kind}:0"),
                _ => format!("this machine has {count}; allowed: {kind}:0 to {kind}:{}", count - 1),
            });
        }
    };
    let tried = catch_unwind(AssertUnwindSafe(|| {
        (Tensor::<1>::ones([2], &device) + 1.0).try_into_data().map_err(|error| error.to_string())
    }));
    match tried.unwrap_or_else(|panic| Err(text_of(&*panic))) {
        Ok(_) => Ok(device),
        Err(problem) => Err(format!("it was found, and cannot compute: {problem}")),
    }
}

/// Of the devices of a kind on this machine, the one to take where none is asked for; and all.
fn found(kind: &str) -> (Device, Vec<Device>) {
    match kind {
        #[cfg(feature = "cuda")]
        "cuda" => (Device::cuda(0), Device::enumerate(DeviceType::Cuda).into_vec()),
        #[cfg(feature = "metal")]
        "metal" => (
            Device::metal(DeviceKind::DefaultDevice),
            Device::enumerate(DeviceType::Metal).into_vec(),
        ),
        #[cfg(feature = "rocm")]
        "rocm" => (Device::rocm(0), Device::enumerate(DeviceType::Rocm).into_vec()),
        #[cfg(feature = "vulkan")]
        "vulkan" => (
            Device::vulkan(DeviceKind::DefaultDevice),
            Device::enumerate(DeviceType::Vulkan).into_vec(),
        ),
        #[cfg(feature = "webgpu")]
        "webgpu" => (
            Device::webgpu(DeviceKind::DefaultDevice),
            Device::enumerate(DeviceType::WebGpu).into_vec(),
        ),
        #[cfg(feature = "wgpu")]
        "wgpu" => (
            Device::wgpu(DeviceKind::DefaultDevice),
            Device::enumerate(DeviceType::Wgpu).into_vec(),
        ),
        _ => (Device::flex(), Vec::new()),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("its backend panicked without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused() {
        for (name, words) in [
            ("gpu", "no device is named `gpu`; allowed: cpu, cuda, metal"),
            ("cdua", "did you mean `cuda`?"),
            ("cuda:", "no device is named `cuda:`"),
            ("cuda:-1", "no device is named `cuda:-1`"),
            ("cpu:0", "no device is named `cpu:0`"),
            ("", "no device is named ``"),
            ("\u{1b}", "no device is named `\\u{1b}`"),
        ] {
            let error = device(name).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(words), "{name:?}: {error}");
        }
    }

    #[test]
    fn what_is_not_compiled_in_names_the_feature() {
        for (name, _) in ACCELERATORS.iter().filter(|(_, is_here)| !is_here) {
            for name in [(*name).to_owned(), format!("{name}:1")] {
                let error = device(&name).unwrap_err();
                let kind = name.trim_end_matches(":1");
                let way_out = format!("--features {kind}");
                assert!(error.is_config() && error.to_string().ends_with(&way_out), "{error}");
            }
        }
    }

    /// Opens, or says why not: on a machine without it, with the driver or without.
    #[test]
    fn what_is_compiled_in_never_panics() {
        for (name, _) in ACCELERATORS.iter().filter(|(_, is_here)| *is_here) {
            let far = device(&format!("{name}:4096")).unwrap_err();
            assert!(far.to_string().contains("this machine has"), "{far}");
            if let Err(error) = device(name) {
                assert!(error.to_string().starts_with(&format!("device `{name}`: ")), "{error}");
            }
        }
    }
}
