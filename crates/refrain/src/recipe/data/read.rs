//! Reading `[data]`.

use std::path::PathBuf;

use refrain_core::Result;
use refrain_core::options::{Section, Value};
use refrain_data::{CsvOptions, Fill, Published, Unknown};

use super::Preparation;
use super::arrays::ImageDataFormat;

/// What `[data]` says.
#[derive(Clone, Debug)]
pub(in crate::recipe) struct Data {
    pub(super) source: Source,
    pub(in crate::recipe) validation_split: Option<f64>,
    pub(super) validates_on_test: bool,
    /// `None`: as there is memory.
    pub(super) in_memory: Option<bool>,
    /// How the data of a run that is gone on with, or used, became inputs.
    pub(in crate::recipe) prepared: Option<Box<Preparation>>,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Digits,
    Published { which: Published, path: Option<PathBuf>, mirrors: Vec<String> },
    Csv(Box<CsvSource>),
    Npz(NpzSource),
}

#[derive(Clone, Debug)]
pub(super) struct CsvSource {
    pub(super) path: PathBuf,
    pub(super) test_path: Option<PathBuf>,
    pub(super) options: CsvOptions,
}

#[derive(Clone, Debug)]
pub(super) struct NpzSource {
    pub(super) path: PathBuf,
    pub(super) scale: Option<f32>,
    pub(super) image_data_format: Option<ImageDataFormat>,
}

const SOURCES: [&str; 5] = ["digits", "mnist", "fashion_mnist", "csv", "npz"];

pub(in crate::recipe) fn read(section: &Section<'_>) -> Result<Data> {
    let source = section.require("source", "source = \"digits\"")?;
    let name = source.look_up("data source", &SOURCES, |name| {
        SOURCES.into_iter().find(|source| *source == name)
    })?;
    let source = match name {
        "mnist" => published(section, Published::Mnist)?,
        "fashion_mnist" => published(section, Published::FashionMnist)?,
        "csv" => Source::Csv(Box::new(csv(section)?)),
        "npz" => Source::Npz(npz(section)?),
        _ => Source::Digits,
    };
    let split = section.get("validation_split");
    let validation_split = split
        .as_ref()
        .map(|split| split.f64_in("above 0 and below 1", |x| x > 0.0 && x < 1.0))
        .transpose()?;
    let validation = section.get("validation");
    if let Some(validation) = &validation {
        if matches!(source, Source::Digits) {
            return Err(validation.error(
                "`validation` takes the source's own test part, and digits has none; \
                 use validation_split = 0.2",
            ));
        }
        validation
            .look_up("part for the validation", &["test"], |name| (name == "test").then_some(()))?;
        if split.is_some() {
            return Err(validation.error(
                "`validation` and `validation_split` exclude each other; give one of them",
            ));
        }
        if let Source::Csv(csv) = &source
            && csv.test_path.is_none()
        {
            return Err(validation.error(
                "`validation` takes the source's own test part, and this one names none: give test_path \
                 = \"FILE\", or use validation_split = 0.2",
            ));
        }
    }
    let in_memory = match source {
        Source::Digits => None,
        _ => section.get("in_memory").map(|value| value.bool()).transpose()?,
    };
    section.finish()?;
    let validates_on_test = validation.is_some();
    Ok(Data { source, validation_split, validates_on_test, in_memory, prepared: None })
}

fn published(section: &Section<'_>, which: Published) -> Result<Source> {
    let path = path(section, "path")?;
    let url = section.get("url");
    let mirrors = match &url {
        None => which.mirrors(),
        Some(url) => strings(url)?,
    };
    Ok(Source::Published { which, path, mirrors })
}

fn csv(section: &Section<'_>) -> Result<CsvSource> {
    let file = section.require("path", "path = \"data.csv\"")?.str()?;
    let list = |key| section.get(key).map_or(Ok(Vec::new()), |value| strings(&value));
    let mut options = CsvOptions {
        targets: match section.get("target") {
            Some(target) => strings(&target)?,
            None => {
                return Err(section.require("target", "target = \"price\"").err().unwrap_or_else(
                    || section.error("[data] needs `target`, for example target = \"price\""),
                ));
            }
        },
        columns: section.get("columns").map(|columns| strings(&columns)).transpose()?,
        drop: list("drop")?,
        text: list("text")?,
        missing: section.get("missing").map(|missing| fill(&missing)).transpose()?,
        ..CsvOptions::default()
    };
    if let Some(delimiter) = section.get("delimiter") {
        options.delimiter = match delimiter.str()?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => *byte,
            _ => {
                return Err(delimiter.out_of_range(
                    format!("{:?}", delimiter.str()?),
                    "one ASCII character, for example \",\", \";\" or \"\\t\"",
                ));
            }
        };
    }
    if let Some(has_header) = section.get("has_header") {
        options.has_header = has_header.bool()?;
    }
    if let Some(unknown) = section.get("unknown") {
        options.unknown = unknown.look_up("policy", &["error", "zero"], |name| match name {
            "error" => Some(Unknown::Error),
            "zero" => Some(Unknown::Zero),
            _ => None,
        })?;
    }
    if let Some(most) = section.get("max_categories") {
        options.max_categories = most.usize(1)?;
    }
    Ok(CsvSource { path: file.into(), test_path: path(section, "test_path")?, options })
}

fn npz(section: &Section<'_>) -> Result<NpzSource> {
    let file = section.require("path", "path = \"data.npz\"")?.str()?;
    let scale = section.get("scale").map(|scale| {
        let allowed = "a finite number above 0, by which the inputs are divided";
        scale.f64_in(allowed, |x| (x as f32).is_finite() && x as f32 > 0.0)
    });
    let scale = scale.transpose()?.map(|scale| scale as f32);
    let format = section.get("image_data_format").map(|format| {
        format.look_up("image data format", &["channels_first", "channels_last"], |name| match name
        {
            "channels_first" => Some(ImageDataFormat::ChannelsFirst),
            "channels_last" => Some(ImageDataFormat::ChannelsLast),
            _ => None,
        })
    });
    Ok(NpzSource { path: file.into(), scale, image_data_format: format.transpose()? })
}

fn path(section: &Section<'_>, key: &'static str) -> Result<Option<PathBuf>> {
    section.get(key).map(|value| value.str().map(PathBuf::from)).transpose()
}

/// A string, or a list of them; a column without a name may be its number.
fn strings(value: &Value<'_>) -> Result<Vec<String>> {
    let one = |value: &Value<'_>| match value.is_integer() {
        true => value.usize(0).map(|number| number.to_string()),
        false => value.str().map(str::to_owned),
    };
    if !value.is_array() {
        return Ok(vec![one(value)?]);
    }
    let items = value.items()?;
    if items.is_empty() {
        return Err(value.error("the list is empty; name something, or leave the key out"));
    }
    items.iter().map(one).collect()
}

/// `"mean"`, `"median"`, `"zero"`, or a number.
fn fill(value: &Value<'_>) -> Result<Fill> {
    if value.is_string() {
        return value.look_up("way to fill missing values", &["mean", "median", "zero"], |name| {
            match name {
                "mean" => Some(Fill::Mean),
                "median" => Some(Fill::Median),
                "zero" => Some(Fill::Number(0.0)),
                _ => None,
            }
        });
    }
    let number = value
        .f64_in("a finite number, \"mean\", \"median\" or \"zero\"", |x| (x as f32).is_finite())?;
    Ok(Fill::Number(number as f32))
}
