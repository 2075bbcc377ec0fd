//! Callbacks by the names that recipes use.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::callback::{Callback, OnFailure};
use crate::callbacks;
use crate::combinators::CallbackExt as _;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::options::{Data, Document, Entry, Node, Section, Value};

/// Files of the run directory that no callback may write.
const RESERVED: [&str; 8] = [
    "recipe.toml",
    "data.json",
    "summary.json",
    "model.safetensors",
    "journal.jsonl",
    "checkpoints",
    "quarantine",
    "run.lock",
];

/// A callback that a recipe can name.
///
/// # Example
/// ```
/// use refrain_core::options::{Document, Section};
/// use refrain_core::{BuildContext, Callback, CallbackRegistry, FromOptions, Result};
///
/// struct StopBelow {
///     loss: f64,
/// }
///
/// impl Callback for StopBelow {}
///
/// impl FromOptions for StopBelow {
///     const NAME: &'static str = "stop_below";
///     const EXAMPLE: &'static str = "loss = 0.1";
///
///     fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
///         Ok(Self { loss: options.require("loss", "loss = 0.1")?.f64()? })
///     }
/// }
///
/// let registry = CallbackRegistry::builtin().with::<StopBelow>();
/// let entry = serde_json::json!({ "type": "stop_below", "loss": 0.5, "every": 2 });
/// let document = Document::from_json("my recipe", &entry);
/// let callback = registry.build(&document.value(), 0, &BuildContext::default())?;
/// assert_eq!(callback.name(), "stop_below");
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub trait FromOptions: Callback + Sized {
    /// What a recipe calls it: `type = "early_stopping"`. The type's name in snake case.
    const NAME: &'static str;

    /// The options of a working example, as lines of TOML, without `type`. Empty where all
    /// options have defaults.
    const EXAMPLE: &'static str = "";

    /// Builds it. Options that are not asked for are refused as unknown.
    ///
    /// # Errors
    /// When an option is missing, of the wrong type or out of range, naming its place.
    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self>;
}

/// What building a callback may depend on beside its options.
#[derive(Clone, Copy, Debug)]
pub struct BuildContext<'a> {
    /// Where files go whose names are relative: the run directory.
    pub folder: &'a Path,
}

impl Default for BuildContext<'_> {
    /// The current folder.
    fn default() -> Self {
        Self { folder: Path::new("") }
    }
}

impl BuildContext<'_> {
    /// The file that the option `key` names, in the run directory; `default` where it is left out.
    ///
    /// # Errors
    /// When it is no name of a file, or a file that the run itself writes.
    pub fn output(
        &self,
        options: &Section<'_>,
        key: &'static str,
        default: &str,
    ) -> Result<PathBuf> {
        self.place(options, key, default, "a file", |path| Files::default().can_be_written(path))
    }

    /// The folder that the option `key` names, in the run directory; `default` where it is left
    /// out. It may exist.
    ///
    /// # Errors
    /// When it is no name of a folder, or what the run itself writes.
    pub fn output_folder(
        &self,
        options: &Section<'_>,
        key: &'static str,
        default: &str,
    ) -> Result<PathBuf> {
        self.place(options, key, default, "a folder", |path| {
            if path.exists() && !path.is_dir() {
                return Err(Error::msg("it is no folder"));
            }
            Ok(())
        })
    }

    fn place(
        &self,
        options: &Section<'_>,
        key: &'static str,
        default: &str,
        what: &str,
        check: impl Fn(&Path) -> Result,
    ) -> Result<PathBuf> {
        let value = options.get(key);
        let file = value.as_ref().map_or(Ok(default), Value::str)?;
        let refuse = |shown: String, allowed: &str| match &value {
            Some(value) => value.out_of_range(shown, allowed),
            None => options.error(format!("`{key}` is {shown}; allowed: {allowed}")),
        };
        if file.is_empty() || file.contains('\0') {
            return Err(refuse(format!("{file:?}"), &format!("the name of {what}")));
        }
        let path = self.folder.join(file);
        let plain = lexically_normal(&path);
        let reserved = RESERVED.map(|name| lexically_normal(&self.folder.join(name)));
        if reserved.into_iter().any(|reserved| plain.starts_with(reserved)) {
            let shown = format!("{file:?}, which the run itself writes");
            return Err(refuse(shown, "any other name"));
        }
        check(&path).map_err(|e| refuse(format!("{file:?}: {e}"), what))?;
        Ok(plain)
    }
}

