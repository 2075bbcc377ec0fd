//! Logs and the pictures drawn from them, seen from outside.

use proptest::prelude::*;
use refrain_plot::{Figure, Options, PlotError, ScheduleAxis, TrainingLog};

fn log(columns: &[(&str, &[Option<f64>])]) -> TrainingLog {
    let epochs = columns.first().map_or(0, |(_, values)| values.len());
    let columns = columns.iter().map(|(key, values)| ((*key).to_owned(), values.to_vec()));
    TrainingLog::from_columns((1..=epochs as u64).collect(), columns.collect()).unwrap()
}

fn draw(log: &TrainingLog) -> String {
    Figure::training(log, &Options::default()).unwrap().to_svg()
}

fn draw_only(log: &TrainingLog, keys: &[&str]) -> Result<String, PlotError> {
    let metrics = Some(keys.iter().map(|key| (*key).to_owned()).collect());
    Figure::training(log, &Options { metrics, ..Options::default() }).map(|figure| figure.to_svg())
}

/// All texts of a picture, checked to be well formed and to have finite places on it.
fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let root = document.root_element();
    assert_eq!((root.attribute("width"), root.attribute("height")), (Some("1000"), Some("500")));
    for node in root.descendants() {
        for attribute in ["x", "y", "d", "width", "height", "dy"] {
            let value = node.attribute(attribute).unwrap_or_default();
            for number in value.split(|c: char| c.is_ascii_alphabetic() || c == ' ') {
                if number.is_empty() {
                    continue;
                }
                let number: f64 = number.parse().unwrap_or_else(|_| panic!("{attribute}={value}"));
                assert!((-20.0..=1020.0).contains(&number), "{attribute}={value}");
            }
            assert!(!value.contains("NaN") && !value.contains("inf"), "{attribute}={value}");
        }
    }
    let texts = root.descendants().filter(|node| node.has_tag_name("text"));
    let text = |node: roxmltree::Node<'_, '_>| {
        let parts = node.descendants().filter(|part| {
            part.is_text() && !part.ancestors().any(|ancestor| ancestor.has_tag_name("title"))
        });
        parts.filter_map(|part| part.text()).collect::<String>()
    };
    texts.map(text).collect()
}

/// Numbers of the runs and of the single points of the curves in `color`, without the
/// samples of the legend (level lines of two points).
fn strokes(svg: &str, color: &str) -> Vec<usize> {
    svg.lines()
        .filter(|line| line.contains(&format!("fill=\"none\" stroke=\"{color}\"")))
        .flat_map(|line| {
            let path = line.split('"').nth(1).unwrap_or_default();
            path.split('M').skip(1).map(|run| run.split('L').count()).collect::<Vec<_>>()
        })
        .skip(1)
        .collect()
}

const BLUE: &str = "#1f77b4";
const ORANGE: &str = "#ff7f0e";

fn falling(epochs: usize) -> Vec<Option<f64>> {
    (0..epochs).map(|epoch| Some(2.0 / (epoch as f64 + 1.0))).collect()
}

#[test]
fn the_usual_log_has_title_labels_and_legends() {
    let rate: Vec<_> = (0..30).map(|epoch| Some(if epoch < 10 { 0.1 } else { 0.05 })).collect();
    let log = log(&[
        ("loss", &falling(30)),
        ("accuracy", &falling(30)),
        ("val_loss", &falling(30)),
        ("val_accuracy", &falling(30)),
        ("learning_rate", &rate),
    ]);
    let texts = texts(&draw(&log));
    for expected in [
        "Training Progress (from JSON log)",
        "Epoch",
        "Loss",
        "Accuracy",
        "Learning rate",
        "Train Loss",
        "Val Loss",
        "Train accuracy",
        "Val accuracy",
        "Best epoch 30 (0.06667)",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
    }
}

#[test]
fn nan_is_a_gap_and_an_absent_key_is_none() {
    let nan = Some(f64::NAN);
    let (some, none) = (Some(1.0), None);
    for (values, runs) in [
        (vec![some, some, some], vec![3]),
        (vec![some, some, nan, some, some], vec![2, 2]),
        (vec![some, some, none, some, some], vec![4]),
        (vec![some, some, Some(f64::INFINITY), nan, some, some], vec![2, 2]),
        (vec![some, none, none, some, none, none, some], vec![3]),
        (vec![nan, some, nan], vec![]),
    ] {
        let svg = draw(&log(&[("val_loss", &values)]));
        // After the sample of the legend.
        assert_eq!(strokes(&svg, ORANGE), runs, "{values:?}");
        texts(&svg);
    }
}

