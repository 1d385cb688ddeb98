// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::SpecVersion;

/// Newest version that a configuration without one is taken for is older than what is spoken
/// here, so `cniVersion` must be given.
const VERSIONS: &str = "0.3.0, 0.3.1, 0.4.0, 1.0.0 or 1.1.0";

/// A network: the plugins that connect a pod to it, in order.
///
/// Read from JSON; what is not understood here stays in each plugin's text and is passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConf {
    /// Name of the network.
    pub name: String,
    /// Version of the specification that its plugins are spoken to in.
    pub version: SpecVersion,
    /// Whether CHECK may be called.
    pub check: Verb,
    /// Whether GC may be called.
    pub gc: Verb,
    /// Whether plugins may also come from files beside the list.
    pub extra_plugins: ExtraPlugins,
    /// The plugins, in the order of ADD.
    pub plugins: Vec<PluginConf>,
}

/// Whether the administrator allows an optional command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Called.
    Enabled,
    /// Not called, by `disableCheck` or `disableGC`.
    Disabled,
}

/// `loadOnlyInlinedPlugins`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraPlugins {
    /// The list is complete.
    None,
    /// `DIR/NAME/*.conf` are appended, in the order of their names.
    FromDirectory,
}

/// One plugin of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConf {
    /// File name of the program.
    pub program: String,
    /// Capabilities that it declares: what it wants in `runtimeConfig`.
    pub capabilities: BTreeSet<String>,
    /// Everything it is configured with.
    pub json: Map<String, Value>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfProblem {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// JSON, but not an object.
    #[error("must be a JSON object")]
    NotAnObject,
    /// A key is missing or has a value that it cannot have.
    #[error("{key} {what}")]
    Key {
        /// Path of the key, such as `plugins[0].type`.
        key: String,
        /// What it must be.
        what: String,
    },
}

fn wrong(key: impl Into<String>, what: impl Into<String>) -> ConfProblem {
    ConfProblem::Key { key: key.into(), what: what.into() }
}

impl NetworkConf {
    /// Reads a list of plugins, or a single plugin as a list of one.
    ///
    /// # Errors
    /// [`ConfProblem`], which names the key.
    pub fn parse(text: &[u8]) -> Result<Self, ConfProblem> {
        Self::from_json(serde_json::from_slice(text)?)
    }

    /// As [`parse`](Self::parse), from JSON that was read already.
    ///
    /// # Errors
    /// [`ConfProblem`], which names the key.
    pub fn from_json(json: Value) -> Result<Self, ConfProblem> {
        let Value::Object(mut list) = json else { return Err(ConfProblem::NotAnObject) };
        let name = name(&list)?;
        let version = version(&list)?;
        let flag = |key: &str| match list.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            // Written as a string by some older tools.
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(wrong(key, "must be true or false")),
        };
        let verb = |off: bool| if off { Verb::Disabled } else { Verb::Enabled };
        let (check, gc) = (verb(flag("disableCheck")?), verb(flag("disableGC")?));
        let is_list = list.contains_key("plugins");
        let extra_plugins = match list.contains_key("loadOnlyInlinedPlugins") {
            true if is_list && !flag("loadOnlyInlinedPlugins")? => ExtraPlugins::FromDirectory,
            _ => ExtraPlugins::None,
        };
        let plugins = match list.remove("plugins") {
            Some(Value::Array(plugins)) => plugins
                .into_iter()
                .enumerate()
                .map(|(i, plugin)| PluginConf::from_json(plugin, &format!("plugins[{i}]")))
                .collect::<Result<Vec<_>, _>>()?,
            Some(_) => return Err(wrong("plugins", "must be an array")),
            None => vec![PluginConf::from_json(Value::Object(list), "")?],
        };
        if plugins.is_empty() && extra_plugins == ExtraPlugins::None {
            return Err(wrong("plugins", "is empty"));
        }
        Ok(Self { name, version, check, gc, extra_plugins, plugins })
    }

    /// The network as JSON that [`from_json`](Self::from_json) reads back to an equal value.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let plugins: Vec<_> = self.plugins.iter().map(|p| Value::Object(p.json.clone())).collect();
        serde_json::json!({
            "cniVersion": self.version.as_str(),
            "name": self.name,
            "disableCheck": self.check == Verb::Disabled,
            "disableGC": self.gc == Verb::Disabled,
            "plugins": plugins,
        })
    }

    /// Whether any plugin declares the capability.
    #[must_use]
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }
}

