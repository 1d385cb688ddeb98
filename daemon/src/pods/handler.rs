// SPDX-License-Identifier: Apache-2.0
//! Runtime handlers: what a RuntimeClass chooses.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use crisp_runtimes::{Abilities, Argv, CgroupDriver, FeaturesError, Kind, Runtime, preset::Policy};

use super::{error::PodError, record::Maker, variant::Variant};

/// A runtime handler.
#[derive(Debug, Clone)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// The shim binary that serves its pods.
    pub shim: PathBuf,
    /// What kind of shim that is.
    pub engine: Engine,
    /// What its runtime can do.
    pub abilities: Abilities,
    /// Seccomp profile that RuntimeDefault means in its pods; `None` for the node's.
    pub seccomp_profile: Option<PathBuf>,
}

/// What runs a handler's containers.
#[derive(Debug, Clone)]
pub enum Engine {
    /// crisp's own shim, by this OCI runtime.
    Oci(OciRuntime),
    /// A shim of another's making.
    Shim(Box<Variant>),
}

impl Handler {
    /// The shim of another's making, if it is one.
    #[must_use]
    pub fn variant(&self) -> Option<&Variant> {
        match &self.engine {
            Engine::Oci(_) => None,
            Engine::Shim(variant) => Some(variant),
        }
    }

    /// The OCI runtime that its shim drives, as far as that is known here.
    #[must_use]
    pub fn runtime(&self) -> Option<&Path> {
        match &self.engine {
            Engine::Oci(runtime) => Some(&runtime.binary),
            Engine::Shim(variant) => variant.runtime.as_deref(),
        }
    }

    /// Whether its pods may have a user namespace.
    #[must_use]
    pub fn has_user_namespaces(&self) -> bool {
        self.variant().is_none_or(|v| v.preset.user_namespaces == Policy::Allow)
    }

    /// Who made its shim.
    #[must_use]
    pub fn maker(&self) -> Maker {
        match &self.engine {
            Engine::Oci(_) => Maker::Crisp,
            Engine::Shim(_) => Maker::Other,
        }
    }

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
    /// A shim's file is not named as the shims' convention wants it.
    #[error("{0} is no shim: its name does not begin with containerd-shim-")]
    NoShim(PathBuf),
    /// The OCI runtime that a shim is to drive is not there.
    #[error("no executable {0}, which the shim is to drive")]
    NoRuntime(String),
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
    let mut command = tokio::process::Command::new(argv.program());
    command.args(argv.args());
    let printed = run(command, argv.program().into(), limit).await?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// What a program prints when it is called with one word.
///
/// # Errors
/// [`ProbeError`].
pub async fn printed(program: &Path, word: &str, limit: Duration) -> Result<Vec<u8>, ProbeError> {
    let mut command = tokio::process::Command::new(program);
    command.arg(word);
    run(command, program.to_owned(), limit).await
}

async fn run(
    mut command: tokio::process::Command,
    binary: PathBuf,
    limit: Duration,
) -> Result<Vec<u8>, ProbeError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Err(_) => return Err(ProbeError::Hangs { binary, limit }),
        Ok(Err(source)) => return Err(ProbeError::Spawn { binary, source }),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(output.stdout);
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
    own_shim: PathBuf,
}

impl Handlers {
    /// `default` also answers to the empty name; `own_shim` is the binary of crisp's own.
    #[must_use]
    pub fn new(
        default: Handler,
        others: impl IntoIterator<Item = Handler>,
        own_shim: PathBuf,
    ) -> Self {
        let default = Arc::new(default);
        let mut named: BTreeMap<_, _> =
            others.into_iter().map(|h| (h.name.clone(), Arc::new(h))).collect();
        named.insert(default.name.clone(), default.clone());
        Self { default, named, own_shim }
    }

    /// crisp's own shim, which also serves the streams of shims of others.
    #[must_use]
    pub fn own_shim(&self) -> &Path {
        &self.own_shim
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
