//! Files of weights that anybody may have written: refused by name, in time and memory of the order
//! of their length; and read as the reference reader of the format reads them.

mod peak;

use proptest::prelude::*;
use refrain_core::weights::{WeightDtype, WeightTensor, Weights};
use safetensors::tensor::{Dtype, SafeTensors};

use peak::peak;

/// A file of this header and so many bytes of elements.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 7);
    file
}

fn message(file: &[u8]) -> String {
    Weights::from_safetensors(file).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_named() {
    let claims = |length: u64| {
        let mut file = file("{}", 0);
        file[..8].copy_from_slice(&length.to_le_bytes());
        file
    };
    let one = |fields: &str, data| file(&format!("{{\"w\\u001b\":{{{fields}}}}}"), data);
    let two = |a: &str, b: &str| {
        let entry = |at: &str| format!("{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{at}}}");
        file(&format!("{{\"a\":{},\"b\":{}}}", entry(a), entry(b)), 8)
    };
    for (file, part) in [
        (vec![], "it has 0 bytes, its length alone would take 8"),
        (vec![0; 7], "it has 7 bytes"),
        (claims(3), "the header claims 3 bytes; allowed: at most 2, what is left of the file"),
        (claims(u64::MAX), "the header claims 18446744073709551615 bytes; allowed: at most 2"),
        (claims(1 << 63), "the header claims 9223372036854775808 bytes"),
        (claims(0), "the header cannot be read: EOF"),
        (file("[]", 0), "invalid type: sequence, expected an object with one field per tensor"),
        (file("{", 0), "EOF while parsing an object"),
        (file("{}", 1), "its tensors have 0 bytes, behind the header are 1"),
        (file(&"[".repeat(100_000), 0), "expected an object with one field per tensor"),
        (file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0), "tensor `a`"),
        (file(&format!("{{\"a\":{{\"x\":{}", "[".repeat(100_000)), 0), "EOF while parsing a list"),
        (one(r#""dtype":"F32","shape":[1]"#, 4), "tensor `w\\u{1b}`: missing field `data_offsets`"),
        (
            one(r#""dtype":"F8_E4M3\u001b","shape":[1],"data_offsets":[0,1]"#, 1),
            r"tensor `w\u{1b}` has the element type `F8_E4M3\u{1b}`; allowed: F64, F32,",
        ),
        (
            one(r#""dtype":"F64","shape":[1],"data_offsets":[0,4]"#, 4),
            r"tensor `w\u{1b}` lies at 0..4, which are not the bytes of F64 of the shape [1]",
        ),
        (
            one(r#""dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,4]"#, 4),
            "of F64 of the shape [4294967296, 4294967296]",
        ),
        (
            one(r#""dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]"#, 0),
            "of F64 of the shape [2305843009213693952]",
        ),
        (
            one(r#""dtype":"U8","shape":[-1],"data_offsets":[0,1]"#, 1),
            "invalid value: integer `-1`",
        ),
        (one(r#""dtype":"U8","shape":[1e3],"data_offsets":[0,1]"#, 1), "floating point `1000.0`"),
        (one(r#""dtype":"U8","shape":[4],"data_offsets":[4,0]"#, 4), "lies at 4..0; expected at 0"),
        (two("[0,4]", "[2,6]"), "tensor `b` lies at 2..6; expected at 4: without gap or overlap"),
        (two("[0,4]", "[0,4]"), "tensor `b` lies at 0..4; expected at 4"),
        (two("[4,8]", "[5,9]"), "tensor `a` lies at 4..8; expected at 0"),
        (two("[0,4]", "[18446744073709551615,3]"), "tensor `b` lies at 18446744073709551615..3"),
        (two("[0,4]", "[18446744073709551616,3]"), "tensor `b`: "),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                    "a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
                1,
            ),
            "`a` comes twice",
        ),
        (file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "`__metadata__` comes twice"),
        (file(r#"{"__metadata__":{"a":1}}"#, 0), "expected a string"),
        (
            one(&format!(r#""dtype":"U8","shape":[{}1],"data_offsets":[0,1]"#, "2,".repeat(20)), 1),
            "of U8 of the shape [2, 2, 2, 2, 2, 2, 2, 2] and 13 more",
        ),
    ] {
        let message = message(&file);
        assert!(message.starts_with("not a safetensors file: "), "{message}");
        assert!(message.contains(part), "{message:?} lacks {part:?}");
        assert!(message.chars().all(|c| !c.is_control()) && message.len() < 400, "{message}");
    }
}

#[test]
fn memory_is_of_the_order_of_the_file() {
    let empty =
        |i: usize| format!("\"{i}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let many: Vec<String> = (0..20_000).map(empty).collect();
    let long = |inside: &str| {
        format!(r#"{{"w":{{"dtype":"U8","shape":[{inside}0],"data_offsets":[0,0]}}}}"#)
    };
    let claims = |length: u64| {
        let mut file = vec![b' '; 100_000];
        file[..8].copy_from_slice(&length.to_le_bytes());
        file
    };
    for (what, file) in [
        ("claims all memory", claims(u64::MAX)),
        ("claims the most that is allowed", claims(100_000_000)),
        ("is one blank", claims(99_992)),
        ("has many tensors", file(&format!("{{{}}}", many.join(",")), 0)),
        ("has a long shape", file(&long(&"0,".repeat(500_000)), 0)),
        ("has a long wrong shape", file(&long(&"9,".repeat(500_000)), 1)),
        ("is deep", file(&long(&"[".repeat(1_000_000)), 0)),
        ("has a long name", file(&long("0],\"").replace('w', &"w".repeat(1_000_000)), 0)),
        (
            "has much metadata",
            file(&format!(r#"{{"__metadata__":{{{}"":""}}}}"#, r#""":"","#.repeat(99_999)), 0),
        ),
        ("has unknown fields", file(&format!(r#"{{"w":{{"x":[{}0]}}}}"#, "0,".repeat(500_000)), 0)),
    ] {
        let (_, most) = peak(|| Weights::from_safetensors(&file).map_err(|e| e.to_string()));
        let allowed = 16 * file.len() + 4096;
        assert!(most <= allowed, "{what}: {most} bytes for a file of {}", file.len());
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let status = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(status.success());
    std::fs::create_dir(path("folder")).unwrap();
    for (name, target) in
        [("zero", "/dev/zero"), ("to_pipe", "pipe"), ("loop", "loop"), ("gone", "x")]
    {
        symlink(target, path(name)).unwrap();
    }
    for name in ["pipe", "folder", "zero", "to_pipe", "loop", "gone", "missing"] {
        let (error, most) = peak(|| Weights::load(&path(name)).unwrap_err().to_string());
        assert!(error.contains(&path(name).display().to_string()), "{error}");
        assert!(most < 1 << 16, "{name}: {most} bytes");
    }
    // A link to a file of weights is one: the user has named it.
    let weights = Weights::from_f32([("w", vec![1], vec![1.0])]);
    weights.save(&path("file")).unwrap();
    symlink("file", path("link")).unwrap();
    assert_eq!(Weights::load(&path("link")).unwrap(), weights);
    std::fs::write(path("file"), b"no weights").unwrap();
    let error = Weights::load(&path("link")).unwrap_err().to_string();
    assert!(error.contains("link`: not a safetensors file: the header claims"), "{error}");
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let tensor = |name: &str, shape: &[usize], n: usize| WeightTensor {
        name: name.into(),
        shape: shape.into(),
        dtype: WeightDtype::F32,
        bytes: vec![0; n].into(),
    };
    for (tensors, part) in [
        (vec![tensor("w", &[2], 4)], "tensor `w` has 4 bytes, which are not those of F32"),
        (vec![tensor("w", &[usize::MAX, 3], 4)], "tensor `w` has 4 bytes"),
        (vec![tensor("w\n", &[1 << 62], 0)], "tensor `w\\n` has 0 bytes"),
        (vec![tensor("w", &[1], 4), tensor("w", &[2], 8)], "two tensors are named `w`"),
        (vec![tensor("__metadata__", &[1], 4)], "give it another name"),
    ] {
        let error = Weights { tensors }.to_safetensors().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

fn any_dtype() -> impl Strategy<Value = (WeightDtype, Dtype, usize)> {
    prop::sample::select(vec![
        (WeightDtype::F64, Dtype::F64, 8),
        (WeightDtype::F32, Dtype::F32, 4),
        (WeightDtype::F16, Dtype::F16, 2),
        (WeightDtype::BF16, Dtype::BF16, 2),
        (WeightDtype::I64, Dtype::I64, 8),
        (WeightDtype::I32, Dtype::I32, 4),
        (WeightDtype::I16, Dtype::I16, 2),
        (WeightDtype::I8, Dtype::I8, 1),
        (WeightDtype::U64, Dtype::U64, 8),
        (WeightDtype::U32, Dtype::U32, 4),
        (WeightDtype::U16, Dtype::U16, 2),
        (WeightDtype::U8, Dtype::U8, 1),
        (WeightDtype::Bool, Dtype::BOOL, 1),
    ])
}

/// Tensors of any type, also empty ones and scalars, with the reference's type and the size.
fn any_tensors() -> impl Strategy<Value = Vec<(WeightTensor, Dtype, usize)>> {
    let tensor = (any_dtype(), prop::collection::vec(0_usize..4, 0..4), any::<u8>());
    let tensor = tensor.prop_map(|((dtype, theirs, size), shape, fill)| {
        let n = shape.iter().product::<usize>() * size;
        // All 256 bytes come: NaNs of every payload among them.
        let bytes = (0..n).map(|i| (i as u8).wrapping_mul(37).wrapping_add(fill)).collect();
        (WeightTensor { name: String::new(), shape, dtype, bytes }, theirs, size)
    });
    let named = prop::collection::btree_map(any::<String>(), tensor, 0..8);
    named.prop_map(|tensors| {
        let name = |(name, (tensor, theirs, size))| (WeightTensor { name, ..tensor }, theirs, size);
        tensors.into_iter().map(name).collect()
    })
}

/// What both readers make of a file must be the same, but for what we do not take.
fn compare_readers(file: &[u8]) -> Result<(), TestCaseError> {
    match (Weights::from_safetensors(file), SafeTensors::deserialize(file)) {
        (Ok(ours), Ok(theirs)) => {
            prop_assert_eq!(ours.tensors.len(), theirs.len());
            for tensor in &ours.tensors {
                let view = theirs.tensor(&tensor.name).unwrap();
                prop_assert_eq!(view.shape(), &tensor.shape[..]);
                prop_assert_eq!(view.data(), &tensor.bytes[..]);
                prop_assert_eq!(
                    format!("{:?}", view.dtype()).to_lowercase(),
                    format!("{:?}", tensor.dtype).to_lowercase()
                );
            }
        }
        (Ok(ours), Err(theirs)) => {
            prop_assert!(false, "we read {ours:?}, the reference says {theirs}");
        }
        (Err(ours), Ok(_)) => {
            let ours = ours.to_string();
            prop_assert!(
                ours.contains("comes twice") || ours.contains("has the element type"),
                "{}",
                ours
            );
        }
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_the_reference_reads(tensors in any_tensors()) {
        let weights = Weights { tensors: tensors.iter().map(|(tensor, ..)| tensor.clone()).collect() };
        let file = weights.to_safetensors().unwrap();
        let theirs = SafeTensors::deserialize(&file).unwrap();
        prop_assert_eq!(theirs.len(), tensors.len());
        let (header, _) = SafeTensors::read_metadata(&file).unwrap();
        prop_assert!((8 + header).is_multiple_of(8));
        for (tensor, dtype, size) in &tensors {
            let view = theirs.tensor(&tensor.name).unwrap();
            prop_assert_eq!(view.dtype(), *dtype);
            prop_assert_eq!(view.shape(), &tensor.shape[..]);
            prop_assert_eq!(view.data(), &tensor.bytes[..]);
            // Where it lies in the file: elements are aligned.
            let at = view.data().as_ptr() as usize - file.as_ptr() as usize;
            prop_assert!(tensor.bytes.is_empty() || at.is_multiple_of(*size), "{} at {}", size, at);
        }
        // And back to the same, in the same order among elements of one size.
        let back = Weights::from_safetensors(&file).unwrap();
        let mut expected = tensors.clone();
        expected.sort_by_key(|(.., size)| std::cmp::Reverse(*size));
        let expected: Vec<_> = expected.into_iter().map(|(tensor, ..)| tensor).collect();
        prop_assert_eq!(&back.tensors, &expected);
        prop_assert_eq!(back.to_safetensors().unwrap(), file);
    }

    #[test]
    fn damaged_files_are_read_as_the_reference_reads_them(
        tensors in any_tensors(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        digit in any::<(prop::sample::Index, u8)>(),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let weights = Weights { tensors: tensors.into_iter().map(|(tensor, ..)| tensor).collect() };
        let mut file = weights.to_safetensors().unwrap();
        // Numbers alone: most of such files have a header that parses.
        let mut numbers = file.clone();
        let digits: Vec<usize> = (8..file.len()).filter(|i| file[*i].is_ascii_digit()).collect();
        if !digits.is_empty() {
            numbers[digits[digit.0.index(digits.len())]] = b'0' + digit.1 % 10;
        }
        compare_readers(&numbers)?;
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        compare_readers(&file)?;
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_read_as_the_reference_reads_it() {
    let weights = Weights::from_f32([("a", vec![2, 1], vec![1.0, 2.0]), ("b", vec![0], vec![])]);
    let file = weights.to_safetensors().unwrap();
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        compare_readers(&damaged).unwrap();
    }
    for length in 0..file.len() {
        assert!(Weights::from_safetensors(&file[..length]).is_err());
        compare_readers(&file[..length]).unwrap();
    }
    let mut longer = file;
    longer.push(0);
    assert!(message(&longer).contains("its tensors have 8 bytes, behind the header are 9"));
}