#[test]
fn a_rate_changes_in_steps_and_holds_where_it_is_unknown() {
    let rates = [Some(0.1), None, Some(0.05), Some(f64::NAN), Some(0.05)];
    let svg = draw_only(&log(&[("learning_rate", &rates)]), &["learning_rate"]).unwrap();
    // Sample of the legend; two levels, until epoch 3.5; the last one.
    let path = svg.lines().filter(|line| line.contains("stroke=\"#008c69\"")).nth(1).unwrap();
    let runs: Vec<Vec<(f64, f64)>> = path
        .split('"')
        .nth(1)
        .unwrap()
        .split('M')
        .skip(1)
        .map(|run| {
            let point = |text: &str| {
                let (x, y) = text.split_once(' ').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            };
            run.split('L').map(point).collect()
        })
        .collect();
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
    for run in runs {
        for pair in run.windows(2) {
            let ((x, y), (next_x, next_y)) = (pair[0], pair[1]);
            assert!(x == next_x || y == next_y, "{pair:?}");
        }
    }
}

#[test]
fn a_single_point_is_seen() {
    let svg = draw(&log(&[("loss", &[Some(0.5)])]));
    assert!(svg.lines().any(|line| line.contains("a3 3 0") && line.contains(BLUE)), "{svg}");
}

#[test]
fn hard_values_make_good_pictures() {
    let constant = [Some(0.25); 8];
    let extremes = [Some(f64::MAX), Some(f64::MIN), Some(5e-324), Some(-5e-324), Some(0.0)];
    for columns in [
        vec![("loss", &[Some(1e38), Some(2e38)][..])],
        vec![("loss", &[Some(1e-30), Some(3e-30)])],
        vec![("loss", &[Some(1e-300), Some(1e300)])],
        vec![("loss", &extremes), ("learning_rate", &extremes), ("accuracy", &extremes)],
        vec![("loss", &constant), ("accuracy", &constant), ("learning_rate", &constant)],
        vec![("loss", &[Some(0.0); 3]), ("learning_rate", &[Some(0.0); 3])],
        vec![("loss", &[Some(-3.0), Some(-4.0)]), ("learning_rate", &[Some(-0.1), Some(0.1)])],
        vec![("loss", &[Some(f64::NAN); 3]), ("learning_rate", &[Some(f64::INFINITY); 3])],
        vec![("loss", &[None; 3]), ("val_loss", &[None; 3])],
        vec![("", &[Some(1.0)]), ("val_", &[Some(1.0)])],
    ] {
        let figure = Figure::training(&log(&columns), &Options::default()).unwrap();
        texts(&figure.to_svg());
        assert!(figure.to_png().is_ok());
    }
}

#[test]
fn values_over_many_decades_have_a_logarithmic_axis() {
    let values: Vec<_> = (0..8).map(|power| Some(10f64.powi(-power))).collect();
    let texts = texts(&draw(&log(&[("loss", &values)])));
    for expected in ["10\u{2212}7", "100"] {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
    }
}

#[test]
fn a_hundred_thousand_names_are_no_trouble() {
    let columns = (0..100_000).map(|n| (format!("metric_{n}"), vec![Some(1.0)])).collect();
    let svg = draw(&TrainingLog::from_columns(vec![1], columns).unwrap());
    assert!(svg.len() < 100_000);
}

#[test]
fn names_cannot_break_the_picture() {
    for name in [
        "a<b>&\"'c]]>",
        "a\u{0}b\u{1b}[31m\u{ffff}\u{202e}",
        "точность 损失 \u{1f600}",
        "a\nb\tc",
        &"very_long_name_".repeat(10_000),
        "__",
        "\u{2028}",
    ] {
        let twin = format!("val_{name}");
        let log = log(&[(name, &falling(3)), (&twin, &falling(3)), ("mae", &falling(3))]);
        texts(&draw(&log));
        let message = draw_only(&log, &["x"]).unwrap_err().to_string();
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
        let figure = Figure::learning_rate(&[0.1], ScheduleAxis::Epoch, name).unwrap();
        texts(&figure.to_svg());
    }
}

