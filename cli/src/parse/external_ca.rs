//! `--external-ca protocol=cfssl,url=https://…[,cacert=FILE][,key=value…]`.

use serde_json::{Map, Value, json};

/// One signing endpoint as the API takes it. Reads the file that `cacert` names.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut protocol = None;
    let mut url = None;
    let mut ca_cert = String::new();
    let mut options = Map::new();
    for field in text.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match key.trim().to_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => protocol = Some("cfssl"),
            "protocol" => return Err(format!("unrecognized external CA protocol {value}")),
            "url" => url = Some(value),
            "cacert" => {
                ca_cert = std::fs::read_to_string(value)
                    .map_err(|error| format!("unable to load CA cert for external CA {value}: {error}"))?;
            }
            _ => {
                options.insert(key.into(), value.into());
            }
        }
    }
    let protocol = protocol.ok_or("the external-ca option needs a protocol= parameter")?;
    let url = url.ok_or("the external-ca option needs a url= parameter")?;
    Ok(json!({ "Protocol": protocol, "URL": url, "Options": options, "CACert": ca_cert }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let parsed = parse("protocol=CFSSL,url=https://ca/sign,label=x").expect("complete");
        let expected =
            json!({"Protocol": "cfssl", "URL": "https://ca/sign", "Options": {"label": "x"}, "CACert": ""});
        assert_eq!(parsed, expected);
        #[rustfmt::skip]
        let cases = [
            ("", "invalid field '' must be a key=value pair"),
            ("protocol=x,url=y", "unrecognized external CA protocol x"),
            ("url=y", "the external-ca option needs a protocol= parameter"),
            ("protocol=cfssl", "the external-ca option needs a url= parameter"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
        assert!(
            parse("protocol=cfssl,url=y,cacert=/does/not/exist").unwrap_err().starts_with("unable to load")
        );
    }
}
