//! Secrets and configs: `/secrets`, `/configs` and `object::Payload`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::container::{driver_from_api, driver_to_api};
use super::{BASE64, ConvertError, version_to_api};
use crate::engine_api::payload as api;
use crate::object::payload::PayloadSpec;
use crate::object::sensitive::{Sensitive, SensitiveBytes};
use crate::object::{Payload, PayloadKind};

/// Clients write one alphabet or the other, and not all of them pad.
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// A secret or config as the API shows it: of a secret all but its data.
pub fn payload_to_api(payload: &Payload) -> api::Payload {
    let newest = payload.newest();
    let shown = payload.kind == PayloadKind::Config;
    api::Payload {
        id: payload.id.to_string(),
        version: version_to_api(&payload.meta),
        created_at: payload.meta.created_at.to_rfc3339(),
        updated_at: payload.meta.updated_at.to_rfc3339(),
        spec: api::PayloadSpec {
            name: payload.spec.name.clone(),
            labels: payload.spec.labels.clone(),
            data: shown.then(|| Sensitive::new(BASE64.encode(newest.data.reveal()))),
            driver: payload.spec.driver.as_ref().map(driver_to_api),
            templating: payload.spec.templating.as_ref().map(driver_to_api),
        },
        version_number: newest.number,
    }
}

/// The spec, and the data where the document has any.
pub fn payload_spec_from_api(
    kind: PayloadKind,
    spec: api::PayloadSpec,
) -> Result<(PayloadSpec, Option<SensitiveBytes>), ConvertError> {
    if kind == PayloadKind::Config && spec.driver.is_some() {
        return Err(ConvertError::Unsupported { what: "a driver of a config" });
    }
    let data = spec.data.map(|data| decode(kind, &data)).transpose()?;
    let spec = PayloadSpec {
        name: spec.name,
        labels: spec.labels,
        driver: spec.driver.map(driver_from_api),
        templating: spec.templating.map(driver_from_api),
    };
    Ok((spec, data))
}

/// What a rotation brings.
pub fn payload_data_from_api(
    kind: PayloadKind,
    request: api::RotateRequest,
) -> Result<SensitiveBytes, ConvertError> {
    request.data.map_or_else(|| Ok(SensitiveBytes::new(Vec::new())), |data| decode(kind, &data))
}

pub(super) fn decode(kind: PayloadKind, data: &Sensitive) -> Result<SensitiveBytes, ConvertError> {
    let text = data.reveal();
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    // As Go reads it, which `base64` on the command line needs.
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.bytes().filter(|byte| !is_break(byte)).collect::<Vec<u8>>());
    let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    // Of the text nothing is said: it is the secret.
    let bytes = engine.decode(&*text).map_err(|_| ConvertError::Data { kind })?;
    Ok(SensitiveBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_api::container::Driver;
    use crate::object::PayloadId;
    use crate::time::Timestamp;

    fn sent(data: &str) -> api::PayloadSpec {
        api::PayloadSpec { data: Some(Sensitive::new(data.into())), ..Default::default() }
    }

    #[test]
    fn data_is_read_however_it_is_written() {
        for text in ["+/+/YQ==", "-_-_YQ==", "+/+/YQ", "-_-_YQ", "+/+/\r\nYQ==\n"] {
            let (_, data) = payload_spec_from_api(PayloadKind::Secret, sent(text)).expect(text);
            assert_eq!(data.expect("there is some").reveal(), b"\xfb\xff\xbfa", "{text}");
        }
        let (_, none) = payload_spec_from_api(PayloadKind::Secret, Default::default()).expect("a spec");
        assert_eq!(none, None);
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        let error = payload_spec_from_api(PayloadKind::Secret, sent("hunter2!")).unwrap_err();
        assert_eq!(error.to_string(), "the data of a secret must be base64");
        let driven = api::PayloadSpec { driver: Some(Driver::default()), ..Default::default() };
        assert!(payload_spec_from_api(PayloadKind::Config, driven).is_err());
    }

    #[test]
    fn a_config_shows_its_data_and_a_secret_does_not() {
        for (kind, shown) in [(PayloadKind::Secret, None), (PayloadKind::Config, Some("dmFsdWU="))] {
            let data = SensitiveBytes::new(b"value".to_vec());
            let payload = Payload::new(PayloadId(1), kind, PayloadSpec::default(), data, Timestamp(0));
            let json = serde_json::to_value(payload_to_api(&payload)).expect("JSON");
            assert_eq!(json["Spec"].get("Data").and_then(|data| data.as_str()), shown, "{json}");
            assert_eq!(json["VersionNumber"], 1);
        }
    }
}
