//! Training logs.

use refrain_plot::{Figure, Options, TrainingLog};

/// Epochs of a log that is drawn as well.
const MOST_DRAWN: usize = 50;

/// Reads the bytes as the JSON log of a run, and draws it where it is one.
pub fn log_reader(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let log = match TrainingLog::parse(text, "log.json") {
        Ok(log) => log,
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("log.json: ") || error.contains("log.json"), "{error}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
            return;
        }
    };
    let epochs = log.epochs();
    assert!(!epochs.is_empty() && epochs.is_sorted_by(|a, b| a < b));
    for key in log.keys() {
        let values: Vec<_> = log.values(key).collect();
        assert!(!values.is_empty() && values.is_sorted_by(|a, b| a.0 < b.0));
        assert!(values.iter().all(|(epoch, _)| epochs.binary_search(epoch).is_ok()));
    }
    assert!(log.best_epoch().is_none_or(|best| best.value.is_finite()));
    if epochs.len() > MOST_DRAWN || log.keys().count() > 10 {
        return;
    }
    match Figure::training(&log, &Options::default()) {
        Ok(figure) => {
            // Every place in the picture is one.
            let svg = figure.to_svg();
            for attribute in [" x=\"", " y=\"", " d=\"", " width=\"", " height=\""] {
                for value in svg.split(attribute).skip(1) {
                    let value = value.split('"').next().unwrap_or_default();
                    assert!(!value.contains("NaN") && !value.contains("inf"), "{attribute}{value}");
                }
            }
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
}
