// SPDX-License-Identifier: Apache-2.0
//! Which handlers there are: those configured, else the OCI runtimes found on the host.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Config, RuntimeHandler, RuntimeType};

/// OCI runtimes that become handlers by themselves, best first.
pub(super) const KNOWN_RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];

/// Searched after PATH: services start with a short one.
const USUAL_DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A handler that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Name, as in a RuntimeClass.
    pub name: String,
    /// Absolute path of the OCI runtime or shim.
    pub program: PathBuf,
    /// What the program is.
    pub kind: RuntimeType,
    /// State directory of an OCI runtime.
    pub state_root: PathBuf,
    /// All that is set for it.
    pub settings: RuntimeHandler,
}

/// All usable handlers. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handlers {
    default: Handler,
    all: BTreeMap<String, Handler>,
    missing: Vec<HandlerError>,
}

/// Why a handler, or any, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Nothing is configured and nothing was found.
    #[error(
        "no OCI runtime: none of {} is on PATH or in the usual directories, and no \
         [runtime.runtimes.NAME] is configured",
        KNOWN_RUNTIMES.join(", ")
    )]
    NoRuntime,
    /// The program is not there, or not executable.
    #[error("handler {handler}: no executable {program}")]
    NoProgram {
        /// The handler.
        handler: String,
        /// Path or name of its program.
        program: String,
    },
    /// There are several handlers and none is the default one.
    #[error("[runtime] default_runtime is not set and cannot be chosen among {0}")]
    NoDefault(String),
}

impl Handlers {
    /// Works out the handlers of `config`. `find` gives the absolute path of a program that was
    /// named by path or by name, if it can be run: [`find_program`] outside of tests.
    ///
    /// A handler whose program is missing does not stop the others, unless it is the default.
    ///
    /// # Errors
    /// [`HandlerError`] when there would be no default handler.
    pub fn resolve(
        config: &Config,
        find: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, HandlerError> {
        let configured = !config.runtime.runtimes.is_empty();
        let mut all = BTreeMap::new();
        let mut missing = Vec::new();
        let mut names: Vec<String> = config.runtime.runtimes.keys().cloned().collect();
        if !configured {
            names = KNOWN_RUNTIMES.map(str::to_owned).to_vec();
        }
        for name in names {
            match handler(config, &name, &find) {
                Ok(handler) => {
                    all.insert(name, handler);
                }
                Err(e) => missing.push(e),
            }
        }
        if all.is_empty() && !configured {
            return Err(HandlerError::NoRuntime);
        }
        let default = default(config, &all, &missing)?;
        // That youki is not installed is news only to those who asked for it.
        let missing = if configured { missing } else { Vec::new() };
        Ok(Self { default, all, missing })
    }

    /// The handler that a request names; the empty name is the default's.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Handler> {
        if name.is_empty() { Some(&self.default) } else { self.all.get(name) }
    }

    /// The handler of requests that name none.
    #[must_use]
    pub fn default_handler(&self) -> &Handler {
        &self.default
    }

    /// All handlers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Handler> {
        self.all.values()
    }

    /// Handlers that are configured but cannot be used, to be logged.
    #[must_use]
    pub fn missing(&self) -> &[HandlerError] {
        &self.missing
    }
}

fn handler(
    config: &Config,
    name: &str,
    find: impl Fn(&str) -> Option<PathBuf>,
) -> Result<Handler, HandlerError> {
    let settings = config.runtime.runtimes.get(name).cloned().unwrap_or_default();
    let wanted = match settings.runtime_path.0.as_str() {
        "" => name,
        path => path,
    };
    let program = find(wanted).ok_or_else(|| HandlerError::NoProgram {
        handler: name.to_owned(),
        program: wanted.to_owned(),
    })?;
    Ok(Handler {
        name: name.to_owned(),
        program,
        kind: settings.runtime_type,
        state_root: settings
            .runtime_root
            .clone()
            .unwrap_or_else(|| config.runroot.join("runtime").join(name)),
        settings,
    })
}

