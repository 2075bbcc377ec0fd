//! Hyper-parameters, for TensorBoard's HParams tab.

use super::event::{put_bytes, put_f64, put_varint_field};
use crate::outcome::Outcome;

/// The plugin's name, and the tags that it looks for.
pub(super) const PLUGIN: &str = "hparams";
pub(super) const SESSION_START: &str = "_hparams_/session_start_info";
pub(super) const SESSION_END: &str = "_hparams_/session_end_info";

/// A hyper-parameter of a run, for [`TensorBoard::hparam`](super::TensorBoard::hparam).
#[derive(Clone, Debug, PartialEq)]
pub enum HyperParameter {
    /// A number.
    Number(f64),
    /// A name: of an optimizer, of a model.
    Text(String),
    /// On or off.
    Bool(bool),
}

impl From<f64> for HyperParameter {
    fn from(x: f64) -> Self {
        Self::Number(x)
    }
}

impl From<i32> for HyperParameter {
    fn from(x: i32) -> Self {
        Self::Number(x.into())
    }
}

impl From<usize> for HyperParameter {
    fn from(x: usize) -> Self {
        Self::Number(x as f64)
    }
}

impl From<&str> for HyperParameter {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HyperParameter {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for HyperParameter {
    fn from(on: bool) -> Self {
        Self::Bool(on)
    }
}

/// `HParamsPluginData { session_start_info }`.
pub(super) fn session_start(hparams: &[(String, HyperParameter)], at: f64) -> Vec<u8> {
    let mut info = Vec::new();
    for (name, value) in hparams {
        // google.protobuf.Value.
        let mut proto = Vec::new();
        match value {
            HyperParameter::Number(x) => put_f64(&mut proto, 2, *x),
            HyperParameter::Text(text) => put_bytes(&mut proto, 3, text.as_bytes()),
            HyperParameter::Bool(on) => put_varint_field(&mut proto, 4, (*on).into()),
        }
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut entry, 2, &proto);
        put_bytes(&mut info, 1, &entry);
    }
    put_f64(&mut info, 5, at);
    let mut data = Vec::new();
    put_bytes(&mut data, 3, &info);
    data
}

/// `HParamsPluginData { session_end_info }`; `None` for a run that was interrupted, which may go
/// on: TensorBoard believes the first end that it reads.
pub(super) fn session_end(outcome: &Outcome<'_>, at: f64) -> Option<Vec<u8>> {
    const SUCCESS: u64 = 1;
    const FAILURE: u64 = 2;
    let status = match outcome {
        Outcome::Completed | Outcome::Stopped(_) => SUCCESS,
        Outcome::Failed(_) => FAILURE,
        Outcome::Interrupted => return None,
    };
    let mut info = Vec::new();
    put_varint_field(&mut info, 1, status);
    put_f64(&mut info, 2, at);
    let mut data = Vec::new();
    put_bytes(&mut data, 4, &info);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::super::event::{Encoder, Tag};
    use super::super::record::put_record;
    use super::*;

    #[test]
    fn the_end_of_a_session_is_a_record_that_tensorboard_accepts() {
        let content = session_end(&Outcome::Completed, 9.0).unwrap();
        let mut encoder = Encoder::default();
        let mut record = Vec::new();
        let tag = Tag::new("", SESSION_END, "");
        put_record(&mut record, encoder.plugin(2.0, tag, PLUGIN, &content));
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4f000000000000006c474f930900000000000000402a440a420a1a5f68706172616d735f2f7365737369\
             6f6e5f656e645f696e666f4a1a0a180a0768706172616d73120d220b0801110000000000002240420808\
             011204120208008e7760e8"
        );
    }
}
