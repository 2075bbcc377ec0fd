//! What the columns of a CSV file are taken for, what becomes of them, and what is refused.

use std::path::PathBuf;

use refrain_core::StopHandle;
use refrain_data::{CsvBatch, CsvOptions, CsvReader, CsvTable, Fill, Target, Unknown};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn of(target: &str) -> CsvOptions {
    CsvOptions { targets: vec![target.into()], ..CsvOptions::default() }
}

/// Names of the inputs, all numbers, all targets.
fn read(text: &str, options: &CsvOptions) -> (Vec<String>, Vec<f32>, Vec<f32>) {
    let files = Files::new();
    let path = files.write("t.csv", text);
    let table = CsvTable::infer(&path, options, None).unwrap();
    let CsvBatch { rows, inputs, targets } = table.read(&path).unwrap();
    assert_eq!(inputs.len(), rows * table.width());
    let counted = CsvTable::infer_with(&path, options, None, &StopHandle::default()).unwrap();
    assert_eq!(counted, (table.clone(), rows));
    assert_eq!(table.count_rows(&path, &StopHandle::default()).unwrap(), rows);
    // Kept as JSON, it is the same table.
    let kept = serde_json::to_string(&table).unwrap();
    assert_eq!(serde_json::from_str::<CsvTable>(&kept).unwrap(), table);
    (table.input_names(), inputs, targets)
}

#[test]
fn columns_become_numbers() {
    /// Text, how it is read; names of the inputs, the numbers, the targets.
    type Case<'a> = (&'a str, CsvOptions, &'a [&'a str], &'a [f32], &'a [f32]);
    let cases: &[Case<'_>] = &[
        ("a,b,y\n1,2,3\n4,5,6\n", of("y"), &["a", "b"], &[1.0, 2.0, 4.0, 5.0], &[3.0, 6.0]),
        // The target stands anywhere; spaces around a value are nothing.
        ("y,a\n 1.5 , -2e-1\n", of("y"), &["a"], &[-0.2], &[1.5]),
        // Texts: sorted, one input each.
        (
            "c,y\nred,1\nblue,2\nred,3\n",
            of("y"),
            &["c=blue", "c=red"],
            &[0.0, 1.0, 1.0, 0.0, 0.0, 1.0],
            &[1.0, 2.0, 3.0],
        ),
        // Classes by name, sorted.
        ("a,y\n1,dog\n2,cat\n3,dog\n", of("y"), &["a"], &[1.0, 2.0, 3.0], &[1.0, 0.0, 1.0]),
        // Quotes, CRLF, a byte-order mark, no line end at the end.
        (
            "\u{feff}\"a\",\"b, c\",y\r\n1,\"x \"\"y\"\"\nz\",2\r\n3,\"\"\"\",4",
            of("y"),
            &["a", "b, c=\"", "b, c=x \"y\"\nz"],
            &[1.0, 0.0, 1.0, 3.0, 1.0, 0.0],
            &[2.0, 4.0],
        ),
        ("a,y\n1,\"2\"", of("y"), &["a"], &[1.0], &[2.0]),
        ("a,y\n1,\"2\"\n\n", of("y"), &["a"], &[1.0], &[2.0]),
        (
            "a;b;y\n1;2;3\n",
            CsvOptions { delimiter: b';', ..of("y") },
            &["a", "b"],
            &[1.0, 2.0],
            &[3.0],
        ),
        (
            "1,2,3\n4,5,6\n",
            CsvOptions { has_header: false, ..of("2") },
            &["0", "1"],
            &[1.0, 2.0, 4.0, 5.0],
            &[3.0, 6.0],
        ),
        (
            "a,b,c,y\n1,2,3,4\n",
            CsvOptions { columns: Some(vec!["c".into(), "a".into()]), ..of("y") },
            &["c", "a"],
            &[3.0, 1.0],
            &[4.0],
        ),
        (
            "a,b,c,y\n1,2,3,4\n",
            CsvOptions { drop: vec!["b".into()], ..of("y") },
            &["a", "c"],
            &[1.0, 3.0],
            &[4.0],
        ),
        (
            "a,y,z\n1,2,3\n",
            CsvOptions { targets: vec!["z".into(), "y".into()], ..CsvOptions::default() },
            &["a"],
            &[1.0],
            &[3.0, 2.0],
        ),
        (
            "zip,y\n7,1\n12,2\n",
            CsvOptions { text: vec!["zip".into()], ..of("y") },
            &["zip=12", "zip=7"],
            &[0.0, 1.0, 1.0, 0.0],
            &[1.0, 2.0],
        ),
        // The index that pandas writes has no name.
        (
            ",a,y\n0,1,2\n",
            CsvOptions { drop: vec!["Unnamed: 0".into()], ..of("y") },
            &["a"],
            &[1.0],
            &[2.0],
        ),
    ];
    for (text, options, names, inputs, targets) in cases {
        let found = read(text, options);
        assert_eq!(found.0, *names, "{text:?}");
        assert_eq!((found.1, found.2), (inputs.to_vec(), targets.to_vec()), "{text:?}");
    }
}