fn default(
    config: &Config,
    all: &BTreeMap<String, Handler>,
    missing: &[HandlerError],
) -> Result<Handler, HandlerError> {
    let asked = config.runtime.default_runtime.as_str();
    if !asked.is_empty() {
        let reason = missing
            .iter()
            .find(|e| matches!(e, HandlerError::NoProgram { handler, .. } if handler == asked));
        return all.get(asked).cloned().ok_or_else(|| {
            reason.cloned().unwrap_or_else(|| HandlerError::NoDefault(names(config)))
        });
    }
    let known = KNOWN_RUNTIMES.iter().find_map(|name| all.get(*name));
    let only = all.values().next().filter(|_| all.len() == 1);
    known
        .or(only)
        .cloned()
        .ok_or_else(|| missing.first().cloned().unwrap_or(HandlerError::NoDefault(names(config))))
}

fn names(config: &Config) -> String {
    config.runtime.runtimes.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Looks for a program: an absolute path is taken as it is, a name is looked for on PATH and in
/// the usual directories.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let runnable = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|p| p.is_absolute() && runnable(p));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|d| d.is_absolute())
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| runnable(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    fn config(text: &str) -> Config {
        load_text(Path::new("test.conf"), text).unwrap()
    }

    fn host(programs: &'static [&'static str]) -> impl Fn(&str) -> Option<PathBuf> {
        move |p| {
            let name = p.rsplit('/').next().unwrap();
            programs.contains(&name).then(|| Path::new("/usr/bin").join(name))
        }
    }

    #[test]
    fn without_configuration_the_best_runtime_found_is_the_default_and_all_are_handlers() {
        let handlers = Handlers::resolve(&config(""), host(&["runc", "youki"])).unwrap();
        assert_eq!(handlers.get("").unwrap().name, "runc");
        assert_eq!(handlers.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["runc", "youki"]);
        let runc = handlers.get("runc").unwrap();
        assert_eq!(runc.state_root, Path::new("/run/crisp/runtime/runc"));
        assert!(handlers.get("crun").is_none());
        assert!(handlers.missing().is_empty());
        let both = Handlers::resolve(&config(""), host(&["runc", "crun"])).unwrap();
        assert_eq!(both.default_handler().name, "crun");
    }

    #[test]
    fn a_host_without_any_runtime_is_told_which_were_looked_for() {
        let error = Handlers::resolve(&config(""), host(&[])).unwrap_err();
        assert!(error.to_string().contains("crun, runc, youki"), "{error}");
    }

    #[test]
    fn a_missing_program_spoils_its_own_handler_only() {
        let text = "[runtime.runtimes.runc]\n[runtime.runtimes.kata]\nruntime_type = 'vm'\nruntime_path = '/opt/kata/shim'";
        let handlers = Handlers::resolve(&config(text), host(&["runc"])).unwrap();
        assert_eq!(handlers.default_handler().name, "runc");
        let missing = handlers.missing();
        assert!(missing[0].to_string().contains("/opt/kata/shim"), "{missing:?}");
        let text = format!("{text}\n[runtime]\ndefault_runtime = 'kata'");
        let error = Handlers::resolve(&config(&text), host(&["runc"])).unwrap_err();
        assert!(matches!(error, HandlerError::NoProgram { handler, .. } if handler == "kata"));
    }

    #[test]
    fn the_only_handler_is_the_default_and_among_strangers_none_is() {
        let one = "[runtime.runtimes.slow]\nruntime_path = 'runc'";
        let handlers = Handlers::resolve(&config(one), host(&["runc"])).unwrap();
        assert_eq!(handlers.get("").unwrap().name, "slow");
        let two = format!("{one}\n[runtime.runtimes.fast]\nruntime_path = 'runc'");
        let error = Handlers::resolve(&config(&two), host(&["runc"])).unwrap_err();
        assert!(error.to_string().contains("fast, slow"), "{error}");
    }

    #[test]
    fn a_program_is_found_by_path_and_by_name() {
        assert_eq!(find_program("/bin/sh"), Some("/bin/sh".into()));
        assert!(find_program("sh").is_some_and(|p| p.is_absolute()));
        assert_eq!(find_program("/etc/passwd"), None);
        assert_eq!(find_program("bin/sh"), None);
    }
}
