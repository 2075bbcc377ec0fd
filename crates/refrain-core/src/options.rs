//! Options by name, read with errors that say where, what, and what would be allowed.
//!
//! A recipe's TOML becomes a [`Document`]; callbacks, schedules and everything else that a recipe
//! can name read their options from a [`Section`] of it.

use std::cell::RefCell;

use crate::check::{likeness, nearest};
use crate::error::{Error, Escaped, Result, list_names};
use crate::monitor::Monitor;

/// Characters of a value that a message shows.
const MOST_SHOWN: usize = 500;

/// Of more names than this a message shows the nearest.
const MOST_LISTED: usize = 20;
const NEAREST_LISTED: usize = 6;

/// What has many names, and the chapter of the guide that has them all.
const CHAPTERS: [(&[&str], &str); 4] = [
    (&["layer type", "activation", "initializer"], "Layers"),
    (&["loss", "metric", "optimizer"], "Optimizers, losses, metrics"),
    (&["callback type"], "The callbacks that come with Refrain"),
    (&["schedule"], "The learning rate"),
];

/// A text whose options were parsed, with the place of each.
#[derive(Clone, Debug)]
pub struct Document {
    source: Source,
    root: Node,
}

/// The text, for places in messages.
#[derive(Clone, Debug)]
struct Source {
    /// File name, or what stands in its place.
    name: String,
    text: String,
}

/// A value and the byte at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Offset into the text.
    pub at: usize,
    /// The value.
    pub data: Data,
}

/// What an option can be.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "TOML's and JSON's own types")]
pub enum Data {
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// A type that no option has: its name.
    Other(&'static str),
}

/// A key of a table with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Offset of the key.
    pub key_at: usize,
    /// The value.
    pub value: Node,
}

impl Source {
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        (line, column)
    }

    /// `recipe.toml, line 3, column 5: message`; without a place where there is no text.
    fn error(&self, at: usize, message: impl std::fmt::Display) -> Error {
        if self.text.is_empty() {
            return Error::config(format!("{}: {message}", self.name));
        }
        Error::config(message.to_string()).in_text(&self.name, self.place(at))
    }
}

impl Document {
    /// A document from what a parser found. `name`: the file, for messages; `text`: what the
    /// offsets count in.
    pub fn new(name: impl Into<String>, text: impl Into<String>, root: Node) -> Self {
        Self { source: Source { name: name.into(), text: text.into() }, root }
    }

    /// Options given as JSON, without places: for tests, and for options that no file holds.
    ///
    /// # Example
    /// ```
    /// use refrain_core::options::Document;
    /// let document = Document::from_json("options", &serde_json::json!({ "patience": 5 }));
    /// let options = document.root()?;
    /// assert_eq!(options.require("patience", "patience = 3")?.usize(0)?, 5);
    /// options.finish()?;
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn from_json(name: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::new(name, "", Node { at: 0, data: from_json(value) })
    }

    /// The outermost table.
    ///
    /// # Errors
    /// When there is none.
    pub fn root(&self) -> Result<Section<'_>> {
        self.value().section("the recipe")
    }

    /// The whole document as one value.
    pub fn value(&self) -> Value<'_> {
        Value { source: &self.source, label: "the document".into(), node: &self.root }
    }

    /// The whole document as it was parsed.
    pub fn node(&self) -> &Node {
        &self.root
    }

    /// Line and column of an offset, both from 1.
    pub fn place(&self, at: usize) -> (usize, usize) {
        self.source.place(at)
    }

    /// An error at an offset.
    pub fn error(&self, at: usize, message: impl std::fmt::Display) -> Error {
        self.source.error(at, message)
    }
}

/// The beginning of a text that may be as long as its file.
fn shortened(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MOST_SHOWN) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn from_json(value: &serde_json::Value) -> Data {
    use serde_json::Value as Json;
    let node = |value| Node { at: 0, data: from_json(value) };
    match value {
        Json::Null => Data::Other("null"),
        Json::Bool(b) => Data::Bool(*b),
        Json::Number(n) => match n.as_i128() {
            Some(i) => Data::Integer(i),
            None => Data::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Data::String(s.clone()),
        Json::Array(items) => Data::Array(items.iter().map(node).collect()),
        Json::Object(entries) => Data::Table(
            entries
                .iter()
                .map(|(key, value)| Entry { key: key.clone(), key_at: 0, value: node(value) })
                .collect(),
        ),
    }
}

/// A table that knows which of its keys were asked for.
pub struct Section<'t> {
    source: &'t Source,
    /// `[fit]`, `callback 2`; for messages.
    label: String,
    at: usize,
    table: &'t [Entry],
    asked: RefCell<Vec<&'static str>>,
}

