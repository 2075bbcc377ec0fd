//! `[data]`: where the samples come from, and what is held out.

use refrain_burn::{AnyTensor, ArrayDataset, Targets};
use refrain_core::Result;

use refrain_core::options::Section;

/// What `[data]` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    source: Source,
    pub(super) validation_split: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Digits,
}

/// The samples of a recipe, ready to be trained on.
pub type RecipeData = ArrayDataset<AnyTensor, Targets>;

pub(super) fn read(section: &Section<'_>) -> Result<Data> {
    let source = section.require("source", "source = \"digits\"")?;
    let source = source
        .look_up("data source", &["digits"], |name| (name == "digits").then_some(Source::Digits))?;
    let split = section.get("validation_split");
    let split = split.map(|split| split.f64_in("above 0 and below 1", |x| x > 0.0 && x < 1.0));
    if let Some(validation) = section.get("validation") {
        return Err(validation.error(
            "`validation` takes the source's own test part, and digits has none; \
             use validation_split = 0.2",
        ));
    }
    let validation_split = split.transpose()?;
    section.finish()?;
    Ok(Data { source, validation_split })
}

impl Data {
    /// Loads the samples.
    pub(super) fn load(&self) -> Result<RecipeData> {
        match self.source {
            Source::Digits => {
                let digits = refrain_data::digits()?;
                ArrayDataset::new(&digits.shape, digits.pixels)?.labels(digits.labels)
            }
        }
    }
}
