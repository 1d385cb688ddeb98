// SPDX-License-Identifier: Apache-2.0

use std::net::IpAddr;

use serde_json::Value;

/// What ADD answered. Kept as it came, for the next plugin and for DEL.
#[derive(Debug, Clone, PartialEq)]
pub struct AddResult {
    /// The JSON, unknown keys included.
    pub json: Value,
}

/// An answer that is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultProblem {
    /// The result is not an object.
    #[error("must be a JSON object")]
    NotAnObject,
    /// It has a key that makes no sense.
    #[error("{key} = {value}: must be {what}")]
    Key {
        /// Path of the key.
        key: String,
        /// Its value.
        value: String,
        /// What it must be.
        what: &'static str,
    },
}

fn wrong(key: impl Into<String>, value: &Value, what: &'static str) -> ResultProblem {
    ResultProblem::Key { key: key.into(), value: value.to_string(), what }
}

impl AddResult {
    /// Takes `json` as a result of version 0.3.0 or later.
    ///
    /// # Errors
    /// [`ResultProblem`].
    pub fn new(json: Value) -> Result<Self, ResultProblem> {
        if !json.is_object() {
            return Err(ResultProblem::NotAnObject);
        }
        let result = Self { json };
        result.entries("interfaces")?;
        for (i, entry) in result.entries("ips")?.iter().enumerate() {
            address(i, entry)?;
        }
        Ok(result)
    }

    /// Addresses of `interface` in the pod, in the order of the result. An address that is tied
    /// to no interface counts too.
    #[must_use]
    pub fn addresses(&self, interface: &str) -> Vec<IpAddr> {
        let ips = self.entries("ips").unwrap_or_default();
        let mut found = Vec::new();
        for (i, entry) in ips.iter().enumerate() {
            let Ok(address) = address(i, entry) else { continue };
            if self.is_on(entry, interface) && !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }

    fn is_on(&self, entry: &Value, interface: &str) -> bool {
        let Some(index) = entry.get("interface").and_then(Value::as_u64) else { return true };
        let interfaces = self.entries("interfaces").unwrap_or_default();
        let Some(named) = usize::try_from(index).ok().and_then(|i| interfaces.get(i)) else {
            return true;
        };
        let text = |key: &str| named.get(key).and_then(Value::as_str).unwrap_or_default();
        text("name") == interface && !text("sandbox").is_empty()
    }

    fn entries(&self, key: &str) -> Result<&[Value], ResultProblem> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(entries)) => Ok(entries),
            Some(other) => Err(wrong(key, other, "an array")),
        }
    }
}

fn address(index: usize, entry: &Value) -> Result<IpAddr, ResultProblem> {
    let value = entry.get("address").unwrap_or(&Value::Null);
    let bad = || wrong(format!("ips[{index}].address"), value, "an address with a prefix length");
    let (address, prefix) = value.as_str().and_then(|text| text.split_once('/')).ok_or_else(bad)?;
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u8>() {
        Ok(prefix) if prefix <= most => Ok(address),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dual_stack() -> Value {
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "br0", "mac": "00:00:00:00:00:01"},
                {"name": "veth1", "mac": "00:00:00:00:00:02"},
                {"name": "eth0", "mac": "00:00:00:00:00:03", "sandbox": "/run/ns/a"},
            ],
            "ips": [
                {"interface": 2, "address": "10.99.1.5/24", "gateway": "10.99.1.1"},
                {"interface": 0, "address": "10.99.1.1/24"},
                {"interface": 2, "address": "fd00:99::5/64"},
            ],
            "dns": {},
        })
    }

    #[test]
    fn the_pods_addresses_are_those_of_its_interface() {
        let found = AddResult::new(dual_stack()).unwrap().addresses("eth0");
        let expected: Vec<IpAddr> =
            vec!["10.99.1.5".parse().unwrap(), "fd00:99::5".parse().unwrap()];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_address_without_an_interface_is_the_pods() {
        let old = json!({"ips": [{"version": "4", "address": "10.1.0.2/16"}]});
        assert_eq!(AddResult::new(old).unwrap().addresses("eth0").len(), 1);
    }

    #[test]
    fn a_result_that_makes_no_sense_is_refused() {
        for (json, part) in [
            (json!([]), "JSON object"),
            (json!({"ips": {}}), "ips = {}: must be an array"),
            (json!({"ips": [{"address": "10.0.0.1"}]}), "ips[0].address = \"10.0.0.1\""),
            (json!({"ips": [{"address": "10.0.0.1/33"}]}), "ips[0].address"),
            (json!({"ips": [{}]}), "ips[0].address = null"),
        ] {
            let text = AddResult::new(json).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
