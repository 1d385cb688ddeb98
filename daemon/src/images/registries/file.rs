// SPDX-License-Identifier: Apache-2.0
//! The file's own shape. Keys for other programs that read it too are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct File {
    pub(super) unqualified_search_registries: Option<Vec<String>>,
    pub(super) registry: Vec<Registry>,
    pub(super) aliases: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Registry {
    pub(super) prefix: String,
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirror_by_digest_only: bool,
    pub(super) mirror: Vec<Mirror>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pull_from_mirror: Option<PullFrom>,
}

/// For which references a mirror is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

pub(super) fn parse(text: &str) -> Result<File, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    if table.contains_key("registries") {
        return Err("version 1 of the format ([registries.search] and so on) is not read; \
                    write [[registry]] tables"
            .to_owned());
    }
    table.try_into().map_err(|error: toml::de::Error| error.to_string())
}