impl<'t> Section<'t> {
    /// The value of `key`, if it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.asked.borrow_mut().push(key);
        let entry = self.table.iter().find(|entry| entry.key == key)?;
        Some(Value { source: self.source, label: key.to_owned(), node: &entry.value })
    }

    /// The value of `key`, which must be there.
    pub fn require(&self, key: &'static str, example: &str) -> Result<Value<'t>> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        // A key that was mistyped is missing under its right name: say that instead.
        let names = self.table.iter().map(|entry| entry.key.as_str());
        let typo = names
            .filter(|name| !self.asked.borrow().contains(name))
            .find(|name| nearest(name, [key]).is_some());
        if let Some(typo) = typo {
            return Err(self.unknown(typo, &[key]));
        }
        Err(self.error(format!("{} needs `{key}`, for example {example}", self.label)))
    }

    /// The table `key`, if it is there.
    pub fn section(&self, key: &'static str) -> Result<Option<Section<'t>>> {
        self.get(key).map(|value| value.section(&format!("[{key}]"))).transpose()
    }

    /// Refuses keys that nobody asked for. Call it when all keys were read.
    pub fn finish(&self) -> Result {
        let asked = self.asked.borrow();
        for entry in self.table {
            if !asked.contains(&entry.key.as_str()) {
                return Err(self.unknown(&entry.key, &asked));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, allowed: &[&'static str]) -> Error {
        let at = self.table.iter().find(|entry| entry.key == name).map_or(0, |e| e.key_at);
        let mut names = allowed.to_vec();
        names.dedup();
        let message = unknown("key", name, &names);
        self.source.error(at, format!("{message} in {}", self.label))
    }

    /// `monitor`, `mode` and `min_delta`, with Keras' defaults: `val_loss`, `"auto"`.
    ///
    /// Whether the run has such a metric, and whether its direction is known, is not asked here: a
    /// check of the run does ([`Callback::findings`](crate::Callback::findings)).
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn monitor(&self, default_min_delta: f64) -> Result<Monitor> {
        let name = self.get("monitor");
        let key = name.as_ref().map_or(Ok("val_loss"), Value::str)?;
        let mode = self.get("mode");
        let monitor = match &mode {
            None => Monitor::auto_or_unresolved(key),
            Some(mode) => mode.look_up("mode", &["auto", "min", "max"], |mode| match mode {
                "auto" => Some(Monitor::auto_or_unresolved(key)),
                "min" => Some(Monitor::min(key)),
                "max" => Some(Monitor::max(key)),
                _ => None,
            })?,
        };
        let min_delta = match self.get("min_delta") {
            Some(min_delta) => min_delta.f64_in("a finite number", f64::is_finite)?,
            None => default_min_delta,
        };
        Ok(monitor.min_delta(min_delta))
    }

    /// An error at the section's place.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.source.error(self.at, message)
    }
}

/// A value with its place.
#[derive(Clone)]
pub struct Value<'t> {
    source: &'t Source,
    label: String,
    node: &'t Node,
}

impl<'t> Value<'t> {
    /// Where it begins in the text.
    pub fn at(&self) -> usize {
        self.node.at
    }

    /// An error at the value's place.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.source.error(self.node.at, message)
    }

    fn wrong_type(&self, allowed: &str) -> Error {
        let found = type_name(&self.node.data);
        self.error(format!("`{}` is {}; allowed: {allowed}", self.label, with_article(found)))
    }

    /// Refuses `shown`, naming what is allowed.
    pub fn out_of_range(&self, shown: impl std::fmt::Display, allowed: &str) -> Error {
        let shown = shortened(shown.to_string());
        self.error(format!("`{}` is {shown}; allowed: {allowed}", self.label))
    }

    /// A number; whole ones are numbers too.
    ///
    /// # Errors
    /// When it is something else.
    pub fn f64(&self) -> Result<f64> {
        match self.node.data {
            Data::Float(x) => Ok(x),
            Data::Integer(i) => Ok(i as f64),
            _ => Err(self.wrong_type("a number")),
        }
    }

    /// A number that `is_allowed`, described by `allowed`.
    pub fn f64_in(&self, allowed: &str, is_allowed: impl Fn(f64) -> bool) -> Result<f64> {
        let x = self.f64()?;
        if is_allowed(x) { Ok(x) } else { Err(self.out_of_range(x, allowed)) }
    }

    /// A whole number of at least `least`.
    pub fn usize(&self, least: usize) -> Result<usize> {
        // Beyond it, sizes overflow somewhere: no epoch, batch or layer has so many.
        const MOST: usize = 1 << 40;
        let allowed = || format!("a whole number, {least} or more");
        let Data::Integer(found) = self.node.data else {
            return Err(self.wrong_type(&allowed()));
        };
        match usize::try_from(found) {
            Ok(count) if (least..=MOST).contains(&count) => Ok(count),
            _ if found > MOST as i128 => {
                Err(self.out_of_range(found, &format!("a whole number, {least} to {MOST}")))
            }
            _ => Err(self.out_of_range(found, &allowed())),
        }
    }

    /// A whole number of 64 bits.
    pub fn u64(&self) -> Result<u64> {
        let allowed = "a whole number, 0 or more";
        let Data::Integer(found) = self.node.data else {
            return Err(self.wrong_type(allowed));
        };
        u64::try_from(found).map_err(|_| self.out_of_range(found, allowed))
    }

    /// `true` or `false`; also Keras' 0 and 1.
    pub fn bool(&self) -> Result<bool> {
        match self.node.data {
            Data::Bool(b) => Ok(b),
            Data::Integer(0) => Ok(false),
            Data::Integer(1) => Ok(true),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// A string.
    pub fn str(&self) -> Result<&'t str> {
        match &self.node.data {
            Data::String(s) => Ok(s),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// Looks a string up; the error names the nearest of `names`. `what`: "optimizer", "loss".
    pub fn look_up<T>(
        &self,
        what: &str,
        names: &[&str],
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let name = self.str()?;
        find(name).ok_or_else(|| self.error(unknown(what, name, names)))
    }

    /// Refuses what is neither a name nor a table: for what can be given either way. `example`: of
    /// a table.
    ///
    /// # Errors
    /// When it is something else.
    ///
    /// # Example
    /// ```
    /// use refrain_core::options::Document;
    /// let document = Document::from_json("options", &serde_json::json!({ "loss": 3 }));
    /// let error = document.root()?.require("loss", "loss = \"mse\"")?;
    /// let error = error.name_or_table("{ type = \"huber\", delta = 2.0 }").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "options: `loss` is an integer; allowed: a string, or a table, for example \
    ///      { type = \"huber\", delta = 2.0 }"
    /// );
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn name_or_table(&self, example: &str) -> Result {
        match self.node.data {
            Data::String(_) | Data::Table(_) => Ok(()),
            _ => Err(self.wrong_type(&format!("a string, or a table, for example {example}"))),
        }
    }

    /// The items of an array.
    pub fn items(&self) -> Result<Vec<Value<'t>>> {
        let Data::Array(items) = &self.node.data else {
            return Err(self.wrong_type("an array"));
        };
        let item =
            |(i, node)| Value { source: self.source, label: format!("{}[{i}]", self.label), node };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Whether this is an array.
    pub fn is_array(&self) -> bool {
        matches!(self.node.data, Data::Array(_))
    }

    /// Whether this is a string.
    pub fn is_string(&self) -> bool {
        matches!(self.node.data, Data::String(_))
    }

    /// Whether this is a whole number.
    pub fn is_integer(&self) -> bool {
        matches!(self.node.data, Data::Integer(_))
    }

    /// Whether this is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.node.data, Data::Table(_))
    }

    /// A table, called `label` in messages.
    pub fn section(&self, label: &str) -> Result<Section<'t>> {
        let Data::Table(table) = &self.node.data else {
            return Err(self.wrong_type(&format!("a table, as in {label}")));
        };
        Ok(Section {
            source: self.source,
            label: label.to_owned(),
            at: self.node.at,
            table,
            asked: RefCell::default(),
        })
    }

    /// Keys and values of a table whose keys are free.
    pub fn entries(&self) -> Result<Vec<(&'t str, Value<'t>)>> {
        let Data::Table(table) = &self.node.data else {
            return Err(self.wrong_type("a table"));
        };
        let entry = |entry: &'t Entry| {
            let label = format!("{}.{}", self.label, entry.key);
            (entry.key.as_str(), Value { source: self.source, label, node: &entry.value })
        };
        Ok(table.iter().map(entry).collect())
    }
}

