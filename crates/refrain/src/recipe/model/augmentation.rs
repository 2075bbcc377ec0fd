//! Layers that change images at random.

use refrain_burn::LayerConfig;
use refrain_burn::layers::{
    Factor, FillMode, FlipMode, Interpolation, RandomFlip, RandomRotation, RandomTranslation,
    RandomZoom,
};
use refrain_core::Result;
use refrain_core::options::Value;

use super::entry::Entry;
use super::named;

/// A layer with the options of those that read beyond and between an image's pixels.
macro_rules! with_sampling {
    ($entry:expr, $layer:expr) => {{
        let entry = &mut *$entry;
        let layer = $layer
            .fill_mode(entry.name_or(
                "fill_mode",
                FillMode::Reflect,
                FillMode::NAMES,
                FillMode::from_name,
                |mode| mode.name(),
            )?)
            .fill_value(entry.number_or("fill_value", 0.0, "a finite number", f64::is_finite)?)
            .interpolation(entry.name_or(
                "interpolation",
                Interpolation::Bilinear,
                Interpolation::NAMES,
                Interpolation::from_name,
                |interpolation| interpolation.name(),
            )?);
        Ok(named!(entry, layer))
    }};
}

pub(super) fn random_flip(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let mode = entry.name_or(
        "mode",
        FlipMode::HorizontalAndVertical,
        FlipMode::NAMES,
        FlipMode::from_name,
        |mode| mode.name(),
    )?;
    Ok(named!(entry, RandomFlip::new(mode)))
}

pub(super) fn random_translation(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let height = factor(&entry.require("height_factor", "height_factor = 0.1")?, is_share)?;
    let width = factor(&entry.require("width_factor", "width_factor = 0.1")?, is_share)?;
    with_sampling!(entry, RandomTranslation::new(height, width))
}

pub(super) fn random_rotation(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let factor = factor(&entry.require("factor", "factor = 0.1")?, is_share)?;
    with_sampling!(entry, RandomRotation::new(factor))
}

pub(super) fn random_zoom(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    // At -1 the whole image would become one pixel.
    let is_zoom = |x: f64| x > -1.0 && x <= 1.0;
    let height = factor(&entry.require("height_factor", "height_factor = 0.2")?, is_zoom)?;
    let mut layer = RandomZoom::new(height);
    if let Some(width) = entry.get("width_factor") {
        layer = layer.width_factor(factor(&width, is_zoom)?);
    }
    with_sampling!(entry, layer)
}

fn is_share(x: f64) -> bool {
    (-1.0..=1.0).contains(&x)
}

/// `0.1`, for −0.1 to 0.1; or `[0.0, 0.1]`.
fn factor(value: &Value<'_>, is_allowed: impl Fn(f64) -> bool) -> Result<Factor> {
    let allowed = if is_allowed(-1.0) { "-1 to 1" } else { "above -1, up to 1" };
    if !value.is_array() {
        let most = value.f64_in(allowed, |x| is_allowed(x) && is_allowed(-x.abs()))?;
        return Ok(most.into());
    }
    match value.items()?.as_slice() {
        [lower, upper] => {
            let range = [lower.f64_in(allowed, &is_allowed)?, upper.f64_in(allowed, &is_allowed)?];
            Ok(range.into())
        }
        items => Err(value.out_of_range(
            format!("an array of {}", items.len()),
            "a number, or two of them: [lower, upper]",
        )),
    }
}
