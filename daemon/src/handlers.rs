// SPDX-License-Identifier: Apache-2.0
//! Makes handlers of what the configuration names: OCI runtimes are asked what they can do, shims
//! of others get what is known of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crisp_runtimes::{
    Abilities, Kind,
    preset::{AnnotationStyle, Isolation, OptionsKind, Policy, Preset},
};

use crate::{
    config::{self, Config, HostNetwork, RuntimeType, ShimBootstrap, ShimOptions, find_program},
    daemon::StartError,
    pods::{
        handler::{Engine, Handler, Handlers, OciRuntime, ProbeError},
        limits::Limits,
        shim,
        variant::Variant,
    },
    shims::{CgroupDriver, Dialect, Options, RuncOptions, RuntimeConfig},
};

/// Name of crisp's own shim.
pub(crate) const SHIM: &str = "containerd-shim-crisp-v1";
/// What the file of every shim is called at the beginning.
const SHIMS: &str = "containerd-shim-";

/// What handlers are made with.
pub(crate) struct Workshop<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// How long a program may take.
    pub(crate) limits: &'a Limits,
    /// Who makes cgroups.
    pub(crate) cgroups: CgroupDriver,
}

impl Workshop<'_> {
    /// All handlers that work. One that does not is logged, unless it is the default.
    pub(crate) async fn handlers(&self) -> Result<Handlers, StartError> {
        let resolved = config::Handlers::resolve(self.config, find_program)?;
        for error in resolved.missing() {
            tracing::warn!(%error, "handler is not usable");
        }
        let runtime = &self.config.runtime;
        let own = runtime.shim_path.clone().or_else(|| shim::find_binary(SHIM));
        let own = own.ok_or(StartError::NoShim)?;
        let mut usable = Vec::new();
        let mut default = None;
        for handler in resolved.iter() {
            let is_default = handler.name == resolved.default_handler().name;
            match self.probe(handler, &own).await {
                Ok(handler) if is_default => default = Some(handler),
                Ok(handler) => usable.push(handler),
                // Without configuration, the first that works is the default.
                Err(source) if is_default && !runtime.default_runtime.is_empty() => {
                    return Err(StartError::DefaultHandler { name: handler.name.clone(), source });
                }
                Err(error) => tracing::warn!(handler = handler.name, %error, "handler not usable"),
            }
        }
        let default = match default {
            Some(default) => default,
            None if !usable.is_empty() => usable.remove(0),
            None => return Err(config::HandlerError::NoRuntime.into()),
        };
        Ok(Handlers::new(default, usable, own))
    }

    async fn probe(&self, handler: &config::Handler, own: &Path) -> Result<Handler, ProbeError> {
        let isolation = match handler.kind {
            RuntimeType::Oci => return self.oci(handler, own).await,
            RuntimeType::Shim => Isolation::Process,
            RuntimeType::Vm => Isolation::Kernel,
        };
        self.shim(handler, own, isolation).await
    }

    async fn oci(&self, handler: &config::Handler, own: &Path) -> Result<Handler, ProbeError> {
        let runtime = oci_runtime(handler.program.clone(), &handler.state_root);
        let abilities = Handler::probe(&runtime, self.limits.shim_call).await?;
        Ok(Handler {
            name: handler.name.clone(),
            shim: own.to_owned(),
            engine: Engine::Oci(runtime),
            abilities,
            seccomp_profile: handler.settings.seccomp_profile.clone(),
        })
    }

    async fn shim(
        &self,
        handler: &config::Handler,
        own: &Path,
        isolation: Isolation,
    ) -> Result<Handler, ProbeError> {
        let name = handler.program.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(SHIMS) {
            return Err(ProbeError::NoShim(handler.program.clone()));
        }
        let preset = preset(handler, isolation);
        let runtime = match preset.options {
            OptionsKind::Runc => Some(driven(&handler.settings)?),
            OptionsKind::Nothing | OptionsKind::ConfigFile { .. } => None,
        };
        let abilities = match &runtime {
            Some(binary) => {
                let runtime = oci_runtime(binary.clone(), &handler.state_root);
                Handler::probe(&runtime, self.limits.shim_call).await?
            }
            None => Abilities::oldest(),
        };
        let variant = Variant {
            dialect: match handler.settings.shim_bootstrap {
                ShimBootstrap::Auto => Dialect::Auto,
                ShimBootstrap::Params => Dialect::Params,
                ShimBootstrap::Legacy => Dialect::Legacy,
            },
            options: self.options(handler, &preset, runtime.as_deref()),
            preset,
            runtime,
            init: self.init(own).await?,
        };
        Ok(Handler {
            name: handler.name.clone(),
            shim: handler.program.clone(),
            engine: Engine::Shim(Box::new(variant)),
            abilities,
            seccomp_profile: handler.settings.seccomp_profile.clone(),
        })
    }

    fn options(
        &self,
        handler: &config::Handler,
        preset: &Preset,
        runtime: Option<&Path>,
    ) -> Option<Options> {
        match preset.options {
            OptionsKind::Nothing => None,
            OptionsKind::Runc => Some(Options::runc(&RuncOptions {
                binary_name: runtime.map(|path| path.display().to_string()).unwrap_or_default(),
                root: handler.state_root.display().to_string(),
                cgroup_driver: self.cgroups,
                shim_cgroup: String::new(),
            })),
            // Without a file of the operator's, the shim finds its own.
            OptionsKind::ConfigFile { type_url } => {
                let path = handler.settings.runtime_config_path.as_ref()?;
                Some(Options::runtime(&RuntimeConfig {
                    type_url: type_url.to_owned(),
                    config_path: path.display().to_string(),
                    config_body: Vec::new(),
                }))
            }
        }
    }

    /// The program of sandbox containers: crisp's own shim carries it.
    async fn init(&self, own: &Path) -> Result<Arc<[u8]>, ProbeError> {
        let printed = super::pods::handler::printed(own, "print-init", self.limits.shim_call);
        Ok(printed.await?.into())
    }
}

