//! Where downloads and converted data are kept.

use std::env;
use std::path::PathBuf;

use refrain_core::{Error, Result};

/// The folder in which downloads are kept: `REFRAIN_CACHE`; else `refrain` in the user's folder for
/// caches, `XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`.
///
/// # Errors
/// When none of these is known.
///
/// # Example
/// ```
/// let folder = refrain_data::cache_folder()?;
/// println!("downloads are kept in {}", folder.display());
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn cache_folder() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = variable("REFRAIN_CACHE") {
        return Ok(own);
    }
    let home = |below: &str| variable("HOME").map(|home| home.join(below));
    // As its specification has it, a relative one does not count.
    let base = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| {
        if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            home("Library/Caches")
        } else {
            home(".cache")
        }
    });
    base.map(|base| base.join("refrain")).ok_or_else(|| {
        Error::config(
            "there is no folder for caches: neither REFRAIN_CACHE, XDG_CACHE_HOME nor HOME is set; set \
             REFRAIN_CACHE to a folder",
        )
    })
}