#[test]
fn missing_values_are_filled_with_the_training_parts() {
    let text = "a,c,y\n1,x,0\n2,y,0\n,NA,0\n9,x,0\nnan,y,0\n1000,x,0\n";
    let filled = |missing, split| {
        let files = Files::new();
        let path = files.write("t.csv", text);
        let options = CsvOptions { missing: Some(missing), ..of("y") };
        let table = CsvTable::infer(&path, &options, split).unwrap();
        let inputs = table.read(&path).unwrap().inputs;
        // A text that is missing is none of them.
        assert_eq!(inputs[7..9], [0.0, 0.0]);
        (inputs[6], inputs[12])
    };
    assert_eq!(filled(Fill::Mean, None), (253.0, 253.0));
    assert_eq!(filled(Fill::Median, None), (5.5, 5.5));
    assert_eq!(filled(Fill::Number(0.0), None), (0.0, 0.0));
    assert_eq!(filled(Fill::Number(-1.5), None), (-1.5, -1.5));
    // Without the last two rows, which are held out.
    assert_eq!(filled(Fill::Mean, Some(0.3)), (4.0, 4.0));
    assert_eq!(filled(Fill::Median, Some(0.3)), (2.0, 2.0));
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let mean = CsvOptions { missing: Some(Fill::Mean), ..of("y") };
    let few = CsvOptions { max_categories: 2, ..of("y") };
    let classes = CsvOptions { targets_are_classes: true, ..of("y") };
    let two = CsvOptions { targets: vec!["y".into(), "z".into()], ..CsvOptions::default() };
    let both = CsvOptions { columns: Some(vec!["y".into()]), ..of("y") };
    let cases: &[(&str, &CsvOptions, &[&str])] = &[
        ("", &of("y"), &["`", "t.csv` is empty"]),
        ("a,y\n", &of("y"), &["t.csv` has no rows"]),
        ("a,y\n1,2\n3\n", &of("y"), &["line 3: 1 fields, and the first line has 2"]),
        ("a,y\n1,2\n3,4,5\n", &of("y"), &["line 3: 3 fields", "put into quotes"]),
        ("a,y\n1,2\n\n,4\n", &of("y"), &["line 4: column 1 (`a`): the value is missing", "median"]),
        ("a,y\n1,2\n3,\n", &mean, &["line 3: column 2 (`y`): the target is missing"]),
        ("a,y\n1,2\nx,4\n", &of("y"), &["line 3: column 1 (`a`): `x` is no number, and line 2"]),
        (
            "a,y\nx,2\n1,4\n",
            &of("y"),
            &["line 3: column 1 (`a`): `1` is a number", "text = [\"a\"]"],
        ),
        ("a,y\nx,2\ny,4\nz,1\n", &few, &["line 4: column 1 (`a`): more than 2 different texts"]),
        (
            "a,y\n1,2\n1e99,4\n",
            &of("y"),
            &["line 3: column 1 (`a`): `1e99` is infinite, or too large"],
        ),
        (
            "a,y\n1,2\ninf,4\n",
            &of("y"),
            &["line 3: column 1 (`a`): `inf` is infinite, or too large"],
        ),
        ("a,y\n1,2\n3,2.5\n", &classes, &["line 3: column 2 (`y`): `2.5` is no class"]),
        ("a,y\n1,2\n3,-1\n", &classes, &["line 3: column 2 (`y`): `-1` is no class"]),
        ("a,Y\n1,2\n", &of("y"), &["has no column `y`, which `target` names; did you mean `Y`?"]),
        ("a,a\n1,2\n", &of("a"), &["line 1: column 2 (`a`): two columns have this name"]),
        ("a,y\n1,2\n3,\"4\n5,6\n", &of("y"), &["line 3: column 2: the quote is never closed"]),
        ("a,y\n\"x\r\nz\",\"4\n", &of("y"), &["line 3: column 2: the quote is never closed"]),
        ("a,y\n1,\"2\"\"", &of("y"), &["line 2: column 2: the quote is never closed"]),
        ("\"a,y\n1,2\n", &of("y"), &["line 1: column 1: the quote is never closed"]),
        ("a,y\r1,2\r\rx,4\r", &of("y"), &["line 4: column 1 (`a`): `x` is no number"]),
        ("a,y\r\n1,2\r\n\r\nx,4\r\n", &of("y"), &["line 4: column 1 (`a`): `x` is no number"]),
        ("y\n1\n", &of("y"), &["has no column left for the inputs"]),
        ("a,y,z\n1,b,2\n", &two, &["column `y` holds text, and there are 2 targets"]),
        ("a,y\n1,2\n", &both, &["column `y` is named by `target` and by `columns`"]),
        (
            "a,y\n,2\nnan,1\n",
            &mean,
            &["column 1 (`a`): all values of the training part are missing"],
        ),
    ];
    let files = Files::new();
    for (text, options, words) in cases {
        let path = files.write("t.csv", text);
        let error = CsvTable::infer(&path, options, None).and_then(|table| table.read(&path));
        let error = error.unwrap_err().to_string();
        for word in *words {
            assert!(error.contains(word), "{error} instead of {word}");
        }
    }
    let path = files.write("t.csv", b"a,y\n1,\xff\xfe\n");
    let error = CsvTable::infer(&path, &of("y"), None).unwrap_err().to_string();
    assert!(error.contains("line 2: column 2: it is no UTF-8"), "{error}");
    // What steers a terminal is shown, not obeyed.
    let path = files.write("t.csv", "a,y\n1,2\n\u{1b}[31m,4\n");
    let error = CsvTable::infer(&path, &of("y"), None).unwrap_err().to_string();
    assert!(error.contains("\\u{1b}[31m"), "{error}");
}

