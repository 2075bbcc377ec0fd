//! The error type: what failed, where in the run, why, and the way out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::event::Hook;
use crate::progress::Progress;

/// `std::result::Result` with [`Error`], and `()` where a hook has nothing to say.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a run, a check or a file operation failed.
///
/// One line without a final dot; causes hang on [`source`](std::error::Error::source).
/// Cloning is cheap (the error is shared), so an error can be both told to the
/// callbacks and returned from `fit`.
///
/// # Example
/// ```
/// use refrain_core::Error;
///
/// let error = Error::config("epochs is 0; allowed: 1 or more");
/// assert!(error.is_config());
/// assert_eq!(error.to_string(), "epochs is 0; allowed: 1 or more");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    place: Option<Place>,
    /// Line and column.
    at: Option<(usize, usize)>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    further: Vec<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Config,
    Data,
    Engine,
    File,
    Other,
}

/// Where in a run a callback failed.
#[derive(Clone)]
struct Place {
    callback: String,
    hook: Hook,
    epoch: usize,
    step: u64,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            place: None,
            at: None,
            source: None,
            further: Vec::new(),
        }))
    }

    /// An error of a callback's own: `Error::msg("the server said no")`.
    pub fn msg(message: impl Into<String>) -> Self {
        Self::new(Kind::Other, message)
    }

    /// A wish that cannot be met: wrong option, unknown name, bad recipe. Found before the first batch.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Data that cannot be used: a label outside the outputs, a file of another shape.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// The engine (model, loss, optimizer, device) failed.
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(Kind::Engine, message)
    }

    /// A file operation failed: ``cannot write `log.json`: No space left on device``.
    ///
    /// `action` is the verb: `write`, `read`, `create`.
    pub fn file(action: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!("cannot {action} `{}`: {source}", path.display());
        Self::new(Kind::File, message).with_source(source)
    }

    /// Wraps any error of another library, for use with `?` in hooks: `.map_err(Error::wrap)?`.
    pub fn wrap(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::msg(source.to_string()).with_source(source)
    }

    /// Attaches the cause.
    pub fn with_source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Puts words in front of the message: `context: message`.
    pub fn context(self, context: impl fmt::Display) -> Self {
        self.edit(|inner| inner.message = format!("{context}: {}", inner.message))
    }

    /// Says where in a recipe it is, line and column from 1: `recipe.toml, line 3, column 5: message`.
    pub fn in_text(self, file: &str, (line, column): (usize, usize)) -> Self {
        let placed = self.context(format_args!("{file}, line {line}, column {column}"));
        placed.edit(|inner| inner.at = Some((line, column)))
    }

    pub(crate) fn in_callback(self, callback: &str, hook: Hook, progress: &Progress) -> Self {
        let place = Place {
            callback: callback.to_owned(),
            hook,
            epoch: progress.epoch,
            step: progress.step,
        };
        self.edit(|inner| inner.place = Some(place))
    }

    /// Attaches what failed later; the first error stays the error.
    pub(crate) fn with_further(self, further: Vec<Error>) -> Self {
        if further.is_empty() {
            return self;
        }
        self.edit(|inner| inner.further.extend(further))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Whether the configuration is at fault: nothing was trained, nothing was written.
    pub fn is_config(&self) -> bool {
        self.0.kind == Kind::Config
    }

    /// Whether the data is at fault.
    pub fn is_data(&self) -> bool {
        self.0.kind == Kind::Data
    }

    /// Whether the engine is at fault.
    pub fn is_engine(&self) -> bool {
        self.0.kind == Kind::Engine
    }

    /// Whether a file operation is at fault.
    pub fn is_file(&self) -> bool {
        self.0.kind == Kind::File
    }

    /// Line and column in the recipe, both from 1, where something there is at fault.
    ///
    /// # Example
    /// ```
    /// use refrain_core::Error;
    ///
    /// let error = Error::config("`epochs` is 0").in_text("recipe.toml", (15, 10));
    /// assert_eq!(error.to_string(), "recipe.toml, line 15, column 10: `epochs` is 0");
    /// assert_eq!(error.text_place(), Some((15, 10)));
    /// ```
    pub fn text_place(&self) -> Option<(usize, usize)> {
        self.0.at
    }

    /// Name of the callback that failed, if one did.
    pub fn callback(&self) -> Option<&str> {
        self.0.place.as_ref().map(|place| place.callback.as_str())
    }

    /// The hook in which the callback failed, if one did.
    pub fn hook(&self) -> Option<Hook> {
        self.0.place.as_ref().map(|place| place.hook)
    }

    /// What failed after this error and because of it, while the run was being ended.
    pub fn further(&self) -> &[Error] {
        &self.0.further
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            // Epochs are counted from 1 in everything printed.
            write!(
                f,
                "callback `{}` failed in {} at epoch {} (step {}): ",
                Escaped(&place.callback),
                place.hook,
                place.epoch + 1,
                place.step
            )?;
        }
        write!(f, "{}", Escaped(&self.0.message))?;
        for further in &self.0.further {
            write!(f, "; then: {further}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(&**source)
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::new(Kind::File, source.to_string()).with_source(source)
    }
}

impl From<serde_json::Error> for Error {
    fn from(source: serde_json::Error) -> Self {
        Self::wrap(source)
    }
}

/// Shows text with control characters escaped, so that a name cannot steer the terminal, nor forge
/// a line.
///
/// # Example
/// ```
/// use refrain_core::Escaped;
/// assert_eq!(Escaped("a\u{1b}[31mb").to_string(), "a\\u{1b}[31mb");
/// ```
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            // What steers a terminal (C0 with the line break, C1, bidirectional overrides) is shown,
            // not obeyed.
            let steers =
                c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if steers {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// `a, b, c`, each escaped; for the list of allowed names in a message.
pub fn list_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> =
        names.into_iter().map(|name| Escaped(name.as_ref()).to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_callback_hook_and_place() {
        let progress = Progress { epoch: 2, step: 2814, ..Progress::default() };
        let error = Error::msg("disk on fire").in_callback("csv_logger", Hook::EpochEnd, &progress);
        assert_eq!(
            error.to_string(),
            "callback `csv_logger` failed in on_epoch_end at epoch 3 (step 2814): disk on fire"
        );
        assert_eq!(error.callback(), Some("csv_logger"));
    }

    #[test]
    fn the_first_error_stays_the_error() {
        let error = Error::config("first").with_further(vec![Error::msg("second")]);
        assert!(error.is_config());
        assert_eq!(error.to_string(), "first; then: second");
    }
}