#[test]
fn many_metrics_are_named_once_and_too_many_are_counted() {
    let names: Vec<String> = (0..40).map(|n| format!("metric_{n}")).collect();
    let values = falling(5);
    let columns: Vec<(&str, &[Option<f64>])> =
        names.iter().map(|name| (name.as_str(), &values[..])).collect();
    let texts = texts(&draw(&log(&columns)));
    assert!(texts.iter().any(|text| text == "Train metric_15"), "{texts:?}");
    assert!(texts.iter().any(|text| text == "and 24 more: choose with --metrics"), "{texts:?}");
}

#[test]
fn metrics_of_different_scale_have_panels_of_their_own() {
    let large: Vec<_> = (0..5).map(|n| Some(1000.0 + f64::from(n))).collect();
    let texts = texts(&draw(&log(&[("accuracy", &falling(5)), ("perplexity", &large)])));
    for expected in ["Accuracy", "Perplexity"] {
        assert!(texts.iter().any(|text| text == expected), "{texts:?}");
    }
    assert!(!texts.iter().any(|text| text == "Metrics"), "{texts:?}");
}

#[test]
fn only_what_is_selected_is_drawn() {
    let log = log(&[
        ("loss", &falling(5)),
        ("val_loss", &falling(5)),
        ("accuracy", &falling(5)),
        ("learning_rate", &falling(5)),
    ]);
    for (keys, shown, hidden) in [
        (&["loss", "val_loss"][..], "Val Loss", "Learning rate"),
        (&["val_loss", "loss", "loss"], "Train Loss", "Accuracy"),
        (&["loss"], "Train Loss", "Val Loss"),
        (&["accuracy"], "Accuracy", "Loss"),
        (&["learning_rate"], "Learning rate", "Loss"),
    ] {
        let texts = texts(&draw_only(&log, keys).unwrap());
        assert!(texts.iter().any(|text| text == shown), "{keys:?}: {texts:?}");
        assert!(!texts.iter().any(|text| text == hidden), "{keys:?}: {texts:?}");
    }
}