#[test]
fn new_rows_get_the_columns_of_the_training() {
    let files = Files::new();
    let train = files.write("train.csv", "a,c,y\n1,red,no\n2,blue,yes\n");
    let table = CsvTable::infer(&train, &of("y"), None).unwrap();
    assert!(matches!(&table.target, Target::Names { classes, .. } if classes == &["no", "yes"]));
    let inputs = |table: &CsvTable, text: &str| {
        let path = files.write("new.csv", text);
        CsvReader::inputs(table, &path)?.next_rows(100).map(|batch| batch.inputs)
    };
    let expected = [5.0, 0.0, 1.0];
    for text in ["a,c\n5,red\n", "c,a\nred,5\n", "y,c,extra,a\nmaybe,red,7,5\n", "a,c,y\n5,red,\n"]
    {
        assert_eq!(inputs(&table, text).unwrap(), expected, "{text:?}");
    }
    for (text, words) in [
        ("a\n5\n", "has no column `c`, which the training data has"),
        ("b\n5\n", "lacks columns of the training data: a, c; it has b"),
        (
            "a,c\n5,green\n",
            "line 2: column 2 (`c`): `green` is not among the texts of the training",
        ),
        ("a,c\nx,red\n", "line 2: column 1 (`a`): `x` is no number"),
        ("a,c\n,red\n", "line 2: column 1 (`a`): the value is missing"),
        ("", "is empty"),
    ] {
        let error = inputs(&table, text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let zero = CsvOptions { unknown: Unknown::Zero, ..of("y") };
    let table = CsvTable::infer(&train, &zero, None).unwrap();
    assert_eq!(inputs(&table, "a,c\n5,green\n").unwrap(), [5.0, 0.0, 0.0]);
    // Targets are wanted here.
    let path = files.write("new.csv", "a,c,y\n5,red,perhaps\n");
    let error = table.read(&path).unwrap_err().to_string();
    assert!(
        error.contains("line 2: column 3 (`y`): `perhaps` is not among the classes"),
        "{error}"
    );
}

#[test]
fn without_a_header_places_count() {
    let files = Files::new();
    let train = files.write("train.csv", "1,0,10,x\n2,1,20,y\n");
    let options = CsvOptions { has_header: false, drop: vec!["3".into()], ..of("1") };
    let table = CsvTable::infer(&train, &options, None).unwrap();
    let inputs = |text: &str| {
        let path = files.write("new.csv", text);
        CsvReader::inputs(&table, &path)?.next_rows(100).map(|batch| batch.inputs)
    };
    assert_eq!(inputs("5,0,50,z\n").unwrap(), [5.0, 50.0]);
    assert_eq!(inputs("5,50,z\n").unwrap(), [5.0, 50.0]);
    assert_eq!(inputs("5,50\n6,60\n").unwrap(), [5.0, 50.0, 6.0, 60.0]);
    let error = inputs("5\n").unwrap_err().to_string();
    assert!(
        error.contains("line 1: 1 columns, and the training data has 4, or 3 without"),
        "{error}"
    );
}

#[test]
fn memory_is_that_of_a_line() {
    // Many rows, one at a time.
    let files = Files::new();
    let text: String = (0..10_000).map(|i| format!("{i},{}\n", i % 3)).collect();
    let path = files.write("t.csv", "a,y\n".to_owned() + &text);
    let table = CsvTable::infer(&path, &of("y"), None).unwrap();
    let mut reader = CsvReader::open(&table, &path).unwrap();
    let mut seen = 0;
    loop {
        let batch = reader.next_rows(7).unwrap();
        assert!(batch.inputs.len() <= 7 && batch.inputs.capacity() <= 16);
        if batch.rows == 0 {
            break;
        }
        seen += batch.rows;
    }
    assert_eq!(seen, 10_000);
}

#[test]
fn a_header_of_numbers_alone_is_told_from_a_row() {
    let files = Files::new();
    let read = |text: &str| {
        let path = files.write("t.csv", text);
        CsvTable::of_numbers(&path, 3)?.read(&path).map(|batch| batch.inputs)
    };
    for text in ["1,2,3\n", "a,b,c\n1,2,3\n", "0,1,2\n1,2,3\n"] {
        assert_eq!(read(text).unwrap(), [1.0, 2.0, 3.0], "{text:?}");
    }
    assert_eq!(read("0,1,3\n").unwrap(), [0.0, 1.0, 3.0]);
    let error = read("1,2x,3\n4,5,6\n").unwrap_err().to_string();
    assert!(error.contains("t.csv`, line 1: column 2: `2x` is no number"), "{error}");
}

#[test]
fn a_stop_ends_whatever_reads_a_table() {
    let files = Files::new();
    let text: String = (0..1000).map(|i| format!("{i},,{}\n", i % 3)).collect();
    let path = files.write("t.csv", "a,b,y\n0,1,0\n".to_owned() + &text);
    let options = CsvOptions { missing: Some(Fill::Median), ..of("y") };
    let table = CsvTable::infer(&path, &options, None).unwrap();
    let stop = StopHandle::default();
    let mut reader = CsvReader::open(&table, &path).unwrap().stop_with(&stop);
    assert_eq!(reader.next_rows(10).unwrap().rows, 10);
    stop.stop();
    let read = reader.next_rows(usize::MAX).map(|_| ());
    // The line at which it was broken off: no row is read after the stop.
    let found = read.unwrap_err().to_string();
    assert!(found.ends_with("t.csv`, line 12, was interrupted"), "{found}");
    for stopped in [
        CsvTable::infer_with(&path, &options, None, &stop).map(|_| ()),
        table.count_rows(&path, &stop).map(|_| ()),
    ] {
        let error = stopped.unwrap_err().to_string();
        assert!(error.ends_with("t.csv`, line 1, was interrupted"), "{error}");
    }
}
