// SPDX-License-Identifier: Apache-2.0
//! Starts the shim of a container.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    BootstrapResult, Dialect, Options, ShimError,
    dialect::{Binary, Input, Known},
    spawn::{Failure, Run, run},
};

/// How much a shim shall say in its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// What an operator needs.
    #[default]
    Normal,
    /// What a developer needs.
    Debug,
}

/// Whether a shim is told where its events are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsTo {
    /// The daemon hears them.
    Daemon,
    /// Nobody does: all they tell is known otherwise, and each publisher is a connection more.
    Nobody,
}

/// What all shims of this daemon are told.
#[derive(Debug)]
pub struct Launcher {
    namespace: String,
    events: PathBuf,
    publisher: PathBuf,
    verbosity: Verbosity,
    known: Known,
}

/// One start or delete of a shim, for one container or sandbox.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// Absolute path of the shim.
    pub binary: &'a Path,
    /// Id of the container or sandbox.
    pub id: &'a str,
    /// Its bundle; the shim is run in it.
    pub bundle: &'a Path,
    /// How the shim reads its standard input.
    pub dialect: Dialect,
    /// The runtime's options, for shims that read them this early.
    pub options: Option<&'a Options>,
    /// Who hears its events.
    pub events: EventsTo,
    /// Where the shim shall put its socket, if it can be told.
    pub socket_dir: Option<&'a Path>,
    /// Further environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Launcher {
    /// `events` is the socket of the [`super::EventServer`]; `publisher` is the daemon's own
    /// binary, which shims of old ran to publish an event.
    #[must_use]
    pub fn new(
        namespace: String,
        events: PathBuf,
        publisher: PathBuf,
        verbosity: Verbosity,
    ) -> Self {
        Self { namespace, events, publisher, verbosity, known: Known::default() }
    }

    /// The namespace that containers of this daemon are in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs the shim's `start` and answers with where its server listens. The answer is not yet
    /// saved: [`BootstrapResult::save`] does that.
    ///
    /// A grouping shim answers with the address of the pod's server when that runs already. The
    /// bundle's [`super::LogPipe`] must be open: the server of a third-party shim ends without it.
    ///
    /// # Errors
    /// [`ShimError::Spawn`], [`ShimError::Exit`], [`ShimError::Deadline`],
    /// [`ShimError::Malformed`]. The first of two when both dialects fail.
    pub async fn start(
        &self,
        launch: &Launch<'_>,
        deadline: Duration,
    ) -> Result<BootstrapResult, ShimError> {
        let binary = Binary::look(launch.binary).map_err(|source| ShimError::Spawn {
            binary: launch.binary.to_owned(),
            source: source.into(),
        })?;
        let dialect = match launch.dialect {
            Dialect::Auto => self.known.get(&binary),
            fixed => fixed,
        };
        let stdout = match dialect {
            Dialect::Auto => self.start_and_learn(launch, binary, deadline).await,
            fixed => self.start_in(launch, fixed, deadline).await.map_err(|f| f.error),
        }?;
        BootstrapResult::parse(&launch.binary.display().to_string(), &stdout)
    }

    async fn start_and_learn(
        &self,
        launch: &Launch<'_>,
        binary: Binary,
        deadline: Duration,
    ) -> Result<Vec<u8>, ShimError> {
        let first = match self.start_in(launch, Dialect::Params, deadline).await {
            Ok(stdout) => {
                self.known.learn(binary, Dialect::Params);
                return Ok(stdout);
            }
            Err(failure) if failure.silent_exit => failure.error,
            Err(failure) => return Err(failure.error),
        };
        match self.start_in(launch, Dialect::Legacy, deadline).await {
            Ok(stdout) => {
                self.known.learn(binary, Dialect::Legacy);
                Ok(stdout)
            }
            Err(second) => {
                tracing::debug!(error = %second.error, "shim failed in the old dialect too");
                Err(first)
            }
        }
    }

    async fn start_in(
        &self,
        launch: &Launch<'_>,
        dialect: Dialect,
        deadline: Duration,
    ) -> Result<Vec<u8>, Failure> {
        self.prepare_in(launch, "start", dialect)?.output(deadline).await
    }

    /// A run of a verb of crisp's own shim that answers as `start` does, ready to be repeated.
    pub(super) fn prepare(
        &self,
        launch: &Launch<'_>,
        verb: &'static str,
    ) -> Result<Prepared, ShimError> {
        self.prepare_in(launch, verb, Dialect::Params)
    }

    fn prepare_in(
        &self,
        launch: &Launch<'_>,
        verb: &'static str,
        dialect: Dialect,
    ) -> Result<Prepared, ShimError> {
        let events = self.events_of(launch).display().to_string();
        let input = Input {
            id: launch.id,
            namespace: &self.namespace,
            verbosity: self.verbosity,
            events: &events,
            grpc: &events,
            publisher: &self.publisher,
            socket_dir: launch.socket_dir,
            options: launch.options,
        };
        let stdin = match dialect {
            Dialect::Legacy => input.legacy(),
            Dialect::Auto | Dialect::Params => input.params(),
        }
        .map_err(|e| ShimError::malformed(&launch.binary.display().to_string(), verb, e))?;
        let mut arguments = self.flags(launch);
        arguments.push(verb.into());
        Ok(Prepared {
            binary: launch.binary.to_owned(),
            verb,
            arguments,
            environment: self.environment(launch),
            directory: launch.bundle.to_owned(),
            stdin,
        })
    }

    /// Where the shim's events go; an empty path means nowhere.
    fn events_of(&self, launch: &Launch<'_>) -> &Path {
        match launch.events {
            EventsTo::Daemon => &self.events,
            EventsTo::Nobody => Path::new(""),
        }
    }

    /// The flags that stand before every verb, in Go's style.
    pub(super) fn flags(&self, launch: &Launch<'_>) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec![
            "-namespace".into(),
            self.namespace.clone().into(),
            "-address".into(),
            self.events.clone().into(),
            "-publish-binary".into(),
            self.publisher.clone().into(),
            "-id".into(),
            launch.id.into(),
        ];
        if self.verbosity == Verbosity::Debug {
            flags.push("-debug".into());
        }
        flags
    }

    /// What is added to the daemon's own environment, which must let the shim find its runtime.
    pub(super) fn environment(&self, launch: &Launch<'_>) -> Vec<(OsString, OsString)> {
        let mut environment: Vec<(OsString, OsString)> = vec![
            ("GOMAXPROCS".into(), "2".into()),
            ("MAX_SHIM_VERSION".into(), "2".into()),
            ("TTRPC_ADDRESS".into(), self.events_of(launch).into()),
            ("GRPC_ADDRESS".into(), self.events_of(launch).into()),
            ("NAMESPACE".into(), self.namespace.clone().into()),
        ];
        environment.extend(launch.environment.iter().cloned());
        environment
    }
}

/// A run of a shim binary that answers with an address.
pub(super) struct Prepared {
    binary: PathBuf,
    verb: &'static str,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    stdin: Vec<u8>,
}

impl Prepared {
    /// Runs it and reads its answer.
    pub(super) async fn run(&self, deadline: Duration) -> Result<BootstrapResult, ShimError> {
        let stdout = self.output(deadline).await.map_err(|failure| failure.error)?;
        BootstrapResult::parse(&self.binary.display().to_string(), &stdout)
    }

    async fn output(&self, deadline: Duration) -> Result<Vec<u8>, Failure> {
        run(Run {
            binary: &self.binary,
            verb: self.verb,
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            directory: &self.directory,
            stdin: self.stdin.clone(),
            deadline,
        })
        .await
    }
}
