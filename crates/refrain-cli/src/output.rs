//! The two streams: results go to standard output, everything else to standard error.

use std::io::{self, Write as _};

use refrain::{Error, Escaped, Result};

/// Prints a result, line by line, control characters escaped. A reader that has left (`| head`) is no failure.
pub(crate) fn say(text: &str) -> Result {
    let mut stdout = io::stdout().lock();
    let written = text.split('\n').try_for_each(|line| writeln!(stdout, "{}", Escaped(line)));
    match written.and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::msg(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints a diagnostic of one line.
pub(crate) fn complain(text: &str) {
    // There is no third stream to complain to.
    let _ = writeln!(io::stderr().lock(), "{}", Escaped(text));
}

/// `1 epoch`, `2 epochs`.
pub(crate) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
