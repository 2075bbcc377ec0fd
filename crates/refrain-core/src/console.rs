//! Where a run prints: a stream, a buffer or nowhere, with the progress bar kept whole.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Escaped;

/// Where a run prints.
///
/// # Example
/// ```
/// use refrain_core::console::Console;
/// let (mut console, text) = Console::memory();
/// console.print("epoch\u{7} 1");
/// assert_eq!(text.contents(), "epoch\\u{7} 1\n");
/// ```
pub struct Console {
    sink: Sink,
    /// Whether only warnings and errors are printed.
    is_quiet: bool,
    #[cfg(feature = "progress")]
    pub(crate) bar: Option<indicatif::ProgressBar>,
}

enum Sink {
    Stdout,
    Stderr,
    Memory(Text),
    Silent,
}

impl Console {
    fn new(sink: Sink) -> Self {
        Self {
            sink,
            is_quiet: false,
            #[cfg(feature = "progress")]
            bar: None,
        }
    }

    /// Standard output, as Keras prints. The library's default.
    pub fn stdout() -> Self {
        Self::new(Sink::Stdout)
    }

    /// Standard error: for commands whose results go to standard output.
    pub fn stderr() -> Self {
        Self::new(Sink::Stderr)
    }

    /// Nowhere.
    pub fn silent() -> Self {
        Self::new(Sink::Silent)
    }

    /// A buffer, for tests and user interfaces.
    pub fn memory() -> (Self, Text) {
        let text = Text::default();
        (Self::new(Sink::Memory(text.clone())), text)
    }

    /// The same, but of what is printed only warnings and errors: what begins with `warning:` or
    /// `error:`.
    ///
    /// # Example
    /// ```
    /// use refrain_core::console::Console;
    /// let (console, text) = Console::memory();
    /// let mut console = console.quiet();
    /// console.print("Epoch 1/3");
    /// console.print("warning: the disk is full");
    /// assert_eq!(text.contents(), "warning: the disk is full\n");
    /// ```
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Whether a bar can be drawn: the stream is a terminal that can move its cursor.
    pub fn is_terminal(&self) -> bool {
        let stream = match self.sink {
            _ if self.is_quiet => false,
            Sink::Stdout => io::stdout().is_terminal(),
            Sink::Stderr => io::stderr().is_terminal(),
            Sink::Memory(_) | Sink::Silent => false,
        };
        stream && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Prints a line, or several, above the bar where there is one. Control characters are escaped; a stream
    /// that is closed is no reason to end a run.
    pub fn print(&mut self, line: &str) {
        let is_problem = || ["warning:", "error:"].iter().any(|word| line.starts_with(word));
        if matches!(self.sink, Sink::Silent) || (self.is_quiet && !is_problem()) {
            return;
        }
        let write = || line.split('\n').for_each(|line| self.sink.write(&Escaped(line)));
        #[cfg(feature = "progress")]
        if let Some(bar) = &self.bar {
            bar.suspend(write);
            return;
        }
        write();
    }

    /// Where a bar is to be drawn.
    #[cfg(feature = "progress")]
    pub(crate) fn draw_target(&self) -> indicatif::ProgressDrawTarget {
        use indicatif::ProgressDrawTarget;
        // Keras redraws at most every 0.05 s.
        const REDRAWS_PER_SECOND: u8 = 20;
        match self.sink {
            _ if self.is_quiet => ProgressDrawTarget::hidden(),
            Sink::Stdout => ProgressDrawTarget::stdout_with_hz(REDRAWS_PER_SECOND),
            Sink::Stderr => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
            Sink::Memory(_) | Sink::Silent => ProgressDrawTarget::hidden(),
        }
    }
}

impl Sink {
    fn write(&self, line: &Escaped<'_>) {
        // At once: standard error has no buffer, and an escaped line comes character by character.
        let line = format!("{line}\n");
        // A closed pipe must not end a run that took hours: what cannot be printed is dropped.
        let _ = match self {
            Sink::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Sink::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Sink::Memory(text) => {
                text.push(&line);
                Ok(())
            }
            Sink::Silent => Ok(()),
        };
    }
}

/// What was printed to a [`Console::memory`].
#[derive(Clone, Debug, Default)]
pub struct Text(Arc<Mutex<String>>);

impl Text {
    /// All of it so far.
    pub fn contents(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }
}
