// SPDX-License-Identifier: Apache-2.0
//! registries.conf, version 2 (containers-registries.conf(5)): where images are really fetched
//! from. An image is always recorded under the name it was asked for by, never its mirror's.

mod file;
mod rule;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{error::ImageError, reference::Reference};
use rule::Rule;
pub use rule::{Endpoint, Role, Security};

const DEFAULT_PATH: &str = "/etc/containers/registries.conf";
const PATH_VARIABLE: &str = "CONTAINERS_REGISTRIES_CONF";

/// Where the rules are read from.
#[derive(Debug, Clone)]
pub struct RegistriesPath {
    file: PathBuf,
    /// A file somebody named has to exist; the default one does not.
    named: bool,
}

impl RegistriesPath {
    /// The configured file, else the one the environment names, else the system's.
    #[must_use]
    pub fn choose(configured: Option<&Path>) -> Self {
        let named = configured
            .map(Path::to_owned)
            .or_else(|| std::env::var_os(PATH_VARIABLE).filter(|v| !v.is_empty()).map(Into::into));
        match named {
            Some(file) => Self { file, named: true },
            None => Self { file: DEFAULT_PATH.into(), named: false },
        }
    }
}

/// The rules in force.
#[derive(Debug, Default, Clone)]
pub struct Registries {
    rules: BTreeMap<String, Rule>,
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
}

impl Registries {
    /// Reads the file and then, in the order of their names, the `*.conf` files of the directory
    /// of the same name with `.d`. A later rule for the same prefix replaces an earlier one.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the file and what is wrong in it.
    pub fn load(path: &RegistriesPath) -> Result<Self, ImageError> {
        let mut all = Self::default();
        match std::fs::read_to_string(&path.file) {
            Ok(text) => all.add(&text, &path.file)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path.named => {}
            Err(e) => return Err(config_error(&path.file, &e.to_string())),
        }
        let mut drop_in_dir = path.file.clone().into_os_string();
        drop_in_dir.push(".d");
        for file in drop_ins(Path::new(&drop_in_dir))? {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| config_error(&file, &error.to_string()))?;
            all.add(&text, &file)?;
        }
        Ok(all)
    }

    /// Adds the rules of one file's `text`.
    ///
    /// # Errors
    /// [`ImageError::Config`] names `origin` and what is wrong.
    pub fn add(&mut self, text: &str, origin: &Path) -> Result<(), ImageError> {
        let file = file::parse(text).map_err(|reason| config_error(origin, &reason))?;
        for registry in file.registry {
            let rule =
                Rule::new(registry, origin).map_err(|reason| config_error(origin, &reason))?;
            self.rules.insert(rule.prefix.clone(), rule);
        }
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        self.aliases.extend(file.aliases);
        Ok(())
    }

    /// Registries to try for a name without one. Empty means Docker Hub only.
    #[must_use]
    pub fn search(&self) -> &[String] {
        &self.search
    }

    /// The full name that an alias stands for, with the tag or digest that was given.
    #[must_use]
    pub fn unalias(&self, text: &str) -> String {
        let end = text.find([':', '@']).unwrap_or(text.len());
        match self.aliases.get(&text[..end]) {
            Some(name) if !name.is_empty() => format!("{name}{}", &text[end..]),
            _ => text.to_owned(),
        }
    }

    /// Where to ask for `reference`: mirrors in order, then the registry itself.
    ///
    /// # Errors
    /// [`ImageError::Blocked`] when the rules forbid it.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, ImageError> {
        let name = reference.name();
        let full = reference.to_string();
        // The longest prefix decides, and at the same length a host over a wildcard.
        let best = self
            .rules
            .values()
            .filter(|rule| rule.matches(&full))
            .max_by_key(|rule| (rule.prefix.len(), !rule.prefix.starts_with("*.")));
        let Some(rule) = best else { return Ok(vec![Endpoint::direct(&name)]) };
        if rule.blocked {
            return Err(ImageError::Blocked {
                registry: rule.prefix.clone(),
                by: rule.origin.display().to_string(),
            });
        }
        Ok(rule.endpoints(&name, reference.digest().is_some()))
    }
}

fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(config_error(dir, &e.to_string())),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    Ok(files)
}

fn config_error(path: &Path, reason: &str) -> ImageError {
    ImageError::Config { path: path.display().to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
