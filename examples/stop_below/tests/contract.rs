//! What every callback promises, and when this one stops: without a model, data or time.

use refrain_core::options::{Data, Document, Entry, Node};
use refrain_core::testing::{Curve, Script, assert_callback_contract};
use refrain_core::{BuildContext, Callback as _, CallbackRegistry, Ending, Fit, Trainer};
use refrain_stop_below::StopBelow;

#[test]
fn keeps_the_contract() {
    assert_callback_contract(|| StopBelow::new("loss", 0.1));
    assert_callback_contract(|| StopBelow::new("val_accuracy", 0.9).patience(3));
}

/// Epochs that are run until the loss has been below 0.5.
fn epochs(curve: Curve, patience: usize) -> usize {
    let script = Script::curves([("loss", curve)]);
    let mut trainer = Trainer::new(script.learner(), 0.1)
        .callback(StopBelow::new("loss", 0.5).patience(patience));
    let history = trainer.fit(&script.data(), Fit::epochs(6).verbose(0)).unwrap();
    if let Ending::Stopped(reason) = &history.ending {
        assert_eq!(
            (reason.by.as_str(), reason.reason.as_str()),
            ("stop_below", "loss is below 0.5")
        );
    }
    history.len()
}

#[test]
fn stops_after_so_many_epochs_in_a_row() {
    let low = Curve::values(&[0.9, 0.4, 0.3, 0.2, 0.1, 0.1]);
    for (curve, patience, expected) in [
        (low.clone(), 1, 2),
        (low.clone(), 3, 4),
        (low.clone(), 9, 6),
        (low.clone().set(2, 0.7), 2, 5),
        // Half is not below half; NaN is below nothing; what is missing does not count.
        (low.clone().set(1, 0.5), 1, 3),
        (low.clone().set(2, f64::NAN), 2, 5),
        (low.missing(2), 2, 4),
        (Curve::decreasing(6), 1, 3),
    ] {
        assert_eq!(epochs(curve, patience), expected);
    }
}

/// Builds it as a recipe does.
fn build(options: &[(&str, Data)]) -> Result<String, String> {
    let entry = |key: &str, data| Entry { key: key.into(), key_at: 0, value: Node { at: 0, data } };
    let kind = entry("type", Data::String("stop_below".into()));
    let options = options.iter().map(|(key, data)| entry(key, data.clone()));
    let table = Data::Table([kind].into_iter().chain(options).collect());
    let document = Document::new("recipe.toml", "", Node { at: 0, data: table });
    let registry = CallbackRegistry::empty().with::<StopBelow>();
    let built = registry.build(&document.value(), 0, &BuildContext::default());
    built.map(|callback| callback.access().read().join(", ")).map_err(|e| e.to_string())
}

#[test]
fn is_built_from_a_recipe() {
    let text = |text: &str| Data::String(text.into());
    let value = || ("value", Data::Float(0.1));
    assert_eq!(build(&[value()]).unwrap(), "loss");
    assert_eq!(build(&[value(), ("monitor", text("val_loss"))]).unwrap(), "val_loss");
    for (options, said) in [
        (vec![], "needs `value`, for example value = 0.1"),
        (vec![("value", text("low"))], "`value` is a string; allowed: a number"),
        (vec![("value", Data::Float(f64::NAN))], "`value` is NaN; allowed: a finite number"),
        (vec![value(), ("patience", Data::Integer(0))], "`patience` is 0"),
        (vec![value(), ("patients", Data::Integer(1))], "did you mean `patience`?"),
    ] {
        let error = build(&options).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(StopBelow::new("loss", f64::INFINITY).check().is_err());
}
