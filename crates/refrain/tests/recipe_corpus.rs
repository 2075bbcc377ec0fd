//! Recipes that anybody may have written: the corpus of the fuzz target, read as a user's recipe is,
//! with every beginning of each. A recipe that is refused is refused by name and place.

use std::fs;
use std::path::Path;

use refrain::Error;
use refrain::Recipe;

/// Checks what is said of a recipe. It may show a line of it, with a mark below.
fn check(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 20_000, "{} bytes", text.len());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.contains("recipe.toml"), "{text:?}");
}

fn read(folder: &Path, bytes: &[u8]) -> bool {
    let path = folder.join("recipe.toml");
    fs::write(&path, bytes).unwrap();
    let recipe = match Recipe::load(&path, &[]) {
        Ok(recipe) => recipe,
        Err(error) => {
            check(&error);
            return false;
        }
    };
    // What was taken once is taken again.
    let text = recipe.to_toml().unwrap();
    fs::write(&path, &text).unwrap();
    let again = Recipe::load(&path, &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(again.to_toml().unwrap(), text);
    true
}

#[test]
fn recipes_are_read_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/recipe");
    let (mut tried, mut taken) = (0, 0);
    for file in fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let bytes = fs::read(path).unwrap();
        // Cut in every line, at its end and in its middle.
        let ends = (0..bytes.len()).filter(|i| bytes[*i] == b'\n');
        let cuts: Vec<usize> = ends.flat_map(|end| [end.saturating_sub(3), end + 1]).collect();
        for cut in cuts.into_iter().chain([bytes.len()]) {
            tried += 1;
            taken += usize::from(read(folder.path(), &bytes[..cut]));
        }
    }
    println!("{tried} recipes, {taken} taken");
    assert!(tried > 100 && taken > 0);
}

#[test]
fn deep_and_huge_recipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}b = 1", "a.".repeat(100_000)),
        format!("[{}b]", "a.".repeat(100_000)),
        "[[callbacks]]\n".repeat(10_000),
        format!("name = \"{}\"", "x".repeat(1_000_000)),
    ] {
        assert!(!read(folder.path(), text.as_bytes()));
    }
}