type Build =
    Box<dyn Fn(&Section<'_>, &BuildContext<'_>) -> Result<Box<dyn Callback>> + Send + Sync>;

/// Callbacks by name, and how each is built from its options.
#[derive(Default)]
pub struct CallbackRegistry {
    entries: Vec<Registered>,
}

/// All that a callback's options amount to, as text.
type Describe = Box<dyn Fn(&Section<'_>, &BuildContext<'_>) -> Result<String> + Send + Sync>;

/// Keys of an entry that the registry reads itself, around the callback.
const WRAPPERS: [&str; 8] =
    ["background", "every", "every_steps", "every_seconds", "after", "once", "name", "on_failure"];

struct Registered {
    name: String,
    example: &'static str,
    build: Build,
    describe: Option<Describe>,
}

impl CallbackRegistry {
    /// No callbacks.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The callbacks of this crate.
    pub fn builtin() -> Self {
        callbacks::register(Self::empty())
    }

    /// Adds a callback type; one of the same name is replaced.
    pub fn with<C: FromOptions>(self) -> Self {
        let build: Build =
            Box::new(|options, context| Ok(Box::new(C::from_options(options, context)?)));
        self.add(C::NAME, C::EXAMPLE, build, None)
    }

    /// As [`with`](Self::with), for a type whose `Debug` shows all that its options say: an option that
    /// is written out with its default is then [known](Self::defaults) to say nothing.
    pub fn with_comparable<C: FromOptions + fmt::Debug>(self) -> Self {
        let build: Build =
            Box::new(|options, context| Ok(Box::new(C::from_options(options, context)?)));
        let describe: Describe =
            Box::new(|options, context| Ok(format!("{:?}", C::from_options(options, context)?)));
        self.add(C::NAME, C::EXAMPLE, build, Some(describe))
    }

    /// Adds a callback that a closure builds; one of the same name is replaced.
    pub fn with_builder<F>(self, name: impl Into<String>, build: F) -> Self
    where
        F: Fn(&Section<'_>, &BuildContext<'_>) -> Result<Box<dyn Callback>> + Send + Sync + 'static,
    {
        self.add(name, "", Box::new(build), None)
    }

    fn add(
        mut self,
        name: impl Into<String>,
        example: &'static str,
        build: Build,
        describe: Option<Describe>,
    ) -> Self {
        let name = name.into();
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Registered { name, example, build, describe });
        self
    }

    /// All names, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Options of a working example, as lines of TOML without `type`.
    pub fn example(&self, name: &str) -> Option<&'static str> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.example)
    }

    /// Builds one entry of `[[callbacks]]`, with the wrappers that its keys ask for.
    ///
    /// # Errors
    /// When the name or an option is wrong, naming its place.
    pub fn build(
        &self,
        value: &Value<'_>,
        index: usize,
        context: &BuildContext<'_>,
    ) -> Result<Box<dyn Callback>> {
        let section = value.section(&format!("callback {}", index + 1))?;
        let kind = section.require("type", "type = \"early_stopping\"")?;
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        let entry = kind.look_up("callback type", &names, |name| {
            self.entries.iter().find(|entry| entry.name == name)
        })?;
        let callback = wrap((entry.build)(&section, context)?, &section)?;
        section.finish()?;
        // What is left to check needs no place more precise than the section.
        callback.check().map_err(|e| section.error(e))?;
        Ok(callback)
    }

    /// The options of an entry of `[[callbacks]]` that have their defaults: without them it is the
    /// same callback. None where that is not known: of an entry that [cannot be built](Self::build),
    /// and of a type that is not [comparable](Self::with_comparable) the keys alone that all
    /// callbacks have, such as `every` or `name`.
    ///
    /// # Example
    /// ```
    /// use refrain_core::options::Document;
    /// use refrain_core::{BuildContext, CallbackRegistry};
    ///
    /// let entry = serde_json::json!({ "type": "early_stopping", "patience": 0, "baseline": 0.5 });
    /// let document = Document::from_json("my recipe", &entry);
    /// let registry = CallbackRegistry::builtin();
    /// assert_eq!(registry.defaults(document.node(), &BuildContext::default()), ["patience"]);
    /// ```
    pub fn defaults(&self, entry: &Node, context: &BuildContext<'_>) -> Vec<String> {
        let Data::Table(options) = &entry.data else {
            return Vec::new();
        };
        let meaning = |options: &[Entry]| {
            let table = Node { at: entry.at, data: Data::Table(options.to_vec()) };
            let document = Document::new("", "", table);
            let section = document.root().ok()?;
            let kind = section.get("type")?.str().ok()?.to_owned();
            let registered = self.entries.iter().find(|entry| entry.name == kind)?;
            let built = wrap((registered.build)(&section, context).ok()?, &section).ok()?;
            let describe = registered.describe.as_ref();
            let own = describe.and_then(|describe| describe(&section, context).ok());
            Some((own, built.name(), built.failure_policy()))
        };
        let Some(whole) = meaning(options) else {
            return Vec::new();
        };
        let (mut kept, mut defaults) = (options.clone(), Vec::new());
        for Entry { key, value, .. } in options {
            let is_known = match key.as_str() {
                "type" => false,
                "name" | "on_failure" => true,
                wrapper if WRAPPERS.contains(&wrapper) => wraps_nothing(wrapper, &value.data),
                _ => whole.0.is_some(),
            };
            let without: Vec<Entry> =
                kept.iter().filter(|entry| entry.key != *key).cloned().collect();
            // One after the other: a default may follow from another option.
            if is_known && meaning(&without).as_ref() == Some(&whole) {
                kept = without;
                defaults.push(key.clone());
            }
        }
        defaults
    }
}

