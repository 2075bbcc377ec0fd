//! The two streams: results go to standard output, everything else to standard error.

use std::io::{self, Write as _};

use refrain::{Error, Result};

/// Prints a result. A reader that has left (`| head`) is no failure.
pub(crate) fn say(text: &str) -> Result {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::msg(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints a diagnostic.
pub(crate) fn complain(text: &str) {
    // There is no third stream to complain to.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
