// SPDX-License-Identifier: Apache-2.0
//! What an image says about how to run it: the `config` object of the image-spec's config.md.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;

/// The defaults an image brings for its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// First words of the command line.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Words after the entrypoint; a request's args replace them.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Empty means `/`.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, `uid:gid` and mixtures; empty means root.
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// A signal's name or number; empty means SIGTERM.
    #[serde(deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Free text by the image's author.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Paths that the author wants on volumes.
    #[serde(deserialize_with = "keys_of_map")]
    #[serde(serialize_with = "map_of_keys")]
    pub volumes: BTreeSet<String>,
    /// `port/protocol`.
    #[serde(deserialize_with = "keys_of_map")]
    #[serde(serialize_with = "map_of_keys")]
    pub exposed_ports: BTreeSet<String>,
}

/// Whom an image wants to run as, in CRI's terms: a number or else a name, the group dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageUser {
    /// A numeric user; root when the image names none.
    Uid(i64),
    /// To be looked up in the image's passwd file.
    Name(String),
}

impl ImageConfig {
    /// The user part of [`ImageConfig::user`].
    #[must_use]
    pub fn image_user(&self) -> ImageUser {
        match self.user.split(':').next().unwrap_or_default() {
            "" => ImageUser::Uid(0),
            user => user.parse().map_or_else(|_| ImageUser::Name(user.to_owned()), ImageUser::Uid),
        }
    }
}

/// The whole config blob, as far as this node needs it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigBlob {
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) architecture: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) os: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) config: ImageConfig,
    pub(crate) rootfs: Option<RootFs>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// Go programs write `null` where others write nothing.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn keys_of_map<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn map_of_keys<S: serde::Serializer>(keys: &BTreeSet<String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(keys.iter().map(|key| (key, BTreeMap::<(), ()>::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_with_nulls_and_maps_is_read() {
        let blob: ConfigBlob = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Entrypoint":null,
            "Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"User":"1003:1004",
            "ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":null}}"#,
        )
        .unwrap();
        assert_eq!(blob.config.cmd, ["sh"]);
        assert!(blob.config.volumes.contains("/data"));
        assert!(blob.config.exposed_ports.contains("80/tcp"));
        let again: ImageConfig =
            serde_json::from_str(&serde_json::to_string(&blob.config).unwrap()).unwrap();
        assert_eq!(again, blob.config);
    }

    #[test]
    fn a_user_is_a_number_or_else_a_name_without_the_group() {
        let user =
            |text: &str| ImageConfig { user: text.to_owned(), ..Default::default() }.image_user();
        assert_eq!(user(""), ImageUser::Uid(0));
        assert_eq!(user("1002"), ImageUser::Uid(1002));
        assert_eq!(user("1003:1004"), ImageUser::Uid(1003));
        assert_eq!(user("www-data:1004"), ImageUser::Name("www-data".to_owned()));
        assert_eq!(user(":5"), ImageUser::Uid(0));
    }
}
