//! TOML as options with places.

use refrain_core::Result;
use refrain_core::options::{Data, Document, Entry, Node};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The value under a dotted path, with the numbers of items from 0: `model.layers.2.units`.
pub(super) fn find<'n>(root: &'n Node, path: &str) -> Option<&'n Node> {
    path.split('.').try_fold(root, |node, part| match &node.data {
        Data::Table(entries) => {
            entries.iter().find(|entry| entry.key == part).map(|entry| &entry.value)
        }
        Data::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Parses a whole document. `name`: of the file, for messages.
pub(crate) fn parse(name: &str, text: &str) -> Result<Document> {
    let table = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        let nothing = Node { at: 0, data: Data::Table(Vec::new()) };
        Document::new(name, text, nothing).error(at, e.message().replace('\n', "; "))
    })?;
    let entries = entries(table.get_ref()).map_err(|(at, message)| {
        let nothing = Node { at: 0, data: Data::Table(Vec::new()) };
        Document::new(name, text, nothing).error(at, message)
    })?;
    Ok(Document::new(name, text, Node { at: 0, data: Data::Table(entries) }))
}

type Unreadable = (usize, String);

fn entries(table: &DeTable<'_>) -> std::result::Result<Vec<Entry>, Unreadable> {
    table
        .iter()
        .map(|(key, value)| {
            let (key_at, key) = (key.span().start, key.get_ref().to_string());
            Ok(Entry { key, key_at, value: node(value)? })
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>) -> std::result::Result<Node, Unreadable> {
    let at = value.span().start;
    let data = match value.get_ref() {
        DeValue::Boolean(b) => Data::Bool(*b),
        DeValue::String(s) => Data::String(s.to_string()),
        DeValue::Integer(i) => match i128::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Data::Integer(i),
            Err(_) => return Err((at, format!("{} is no number that fits", i.as_str()))),
        },
        DeValue::Float(x) => match x.as_str().parse() {
            Ok(x) => Data::Float(x),
            Err(_) => return Err((at, format!("{} is no number", x.as_str()))),
        },
        DeValue::Array(items) => {
            Data::Array(items.iter().map(node).collect::<std::result::Result<_, _>>()?)
        }
        DeValue::Table(table) => Data::Table(entries(table)?),
        DeValue::Datetime(_) => Data::Other("datetime"),
    };
    Ok(Node { at, data })
}
