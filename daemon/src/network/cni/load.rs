// SPDX-License-Identifier: Apache-2.0

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    NetworkConf,
    conf::{ConfProblem, ExtraPlugins, PluginConf},
};

/// Extensions of configuration files.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Which network of a directory pods join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The first valid one, in the order of file names.
    First,
    /// The one of this name.
    Named(String),
}

/// A file that was passed over.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It makes no sense.
    #[error(transparent)]
    Conf(#[from] ConfProblem),
}

/// No network could be taken from the directory.
#[derive(Debug, thiserror::Error)]
pub enum NoNetwork {
    /// The directory cannot be listed.
    #[error("cannot read network configuration directory {}: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no file at all.
    #[error("no network configuration in {}", directory.display())]
    Empty {
        /// The directory.
        directory: PathBuf,
    },
    /// None of the files can be used.
    #[error("no valid network configuration in {}: {}", directory.display(), list(bad))]
    AllBad {
        /// The directory.
        directory: PathBuf,
        /// The files.
        bad: Vec<BadFile>,
    },
    /// The network that was asked for is not there.
    #[error("no network called {name:?} in {}{}{}", directory.display(),
        if bad.is_empty() { "" } else { "; passed over: " }, list(bad))]
    Unnamed {
        /// The directory.
        directory: PathBuf,
        /// Name asked for.
        name: String,
        /// Files that cannot be used.
        bad: Vec<BadFile>,
    },
}

fn list(bad: &[BadFile]) -> String {
    bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A network and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The network.
    pub conf: NetworkConf,
    /// Its file.
    pub file: PathBuf,
}

/// Takes a network from a directory. Files that make no sense are passed over with a warning.
///
/// # Errors
/// [`NoNetwork`].
pub fn load(directory: &Path, choice: &Choice) -> Result<Found, NoNetwork> {
    let failed = |source| NoNetwork::Directory { directory: directory.to_owned(), source };
    let mut bad = Vec::new();
    for path in files(directory, &EXTENSIONS).map_err(failed)? {
        match read(directory, &path) {
            Ok(conf) if *choice == Choice::First || *choice == Choice::Named(conf.name.clone()) => {
                return Ok(Found { conf, file: path });
            }
            Ok(_) => {}
            Err(problem) => {
                tracing::warn!(file = %path.display(), %problem, "network configuration ignored");
                bad.push(BadFile { path, problem });
            }
        }
    }
    let directory = directory.to_owned();
    Err(match choice {
        Choice::Named(name) => NoNetwork::Unnamed { directory, name: name.clone(), bad },
        Choice::First if bad.is_empty() => NoNetwork::Empty { directory },
        Choice::First => NoNetwork::AllBad { directory, bad },
    })
}

fn files(directory: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| extensions.contains(&e)) && path.is_file()
        })
        .collect();
    files.sort();
    Ok(files)
}

fn read(directory: &Path, path: &Path) -> Result<NetworkConf, FileProblem> {
    let mut conf = NetworkConf::parse(&fs::read(path)?)?;
    if conf.extra_plugins == ExtraPlugins::FromDirectory {
        conf.plugins.extend(extra_plugins(&directory.join(&conf.name))?);
        conf.extra_plugins = ExtraPlugins::None;
    }
    if conf.plugins.is_empty() {
        let what = format!("is empty, and so is the directory {}", conf.name);
        return Err(ConfProblem::Key { key: "plugins".into(), what }.into());
    }
    Ok(conf)
}

fn extra_plugins(directory: &Path) -> Result<Vec<PluginConf>, FileProblem> {
    let files = match files(directory, &["conf"]) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut plugins = Vec::new();
    for file in files {
        let json: Value = serde_json::from_slice(&fs::read(&file)?).map_err(ConfProblem::from)?;
        plugins.push(PluginConf::from_json(json, &file.display().to_string())?);
    }
    Ok(plugins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const A: &str = r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"x"}]}"#;
    const B: &str = r#"{"cniVersion":"1.0.0","name":"b","type":"y"}"#;

    #[test]
    fn the_first_valid_file_wins() {
        let dir = directory(&[
            ("00-bad.conflist", "{"),
            ("05-backup.conflist.bak", B),
            ("10-a.conflist", A),
            ("20-b.conf", B),
        ]);
        assert_eq!(load(dir.path(), &Choice::First).unwrap().conf.name, "a");
        assert_eq!(load(dir.path(), &Choice::Named("b".into())).unwrap().conf.name, "b");
    }

    #[test]
    fn the_reason_names_every_file_passed_over() {
        let dir = directory(&[]);
        let text = |choice| load(dir.path(), &choice).unwrap_err().to_string();
        assert!(text(Choice::First).contains("no network configuration in"));
        fs::write(dir.path().join("1.json"), "{").unwrap();
        assert!(text(Choice::First).contains("1.json: not valid JSON"));
        let named = text(Choice::Named("c".into()));
        assert!(named.contains("\"c\"") && named.contains("1.json"), "{named}");
        let gone = load(Path::new("/nowhere/at/all"), &Choice::First).unwrap_err().to_string();
        assert!(gone.contains("/nowhere/at/all"), "{gone}");
    }

    #[test]
    fn plugins_beside_the_list_are_appended_when_it_says_so() {
        let list = r#"{"cniVersion":"1.1.0","name":"n","loadOnlyInlinedPlugins":false,
            "plugins":[{"type":"first"}]}"#;
        let dir = directory(&[
            ("1.conflist", list),
            ("n/20.conf", r#"{"type":"third"}"#),
            ("n/10.conf", r#"{"type":"second"}"#),
        ]);
        let conf = load(dir.path(), &Choice::First).unwrap().conf;
        let programs: Vec<_> = conf.plugins.iter().map(|p| p.program.as_str()).collect();
        assert_eq!(programs, ["first", "second", "third"]);
    }
}
