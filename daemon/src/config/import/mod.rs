// SPDX-License-Identifier: Apache-2.0
//! Takes over a configuration of CRI-O (crio.conf) or containerd (config.toml, versions 2 to 4):
//! what has a counterpart becomes configuration of crisp's, everything else that asks for
//! something is named with a word of why.
//!
//! Keys that are empty, false or 0 ask for nothing and are passed over.

mod containerd;
mod crio;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::load_text;

/// Why a file cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no TOML.
    #[error("{} is no TOML", path.display())]
    NoToml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It is nobody's that is known here.
    #[error(
        "{} is neither a crio.conf (no [crio] table) nor a containerd config.toml (no version, no \
         [plugins])",
        .0.display()
    )]
    Stranger(PathBuf),
    /// containerd's format is too old or too new.
    #[error("{} is containerd configuration of version {found}; 2 to 4 are known", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// What became of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Settings by table; tables as they are written between brackets.
    settings: BTreeMap<String, BTreeMap<String, String>>,
    /// What was not taken over: key and why.
    left: Vec<(String, String)>,
}

/// Takes over the text of `path`.
///
/// # Errors
/// [`ImportError`].
pub fn import(path: &Path, text: &str) -> Result<Imported, ImportError> {
    let table: Table = text.parse().map_err(|source| ImportError::NoToml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut import = Import::default();
    import.read(&table, &mut Vec::new());
    if table.contains_key("crio") {
        crio::take(&mut import);
    } else if table.contains_key("version") || table.contains_key("plugins") {
        // Without a version, containerd reads version 1.
        let found = table.get("version").and_then(Value::as_integer).unwrap_or(1);
        if !(2..=4).contains(&found) {
            return Err(ImportError::Version { path: path.to_owned(), found });
        }
        containerd::take(&mut import);
    } else {
        return Err(ImportError::Stranger(path.to_owned()));
    }
    Ok(import.taken)
}

impl Imported {
    /// As a drop-in for crisp; what was not taken over follows as comments.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (table, settings) in &self.settings {
            if !table.is_empty() {
                let _ = writeln!(out, "[{table}]");
            }
            for (key, value) in settings {
                let _ = writeln!(out, "{key} = {value}");
            }
            out.push('\n');
        }
        if !self.left.is_empty() {
            out.push_str("# Not taken over:\n");
        }
        for (key, why) in &self.left {
            let _ = writeln!(out, "# {key}: {why}");
        }
        out
    }
}

/// Why a key was not taken over, where it is one that crisp has no use or no counterpart for.
const NO_COUNTERPART: &str = "no counterpart";

/// A take-over in progress.
#[derive(Default)]
struct Import {
    /// Paths of all tables, those without keys among them.
    tables: BTreeSet<Vec<String>>,
    /// Keys with a value that asks for something, by their path; taken away as they are used.
    leaves: BTreeMap<Vec<String>, Value>,
    taken: Imported,
}

impl Import {
    /// Notes all tables, and all keys that ask for something.
    fn read(&mut self, table: &Table, path: &mut Vec<String>) {
        for (key, value) in table {
            path.push(key.clone());
            match value {
                Value::Table(table) => {
                    self.tables.insert(path.clone());
                    self.read(table, path);
                }
                value if is_nothing(value) => {}
                value => {
                    self.leaves.insert(path.clone(), value.clone());
                }
            }
            path.pop();
        }
    }

    /// The value at `path`, which is then done with.
    fn pop(&mut self, path: &[&str]) -> Option<Value> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.leaves.remove(&path)
    }

    /// The text at `path`, which is then done with; anything else is named.
    fn pop_text(&mut self, path: &[&str]) -> Option<String> {
        match self.pop(path)? {
            Value::String(text) => Some(text),
            _ => {
                self.leave(path, "is no string");
                None
            }
        }
    }

    /// Takes `path` over as `table`.`key`, as it is.
    fn same(&mut self, path: &[&str], table: &str, key: &str) {
        if let Some(value) = self.pop(path) {
            self.set(path, table, key, value);
        }
    }

    /// Takes over a duration written as `1m30s`.
    fn duration(&mut self, path: &[&str], table: &str, key: &str) {
        let Some(text) = self.pop_text(path) else { return };
        match seconds(&text) {
            Some(seconds) => self.set(path, table, key, Value::Integer(seconds)),
            None => self.leave(path, &format!("{text:?} is no duration")),
        }
    }

    /// Sets `table`.`key`. A value that crisp does not accept is named instead.
    fn set(&mut self, path: &[&str], table: &str, key: &str, value: Value) {
        self.set_all(path, table, &[(key, value)]);
    }

    /// Sets keys that need each other, or none of them.
    fn set_all(&mut self, path: &[&str], table: &str, keys: &[(&str, Value)]) {
        let before = self.taken.settings.clone();
        let settings = self.taken.settings.entry(table.to_owned()).or_default();
        settings.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())));
        if let Err(error) = load_text(Path::new("import"), &self.taken.to_text()) {
            self.taken.settings = before;
            let error = error.to_string();
            let why = error.rsplit_once(": ").map_or(error.as_str(), |(_, why)| why);
            self.leave(path, why);
        }
    }

    /// Names a key that is not taken over.
    fn leave(&mut self, path: &[&str], why: &str) {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.taken.left.push((dotted(&path), why.to_owned()));
    }

    /// Names all keys below `path` once, by `path`, if any is there.
    fn leave_all(&mut self, path: &[&str], why: &str) {
        let before = self.leaves.len();
        self.leaves.retain(|leaf, _| !starts_with(leaf, path));
        if self.leaves.len() < before {
            self.leave(path, why);
        }
    }

    /// Drops a key that asks for nothing more than what crisp does anyway.
    fn ignore(&mut self, path: &[&str]) {
        self.leaves.retain(|leaf, _| !starts_with(leaf, path));
    }

    /// Names of the tables or keys directly below `path`.
    fn below(&self, path: &[&str]) -> Vec<String> {
        let all = self.leaves.keys().chain(&self.tables).filter(|at| starts_with(at, path));
        let names: BTreeSet<_> = all.filter_map(|at| at.get(path.len()).cloned()).collect();
        names.into_iter().collect()
    }

    /// Names everything that nobody took.
    fn finish(&mut self, why: impl Fn(&[String]) -> Option<&'static str>) {
        for (path, _) in std::mem::take(&mut self.leaves) {
            let why = why(&path).unwrap_or(NO_COUNTERPART);
            self.taken.left.push((dotted(&path), why.to_owned()));
        }
    }
}

fn starts_with(leaf: &[String], path: &[&str]) -> bool {
    leaf.len() >= path.len() && leaf.iter().zip(path).all(|(a, b)| a == b)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() || seconds(text) == Some(0),
        Value::Integer(number) => *number == 0,
        Value::Boolean(flag) => !flag,
        Value::Array(array) => array.is_empty(),
        _ => false,
    }
}

/// A path as TOML writes it.
fn dotted(path: &[String]) -> String {
    let bare =
        |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let parts: Vec<_> =
        path.iter().map(|p| if bare(p) { p.clone() } else { format!("'{p}'") }).collect();
    parts.join(".")
}

/// Whole seconds of a duration in Go's notation, rounded up.
fn seconds(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0.0_f64);
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be a small number")]
    (!text.is_empty() && total < 1e9).then(|| total.ceil() as i64)
}

#[cfg(test)]
mod tests;