/// Whether a wrapper's key with this value leaves the callback as it is.
fn wraps_nothing(key: &str, value: &Data) -> bool {
    matches!(
        (key, value),
        ("every", Data::Integer(1))
            | ("after", Data::Integer(0))
            | ("once" | "background", Data::Bool(false))
    )
}

/// Puts the wrappers around a callback that the keys of its entry ask for.
fn wrap(mut callback: Box<dyn Callback>, section: &Section<'_>) -> Result<Box<dyn Callback>> {
    if let Some(background) = section.get("background")
        && background.bool()?
    {
        callback = Box::new(callback.background());
        // Said here, where the key has a place.
        callback.check().map_err(|e| background.error(e))?;
    }
    let paces = ["every", "every_steps", "every_seconds"];
    let given: Vec<(&str, Value<'_>)> =
        paces.into_iter().filter_map(|key| Some((key, section.get(key)?))).collect();
    if let [(first, _), (second, value), ..] = given.as_slice() {
        return Err(value.error(format!("`{first}` and `{second}` exclude each other; keep one")));
    }
    for (key, value) in given {
        callback = match key {
            "every" => Box::new(callback.every(value.usize(1)?)),
            "every_steps" => Box::new(callback.every_steps(value.usize(1)? as u64)),
            _ => {
                let allowed = "a finite number above 0";
                let seconds = value.f64_in(allowed, |s| s.is_finite() && s > 0.0)?;
                Box::new(callback.every_seconds(seconds))
            }
        };
        callback.check().map_err(|e| value.error(e))?;
    }
    if let Some(after) = section.get("after") {
        callback = Box::new(callback.after(after.usize(0)?));
    }
    if let Some(once) = section.get("once")
        && once.bool()?
    {
        callback = Box::new(callback.once());
    }
    if let Some(name) = section.get("name") {
        let given = name.str()?;
        if given.is_empty() {
            return Err(name.out_of_range("empty", "a name"));
        }
        if given.chars().any(char::is_control) {
            let shown = format!("{given:?}");
            return Err(name.out_of_range(shown, "a name without control characters"));
        }
        callback = Box::new(callback.named(given));
    }
    if let Some(policy) = section.get("on_failure") {
        let policy =
            policy.look_up("failure policy", &["abort", "disable"], |name| match name {
                "abort" => Some(OnFailure::Abort),
                "disable" => Some(OnFailure::Disable),
                _ => None,
            })?;
        callback = Box::new(callback.on_failure(policy));
    }
    Ok(callback)
}

/// `a/./b/../c` → `a/c`, without looking at the disk.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
