//! Parameters by their names, with `*` for anything.

use burn::module::ParamId;
use refrain_core::Error;

/// What an optimizer is told of a parameter.
#[derive(Clone, Debug)]
pub struct ParameterInfo {
    /// Under which its gradient comes.
    pub id: ParamId,
    /// As in files of weights: `dense_1.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl ParameterInfo {
    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &axis| n.saturating_mul(axis))
    }

    /// Whether it is a convolution's kernel as Burn has it, outputs and inputs first. Others are called
    /// `kernel`, and are as in Keras.
    pub(super) fn is_burns_kernel(&self) -> bool {
        self.shape.len() > 2 && self.name.rsplit('.').next() == Some("weight")
    }

    fn layer(&self) -> &str {
        layer_of(&self.name)
    }
}

fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

/// Whether one of the patterns stands for the parameter of that name, for its layer, or for a layer
/// that holds that one; `*` in a pattern stands for anything.
///
/// # Example
/// ```
/// use refrain_burn::optimizers::names_parameter;
/// let patterns = ["dense_1".to_owned(), "*.bias".to_owned()];
/// assert!(names_parameter(&patterns, "dense_1.weight"));
/// assert!(names_parameter(&patterns, "conv2d.bias"));
/// assert!(!names_parameter(&patterns, "conv2d.weight"));
/// ```
pub fn any(patterns: &[String], name: &str) -> bool {
    let mut outer = std::iter::successors(Some(name), |name| Some(name.rsplit_once('.')?.0));
    outer.any(|name| patterns.iter().any(|pattern| is_match(pattern, name)))
}

/// The first pattern that stands for none of the parameters, where these are known.
pub(super) fn unmatched<'p, 'i>(
    patterns: &'p [String],
    parameters: impl Iterator<Item = &'i ParameterInfo>,
) -> Option<&'p str> {
    let names: Vec<&str> = parameters.map(|one| one.name.as_str()).collect();
    let is_none = |pattern: &&String| !names.iter().any(|name| any(&[(*pattern).clone()], name));
    patterns.iter().find(is_none).filter(|_| !names.is_empty()).map(String::as_str)
}

/// No parameter has that name.
pub(super) fn no_such<'i>(
    given: &str,
    pattern: &str,
    parameters: impl Iterator<Item = &'i ParameterInfo>,
) -> Error {
    let mut layers: Vec<&str> = parameters.map(ParameterInfo::layer).collect();
    layers.sort_unstable();
    layers.dedup();
    Error::config(format!(
        "{given}: `{pattern}` is no layer or parameter of the model; there are {}, and `*` stands for \
         anything",
        layers.join(", ")
    ))
}

/// Whether `name` is what `pattern` says; `*` stands for any characters, none included.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::{any, is_match};

    #[test]
    fn a_layer_stands_for_those_that_it_holds() {
        let name = "bidirectional.backward_gru.kernel";
        for (pattern, expected) in [
            (name, true),
            ("bidirectional.backward_gru", true),
            ("bidirectional", true),
            ("backward_gru", false),
            ("bidirectional_1", false),
            ("bidirectional.kernel", false),
        ] {
            assert_eq!(any(&[pattern.to_owned()], name), expected, "{pattern}");
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("dense", "dense", true),
            ("dense", "dense_1", false),
            ("dense*", "dense_1", true),
            ("*", "", true),
            ("*.bias", "dense.bias", true),
            ("*.bias", "dense.weight", false),
            ("*norm*.gamma", "batch_normalization.gamma", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("", "x", false),
            ("é*", "école", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }
}
