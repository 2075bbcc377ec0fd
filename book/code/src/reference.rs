//! The reference page of all callbacks, made of the headers of their files.

use std::fs;
use std::path::{Path, PathBuf};

use refrain::Registry;

/// Where callbacks live, from this crate's folder.
const FOLDERS: [&str; 3] = [
    "../../crates/refrain-core/src/callbacks",
    "../../crates/refrain-plot/src",
    "../../crates/refrain-burn/src",
];

/// What every header has, beside its first sentence.
pub const REQUIRED: [&str; 7] =
    ["- Reads:", "- Writes:", "- Requests:", "- State:", "- Cost:", "# Example", "# Source"];

/// A callback's header.
#[derive(Clone, Debug)]
pub struct Header {
    /// What a recipe calls it.
    pub name: String,
    /// The Rust type.
    pub type_name: String,
    /// The documentation, as in the source without the comment marks.
    pub text: String,
}

/// The headers of all registered callbacks, by name, and of those that only Rust can build.
///
/// # Errors
/// When the source of a registered callback is not found.
pub fn headers() -> Result<Vec<Header>, String> {
    let sources = sources();
    let mut headers = Vec::new();
    let registry = Registry::builtin();
    let mut names: Vec<&str> = registry.callbacks.names().collect();
    names.sort_unstable();
    for name in names {
        let constant = format!("const NAME: &'static str = \"{name}\";");
        let source = sources
            .iter()
            .find(|source| source.contains(&constant))
            .ok_or_else(|| format!("no file says `{constant}`"))?;
        let type_name = source
            .split(&constant)
            .next()
            .and_then(|before| before.rsplit("impl FromOptions for ").next())
            .and_then(|after| after.split_whitespace().next())
            .ok_or_else(|| format!("`{name}` is of no type"))?;
        headers.push(header(name, type_name, source)?);
    }
    let lambda = "LambdaCallback";
    let is_lambda = |source: &&String| source.contains(&format!("pub struct {lambda}"));
    if let Some(source) = sources.iter().find(is_lambda) {
        headers.push(header("", lambda, source)?);
    }
    Ok(headers)
}

/// The page: one section a callback.
///
/// # Errors
/// As [`headers`].
pub fn page() -> Result<String, String> {
    let mut page = String::new();
    let headers = headers()?;
    page.push_str("| in a recipe | in Rust | |\n| --- | --- | --- |\n");
    for header in &headers {
        let name =
            if header.name.is_empty() { "–".to_owned() } else { format!("`{}`", header.name) };
        let sentence = header.text.split("\n\n").next().unwrap_or("").replace('\n', " ");
        let anchor = header.type_name.to_lowercase();
        page.push_str(&format!(
            "| {name} | [`{}`](#{anchor}) | {} |\n",
            header.type_name,
            plain(&sentence)
        ));
    }
    for header in &headers {
        page.push_str(&format!("\n## {}\n\n{}\n", header.type_name, markdown(&header.text)));
    }
    Ok(page)
}

fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The documentation above the type.
fn header(name: &str, type_name: &str, source: &str) -> Result<Header, String> {
    let lines: Vec<&str> = source.lines().collect();
    let declares = |line: &&str| {
        line.strip_prefix("pub struct ")
            .and_then(|rest| rest.strip_prefix(type_name))
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let at = lines.iter().position(declares);
    let at = at.ok_or_else(|| format!("no `pub struct {type_name}` beside `{name}`"))?;
    let above = lines.get(..at).unwrap_or_default().iter().rev();
    let mut text: Vec<&str> = above
        .skip_while(|line| !line.starts_with("///"))
        .take_while(|line| line.starts_with("///"))
        .map(|line| line.strip_prefix("/// ").unwrap_or(""))
        .collect();
    text.reverse();
    Ok(Header { name: name.to_owned(), type_name: type_name.to_owned(), text: text.join("\n") })
}

/// As a section of the page: headings two levels down, links to Rust items as plain code, hidden
/// lines of examples left out.
fn markdown(text: &str) -> String {
    let mut markdown = Vec::new();
    let mut language = None;
    for line in text.lines() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            language = match language {
                None if info.is_empty() => {
                    markdown.push("```rust,ignore".to_owned());
                    Some("rust")
                }
                None => {
                    markdown.push(line.to_owned());
                    Some(info)
                }
                Some(_) => {
                    markdown.push(line.to_owned());
                    None
                }
            };
            continue;
        }
        match language {
            Some("rust") if line == "#" || line.starts_with("# ") => {}
            Some(_) => markdown.push(line.to_owned()),
            None if line.starts_with("# ") => markdown.push(format!("##{line}")),
            None => markdown.push(plain(line)),
        }
    }
    markdown.join("\n")
}

/// Links to Rust items lead nowhere in the guide: what remains is their text.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((item, after)) = after.split_once("`]") else {
            plain.push_str("[`");
            rest = after;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        plain.push_str(&format!("`{item}`"));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_has_all_of_its_parts() {
        for header in headers().unwrap() {
            let first = header.text.split("\n\n").next().unwrap_or("");
            assert!(first.ends_with('.'), "{}: {first:?} is no sentence", header.type_name);
            for part in REQUIRED {
                assert!(
                    header.text.lines().any(|line| line.starts_with(part)),
                    "{} has no `{part}`",
                    header.type_name
                );
            }
        }
    }

    #[test]
    fn links_become_code_and_headings_go_down() {
        let text = "Sees [`Run`](crate::Run) and [`Logs`].\n\n# Example\n```\n# hidden\nshown\n```";
        assert_eq!(
            markdown(text),
            "Sees `Run` and `Logs`.\n\n### Example\n```rust,ignore\nshown\n```"
        );
    }
}
