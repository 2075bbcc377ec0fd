//! Files of weights.

use refrain_core::weights::Weights;
use safetensors::SafeTensors;

/// Reads the bytes as a file of weights: as the reference reader of the format does, but for names
/// that come twice and types of elements that no engine has.
pub fn weights(bytes: &[u8]) {
    match (Weights::from_safetensors(bytes), SafeTensors::deserialize(bytes)) {
        (Ok(ours), theirs) => {
            let theirs = theirs.expect("the reference refuses it");
            assert_eq!(ours.tensors.len(), theirs.len());
            for tensor in &ours.tensors {
                let view = theirs.tensor(&tensor.name).unwrap();
                assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &tensor.bytes[..]));
            }
            let written = ours.to_safetensors().unwrap();
            let again = Weights::from_safetensors(&written).unwrap();
            assert_eq!(again.tensors.len(), ours.tensors.len());
            assert!(ours.tensors.iter().all(|tensor| again.get(&tensor.name) == Some(tensor)));
        }
        (Err(error), theirs) => {
            let error = error.to_string();
            assert!(!error.chars().any(char::is_control) && error.len() < 10_000 + bytes.len());
            let is_ours = error.contains("comes twice") || error.contains("has the element type");
            assert!(is_ours || theirs.is_err(), "{error}");
        }
    }
}
