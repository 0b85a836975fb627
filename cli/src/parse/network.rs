//! `--network NAME` and `--network name=NAME,alias=…,driver-opt=KEY=VALUE`.

use std::collections::BTreeMap;

use super::csv;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Name or id, as given.
    pub target: String,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
}

pub fn parse(text: &str) -> Result<Network, String> {
    let mut network = Network::default();
    if !csv::is_long_form(text) {
        network.target = text.into();
        return if text.is_empty() { Err("network name/id is not specified".into()) } else { Ok(network) };
    }
    for field in csv::fields(text)? {
        let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim();
        match key.trim().to_lowercase().as_str() {
            "name" => network.target = value.into(),
            "alias" => network.aliases.push(value.into()),
            "driver-opt" => {
                let pair = value.split_once('=').filter(|(key, _)| !key.trim().is_empty());
                let (key, value) = pair.ok_or("invalid key value pair format in driver options")?;
                network.driver_options.insert(key.trim().to_lowercase(), value.trim().into());
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if network.target.is_empty() { Err("network name/id is not specified".into()) } else { Ok(network) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_short_and_long() {
        let network = |target: &str, aliases: &[&str], options: &[(&str, &str)]| Network {
            target: target.into(),
            aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
            driver_options: options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        #[rustfmt::skip]
        let cases = [
            ("net", Ok(network("net", &[], &[]))),
            ("name=Net,alias=a,alias=b,driver-opt=K=v=w", Ok(network("Net", &["a", "b"], &[("k", "v=w")]))),
            ("", Err("network name/id is not specified")),
            ("alias=a", Err("network name/id is not specified")),
            ("name=a,b", Err("invalid field b")),
            ("name=a,ip=1", Err("invalid field key ip")),
            ("name=a,driver-opt=x", Err("invalid key value pair format in driver options")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