impl PluginConf {
    /// Reads one plugin. `at` is where it stands in its file, for messages.
    pub(super) fn from_json(json: Value, at: &str) -> Result<Self, ConfProblem> {
        let key = |name: &str| match at {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        };
        let Value::Object(json) = json else { return Err(wrong(at, "must be an object")) };
        let program = match json.get("type") {
            Some(Value::String(program)) if is_file_name(program) => program.clone(),
            Some(Value::String(bad)) => {
                let what = format!("= {bad:?}: must be a plugin's file name, without a path");
                return Err(wrong(key("type"), what));
            }
            _ => return Err(wrong(key("type"), "is missing: it names the plugin's program")),
        };
        let capabilities = match json.get("capabilities") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(Value::Object(all)) => {
                all.iter().filter(|(_, on)| **on == true).map(|(name, _)| name.clone()).collect()
            }
            Some(_) => return Err(wrong(key("capabilities"), "must be an object")),
        };
        Ok(Self { program, capabilities, json })
    }
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\0'])
}

/// Network names become file names in plugins' stores; the specification restricts them.
fn name(list: &Map<String, Value>) -> Result<String, ConfProblem> {
    let Some(Value::String(name)) = list.get("name") else {
        return Err(wrong("name", "is missing: it names the network"));
    };
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let first_legal = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first_legal && name.bytes().all(legal) {
        return Ok(name.clone());
    }
    let what = format!(
        "= {name:?}: must be letters, digits, '_', '.' and '-', beginning with a letter or digit"
    );
    Err(wrong("name", what))
}

/// The newest of the versions offered that is spoken here.
fn version(list: &Map<String, Value>) -> Result<SpecVersion, ConfProblem> {
    let single = list.get("cniVersion").and_then(Value::as_str);
    let several = list.get("cniVersions").and_then(Value::as_array);
    let several = several.into_iter().flatten().filter_map(Value::as_str);
    let offered: Vec<&str> = single.into_iter().chain(several).collect();
    offered.iter().filter_map(|text| SpecVersion::named(text)).max().ok_or_else(|| {
        match offered.as_slice() {
            [] => wrong("cniVersion", format!("is missing: must be {VERSIONS}")),
            some => wrong("cniVersion", format!("= {some:?}: must be {VERSIONS}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(json: Value) -> String {
        NetworkConf::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn a_list_keeps_what_it_does_not_know() {
        let list = json!({
            "cniVersion": "1.0.0", "name": "pods", "later": 1,
            "plugins": [
                {"type": "bridge", "vendor": {"x": [1, 2]}},
                {"type": "portmap", "capabilities": {"portMappings": true, "off": false}},
            ],
        });
        let conf = NetworkConf::from_json(list).unwrap();
        assert_eq!(conf.version, SpecVersion::V1_0_0);
        assert_eq!(conf.plugins[0].json["vendor"], json!({"x": [1, 2]}));
        assert!(conf.declares("portMappings") && !conf.declares("off"));
        assert_eq!(NetworkConf::from_json(conf.to_json()).unwrap(), conf);
    }

    #[test]
    fn a_single_plugin_is_a_list_of_one() {
        let single = json!({"cniVersion": "0.3.1", "name": "n", "type": "ptp", "mtu": 1400});
        let conf = NetworkConf::from_json(single).unwrap();
        assert_eq!((conf.plugins.len(), conf.plugins[0].program.as_str()), (1, "ptp"));
    }

    #[test]
    fn the_newest_version_that_both_speak_is_taken() {
        let offer = json!({
            "cniVersion": "0.4.0", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"], "name": "n",
            "plugins": [{"type": "x"}],
        });
        assert_eq!(NetworkConf::from_json(offer).unwrap().version, SpecVersion::V1_1_0);
    }

    #[test]
    fn a_bad_configuration_is_refused_by_the_name_of_the_key() {
        let with = |key: &str, value: Value| {
            let mut list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "x"}]});
            list[key] = value;
            problem(list)
        };
        for (text, part) in [
            (with("name", json!("")), "name = \"\""),
            (with("name", json!("a/b")), "name = \"a/b\""),
            (with("name", json!(3)), "name is missing"),
            (with("cniVersion", json!("0.1.0")), "cniVersion = [\"0.1.0\"]"),
            (with("cniVersion", json!(null)), "cniVersion is missing"),
            (with("plugins", json!([])), "plugins is empty"),
            (with("plugins", json!({})), "plugins must be an array"),
            (with("plugins", json!([{"type": "../x"}])), "plugins[0].type = \"../x\""),
            (with("plugins", json!([{"type": "x"}, {}])), "plugins[1].type is missing"),
            (with("plugins", json!(["x"])), "plugins[0] must be an object"),
            (with("disableCheck", json!(1)), "disableCheck must be"),
            (problem(json!([])), "JSON object"),
            (problem(json!({"cniVersion": "1.0.0", "name": "n"})), "type is missing"),
        ] {
            assert!(text.contains(part), "{text:?} does not say {part:?}");
        }
        assert!(NetworkConf::parse(b"{").unwrap_err().to_string().starts_with("not valid JSON"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = NetworkConf::parse(text.as_bytes());
        }
    }
}