/// `unknown loss `mse2`; did you mean `mse`? allowed: mse, mae`. Of many names, those that are nearest
/// to it.
fn unknown(what: &str, name: &str, allowed: &[&str]) -> String {
    let lower = name.to_lowercase();
    let hint = nearest(name, allowed.iter().copied())
        .or_else(|| nearest(&lower, allowed.iter().copied()))
        .map(|near| format!(" did you mean `{near}`?"))
        .unwrap_or_default();
    let mut names = allowed.to_vec();
    names.sort_unstable();
    names.dedup();
    let count = names.len();
    if count > MOST_LISTED {
        names.sort_by(|a, b| likeness(&lower, b).total_cmp(&likeness(&lower, a)));
        names.truncate(NEAREST_LISTED);
    }
    let allowed = match count {
        ..=MOST_LISTED => list_names(names),
        _ => {
            let chapter = CHAPTERS.iter().find(|(of, _)| of.contains(&what));
            let place = chapter.map(|(_, chapter)| format!(" under \"{chapter}\""));
            format!(
                "{count} names, nearest to it {}; the guide lists all{}",
                list_names(names),
                place.unwrap_or_default()
            )
        }
    };
    format!("unknown {what} `{}`;{hint} allowed: {allowed}", Escaped(name))
}

fn type_name(data: &Data) -> &'static str {
    match data {
        Data::Bool(_) => "boolean",
        Data::Integer(_) => "integer",
        Data::Float(_) => "float",
        Data::String(_) => "string",
        Data::Array(_) => "array",
        Data::Table(_) => "table",
        Data::Other(name) => name,
    }
}

fn with_article(type_name: &str) -> String {
    match type_name {
        "integer" | "array" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}
