// SPDX-License-Identifier: Apache-2.0
//! Reads the files. The only part of the room that touches the disk, save looking for programs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigError,
    section::Entry,
    tree::{self, Node},
    verify,
};

/// Where the configuration is, unless the command line says otherwise.
pub const DEFAULT_FILE: &str = "/etc/crisp/crisp.conf";

/// Reads `file`, then `FILE.d/*.conf` in the order of their names. Without a file named, the
/// default one is read, and need not exist.
///
/// # Errors
/// [`ConfigError`]: a file cannot be read, or says something wrong.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let main = file.unwrap_or(Path::new(DEFAULT_FILE));
    let mut texts = Vec::new();
    match fs::read_to_string(main) {
        Ok(text) => texts.push((main.to_owned(), text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && file.is_none() => {}
        Err(source) => return Err(ConfigError::Read { path: main.to_owned(), source }),
    }
    for path in drop_ins(main)? {
        match fs::read_to_string(&path) {
            Ok(text) => texts.push((path, text)),
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
    }
    merge(&texts)
}

/// Takes `text` as the only file; `name` is what errors call it.
///
/// # Errors
/// [`ConfigError::Problems`].
pub fn load_text(name: &Path, text: &str) -> Result<Config, ConfigError> {
    merge(&[(name.to_owned(), text.to_owned())])
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let directory = PathBuf::from(directory);
    let failed = |source| ConfigError::Read { path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|e| e == "conf") && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn merge(texts: &[(PathBuf, String)]) -> Result<Config, ConfigError> {
    let mut merged: Option<Node> = None;
    let mut problems = Vec::new();
    for (file, text) in texts {
        match (tree::parse(file, text), &mut merged) {
            (Ok(node), None) => merged = Some(node),
            (Ok(node), Some(base)) => tree::merge(base, node),
            (Err(found), _) => problems.extend(found),
        }
    }
    let mut config = Config::default();
    if let Some(root) = &merged {
        config.read(root, "", &mut problems);
        problems.extend(verify::verify(&config, root));
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
}
