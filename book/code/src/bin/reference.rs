//! mdBook's preprocessor: puts the reference of all callbacks where a chapter says `{{#callbacks}}`.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};

use serde_json::Value;

const MARK: &str = "{{#callbacks}}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("supports") {
        // Any renderer: what is put in is Markdown.
        return Ok(());
    }
    let mut input: Value = serde_json::from_reader(io::stdin().lock())?;
    let page = refrain_book::reference::page()?;
    let mut book = input.get_mut(1).map(Value::take).ok_or("mdBook sends a pair")?;
    replace(&mut book, &page);
    serde_json::to_writer(io::stdout().lock(), &book)?;
    Ok(io::stdout().flush()?)
}

/// Chapters hold their text in `content`, wherever they are in the tree.
fn replace(value: &mut Value, page: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, page)),
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) if key == "content" => *text = text.replace(MARK, page),
                    value => replace(value, page),
                }
            }
        }
        _ => {}
    }
}