#[test]
fn errors_say_what_would_be_right() {
    let log = log(&[("loss", &falling(5)), ("val_loss", &falling(5))]);
    for (keys, message) in [
        (
            &["val_los"][..],
            "no metric named `val_los`; this run has loss, val_loss; did you mean `val_loss`?",
        ),
        (&["loss", "zzzzzzzzz"], "no metric named `zzzzzzzzz`; this run has loss, val_loss"),
        (&[], "nothing to draw: the list of metrics is empty; name one or more of: loss, val_loss"),
    ] {
        assert_eq!(draw_only(&log, keys).unwrap_err().to_string(), message);
    }
    let bare = TrainingLog::parse(r#"[{"epoch": 1}]"#, "log.json").unwrap();
    let message = Figure::training(&bare, &Options::default()).unwrap_err().to_string();
    assert!(
        message.starts_with("nothing to draw: log.json has epochs and no metrics;"),
        "{message}"
    );
    let message = Figure::learning_rate(&[], ScheduleAxis::Step, "").unwrap_err().to_string();
    assert!(message.contains("the schedule has no rates"), "{message}");
}

#[test]
fn png_has_the_promised_size_and_both_formats_are_deterministic() {
    let log = log(&[("loss", &falling(30)), ("accuracy", &falling(30))]);
    let figure = || Figure::training(&log, &Options::default()).unwrap();
    let png = figure().to_png().unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"));
    assert_eq!(png[16..24], [0, 0, 0x03, 0xe8, 0, 0, 0x01, 0xf4]);
    assert_eq!(png, figure().to_png().unwrap());
    assert_eq!(figure().to_svg(), figure().to_svg());
}

#[test]
fn ten_thousand_epochs_stay_below_a_megabyte_and_keep_their_extremes() {
    let epochs = 10_000;
    let noise = |epoch: u64| (epoch * 7919 % 1009) as f64 / 1009.0;
    let columns = (0..24_u64)
        .map(|n| {
            let value = |epoch| match epoch % 7 {
                0 => Some(f64::NAN),
                3 => None,
                _ => Some(noise(epoch * (n + 1)) + n as f64),
            };
            (format!("metric_{n}"), (1..=epochs).map(value).collect())
        })
        .collect();
    let log = TrainingLog::from_columns((1..=epochs).collect(), columns).unwrap();
    let svg = draw(&log);
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    texts(&svg);

    let spike: Vec<_> = (1..=epochs).map(|n| Some(if n == 5000 { 9.0 } else { 1.0 })).collect();
    let spiked = draw(&self::log(&[("loss", &spike)]));
    // 9 is the largest value: 5 % of the span below the upper end, high in the picture.
    let path = spiked
        .lines()
        .find(|line| line.contains("fill=\"none\" stroke=\"#1f77b4\"") && line.len() > 200);
    let heights =
        path.unwrap().split('L').filter_map(|point| point.split(' ').nth(1)?.parse::<f64>().ok());
    assert!(heights.fold(f64::MAX, f64::min) < 110.0);
}

#[test]
fn epochs_may_have_any_number() {
    for epochs in [vec![0], vec![u64::MAX], vec![0, u64::MAX], vec![u64::MAX - 2, u64::MAX, 7]] {
        let values = vec![Some(1.0); epochs.len()];
        let columns = vec![("loss".into(), values.clone()), ("learning_rate".into(), values)];
        texts(&draw(&TrainingLog::from_columns(epochs, columns).unwrap()));
    }
}

#[test]
fn schedules_have_their_axis() {
    for (rates, progress, label) in [
        (vec![0.1], ScheduleAxis::Epoch, "Epoch"),
        (vec![0.1, f64::NAN, 0.05], ScheduleAxis::Step, "Step"),
        (vec![f64::NAN], ScheduleAxis::Step, "no finite values"),
        (vec![0.0; 200_000], ScheduleAxis::Step, "Step"),
        (vec![1.0, 1e-9], ScheduleAxis::Epoch, "Learning rate"),
    ] {
        let svg = Figure::learning_rate(&rates, progress, "Schedule").unwrap().to_svg();
        let texts = texts(&svg);
        assert!(texts.iter().any(|text| text == label), "{texts:?}");
        assert!(svg.len() < 100_000);
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let figure = Figure::learning_rate(&[0.1], ScheduleAxis::Epoch, "Schedule").unwrap();
    let message = figure.write(folder.path().join("no/a.png")).unwrap_err().to_string();
    assert!(
        message.contains("cannot write the picture") && message.contains("no/a.png: "),
        "{message}"
    );

    figure.write(folder.path().join("a.PNG")).unwrap();
    figure.write(folder.path().join("a.svg")).unwrap();
    assert_eq!(std::fs::read(folder.path().join("a.svg")).unwrap(), figure.to_svg().into_bytes());
    assert!(figure.write(folder.path().join("a.jpeg")).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(f64::NAN)),
        4 => any::<f64>().prop_map(Some),
        4 => (-10.0..10.0).prop_map(Some),
    ]
}

fn any_log() -> impl Strategy<Value = TrainingLog> {
    let key = prop_oneof![
        Just("loss".to_owned()),
        Just("val_loss".to_owned()),
        Just("learning_rate".to_owned()),
        any::<String>(),
    ];
    (1..12_usize)
        .prop_flat_map(move |epochs| {
            (
                prop::collection::hash_set(any::<u64>(), epochs),
                prop::collection::hash_map(
                    key.clone(),
                    prop::collection::vec(any_value(), epochs),
                    1..8,
                ),
            )
        })
        .prop_map(|(epochs, columns)| {
            TrainingLog::from_columns(epochs.into_iter().collect(), columns.into_iter().collect())
                .unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_log_makes_a_well_formed_picture(log in any_log()) {
        texts(&draw(&log));
    }

    #[test]
    fn any_text_is_a_log_or_an_error(text in any::<String>()) {
        let _ = TrainingLog::parse(&text, "log.json");
        let _ = TrainingLog::parse(&format!("[{{\"epoch\": 1, {text}}}]"), "log.json");
    }

    #[test]
    fn a_log_that_was_cut_off_or_changed_is_a_log_or_an_error(at in 0..160_usize, byte in any::<u8>()) {
        let whole = r#"[{"epoch": 1, "loss": NaN, "x": {"a": [1, "\"NaN"]}}, {"epoch": 2, "loss": -Infinity, "non_finite": {"b": "NaN"}, "b": null}, {"epoch": 3.0}]"#;
        let cut: String = whole.chars().take(at).collect();
        let _ = TrainingLog::parse(&cut, "log.json");
        let mut changed = whole.as_bytes().to_vec();
        let at = at % changed.len();
        changed[at] = byte;
        if let Ok(changed) = String::from_utf8(changed) {
            let _ = TrainingLog::parse(&changed, "log.json");
        }
    }
}