fn oci_runtime(binary: PathBuf, root: &Path) -> OciRuntime {
    OciRuntime { kind: Kind::of_binary(&binary), binary, root: root.to_owned() }
}

/// The OCI runtime that a shim is to drive.
fn driven(settings: &config::RuntimeHandler) -> Result<PathBuf, ProbeError> {
    let wanted = match settings.shim_runtime.0.as_str() {
        "" => "runc",
        named => named,
    };
    find_program(wanted).ok_or_else(|| ProbeError::NoRuntime(wanted.to_owned()))
}

/// What is known of a shim, and what the operator says otherwise.
fn preset(handler: &config::Handler, isolation: Isolation) -> Preset {
    let settings = &handler.settings;
    let mut preset = Preset::of_shim(&handler.program, isolation);
    if isolation == Isolation::Kernel {
        preset.isolation = isolation;
    }
    match settings.shim_options {
        ShimOptions::Auto => {}
        ShimOptions::Runc => preset.options = OptionsKind::Runc,
        ShimOptions::Nothing => preset.options = OptionsKind::Nothing,
        ShimOptions::RuntimeOptions => {
            if !matches!(preset.options, OptionsKind::ConfigFile { .. }) {
                preset.options = OptionsKind::ConfigFile { type_url: "" };
            }
        }
    }
    match settings.annotation_style {
        config::AnnotationStyle::Auto => {}
        config::AnnotationStyle::Containerd => preset.annotations = AnnotationStyle::Containerd,
        config::AnnotationStyle::Crio => preset.annotations = AnnotationStyle::Crio,
        config::AnnotationStyle::Both => preset.annotations = AnnotationStyle::Both,
    }
    match settings.host_network {
        HostNetwork::Auto => {}
        HostNetwork::Allow => preset.host_network = Policy::Allow,
        HostNetwork::Refuse => preset.host_network = Policy::Refuse,
    }
    preset.allowed_annotations.extend(settings.allowed_annotations.iter().cloned());
    preset
}
