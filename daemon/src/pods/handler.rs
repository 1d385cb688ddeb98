// SPDX-License-Identifier: Apache-2.0
//! Runtime handlers: what a RuntimeClass chooses.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use crisp_runtimes::{Abilities, Argv, CgroupDriver, FeaturesError, Kind, Runtime};

use super::error::PodError;

/// A runtime handler.
#[derive(Debug, Clone)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// The shim binary that serves its pods.
    pub shim: PathBuf,
    /// The OCI runtime that crisp's own shim drives for it.
    pub runtime: OciRuntime,
    /// What that runtime can do.
    pub abilities: Abilities,
}

impl Handler {
    /// Asks an OCI runtime what it can do.
    ///
    /// # Errors
    /// [`ProbeError`] when it cannot be run, hangs, or answers to neither `features` nor
    /// `--version`: it does not work on this host.
    pub async fn probe(runtime: &OciRuntime, limit: Duration) -> Result<Abilities, ProbeError> {
        let call = Runtime {
            kind: runtime.kind,
            binary: runtime.binary.clone(),
            root: runtime.root.clone(),
            cgroups: CgroupDriver::default(),
        };
        match output(&call.features(), limit).await {
            Ok(text) => Abilities::parse(runtime.kind, &text)
                .map_err(|source| ProbeError::Features { binary: runtime.binary.clone(), source }),
            // Runtimes of before the command was invented say so by failing.
            Err(ProbeError::Failed { .. }) => {
                let version = output(&call.version(), limit).await?;
                Ok(Abilities::of_version(runtime.kind, &version))
            }
            Err(error) => Err(error),
        }
    }
}

/// An OCI runtime that does not work.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It is a shim of another's making.
    #[error("{0}: handlers of runtime_type \"shim\" and \"vm\" are not served by this version")]
    NotServed(PathBuf),
    /// It cannot be run.
    #[error("OCI runtime {binary} cannot be run: {source}")]
    Spawn {
        /// Path.
        binary: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// It did not end.
    #[error("OCI runtime {binary} did not answer within {limit:?}")]
    Hangs {
        /// Path.
        binary: PathBuf,
        /// Limit.
        limit: Duration,
    },
    /// It ended with an error.
    #[error("OCI runtime {binary}: {status}: {text}")]
    Failed {
        /// Path.
        binary: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        text: String,
    },
    /// What it printed makes no sense.
    #[error("OCI runtime {binary}: {source}")]
    Features {
        /// Path.
        binary: PathBuf,
        /// Cause.
        source: FeaturesError,
    },
}

async fn output(argv: &Argv, limit: Duration) -> Result<String, ProbeError> {
    let binary = PathBuf::from(argv.program());
    let mut command = tokio::process::Command::new(argv.program());
    command.args(argv.args()).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Err(_) => return Err(ProbeError::Hangs { binary, limit }),
        Ok(Err(source)) => return Err(ProbeError::Spawn { binary, source }),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ProbeError::Failed { binary, status: output.status, text })
}

/// An OCI runtime as a handler uses it.
#[derive(Debug, Clone)]
pub struct OciRuntime {
    /// Which of the known runtimes it is, or behaves like.
    pub kind: Kind,
    /// Absolute path of the binary.
    pub binary: PathBuf,
    /// State directory.
    pub root: PathBuf,
}

/// The handlers of this node.
#[derive(Debug, Clone)]
pub struct Handlers {
    default: Arc<Handler>,
    named: BTreeMap<String, Arc<Handler>>,
}

impl Handlers {
    /// `default` also answers to the empty name.
    #[must_use]
    pub fn new(default: Handler, others: impl IntoIterator<Item = Handler>) -> Self {
        let default = Arc::new(default);
        let mut named: BTreeMap<_, _> =
            others.into_iter().map(|h| (h.name.clone(), Arc::new(h))).collect();
        named.insert(default.name.clone(), default.clone());
        Self { default, named }
    }

    /// The handler a client asks for; empty for the default.
    ///
    /// # Errors
    /// [`PodError::NoHandler`].
    pub fn choose(&self, requested: &str) -> Result<&Arc<Handler>, PodError> {
        if requested.is_empty() {
            return Ok(&self.default);
        }
        self.named.get(requested).ok_or_else(|| PodError::NoHandler(requested.to_owned()))
    }

    /// The handler of this name, for removals. The default one if it is no longer configured: the
    /// shim knows from its own records which OCI runtime made a container.
    #[must_use]
    pub fn choose_or_default(&self, name: &str) -> &Arc<Handler> {
        self.named.get(name).unwrap_or(&self.default)
    }

    /// The default handler.
    #[must_use]
    pub fn default_handler(&self) -> &Arc<Handler> {
        &self.default
    }

    /// Every handler by name.
    pub fn named(&self) -> impl Iterator<Item = &Arc<Handler>> {
        self.named.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(binary: &str) -> OciRuntime {
        OciRuntime { kind: Kind::Runc, binary: binary.into(), root: "/run/x".into() }
    }

    #[tokio::test]
    async fn a_program_that_is_no_runtime_does_not_become_a_handler() {
        let limit = Duration::from_secs(5);
        let missing = Handler::probe(&runtime("/nonexistent/runc"), limit).await;
        assert!(matches!(missing, Err(ProbeError::Spawn { .. })), "{missing:?}");
        let failing = Handler::probe(&runtime("/bin/false"), limit).await;
        assert!(matches!(failing, Err(ProbeError::Failed { .. })), "{failing:?}");
        let talking = Handler::probe(&runtime("/bin/echo"), limit).await;
        assert!(matches!(talking, Err(ProbeError::Features { .. })), "{talking:?}");
    }
}
