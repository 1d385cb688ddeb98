// SPDX-License-Identifier: Apache-2.0
//! The options a caller may send with `start`, Task.Create and Sandbox.CreateSandbox.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use containerd_shim_protos::shim::oci::Options as RuncOptions;
use crisp_podio::{ContainerOptions, RuntimeOptions, SandboxOptions};
use crisp_runtimes::{CgroupDriver, Kind, NoRuntime, Runtime, UnknownKind, first_working};
use protobuf::{Message, well_known_types::any::Any};

use crate::handler_table::{self, TableError};

/// How long one call of an OCI runtime may take when nobody says.
const DEADLINE: Duration = Duration::from_secs(120);

/// An OCI runtime and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Driven {
    pub(crate) runtime: Runtime,
    pub(crate) deadline: Duration,
}

/// Options that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("options of type {type_url} cannot be read")]
    Malformed { type_url: String, source: protobuf::Error },
    #[error("options of type {0} are of no kind known here")]
    Unknown(String),
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    #[error("runtime options name no binary for {0}")]
    NoBinary(Kind),
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// What Task.Create was told.
#[derive(Debug, Default)]
pub(crate) struct ForContainer {
    /// `None`: the sandbox's runtime, or the host's default.
    pub(crate) runtime: Option<Driven>,
    pub(crate) stdin_once: bool,
}

/// What Sandbox.CreateSandbox was told.
pub(crate) enum ForSandbox {
    Own(SandboxOptions),
    /// A CRI `PodSandboxConfig`, still encoded.
    Cri(Vec<u8>),
    None,
}

/// The message's full name: type URLs may have any prefix, or none.
fn name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

fn decode<M: Message>(any: &Any) -> Result<M, OptionsError> {
    M::parse_from_bytes(&any.value)
        .map_err(|source| OptionsError::Malformed { type_url: any.type_url.clone(), source })
}

/// Reads the options of Task.Create. `namespace` separates the state of different callers.
pub(crate) fn for_container(
    any: Option<&Any>,
    namespace: &str,
) -> Result<ForContainer, OptionsError> {
    let Some(any) = any.filter(|a| !a.type_url.is_empty()) else {
        return Ok(ForContainer::default());
    };
    match name(any) {
        "crisp.podio.v1.ContainerOptions" => {
            let options: ContainerOptions = decode(any)?;
            let runtime = options.runtime.as_ref().map(ours).transpose()?;
            Ok(ForContainer { runtime, stdin_once: options.stdin_once })
        }
        "crisp.podio.v1.RuntimeOptions" => {
            Ok(ForContainer { runtime: Some(ours(&decode(any)?)?), stdin_once: false })
        }
        "containerd.runc.v1.Options" => {
            let options: RuncOptions = decode(any)?;
            Ok(ForContainer { runtime: Some(runcs(&options, namespace)?), stdin_once: false })
        }
        "runtimeoptions.v1.Options" => {
            let table = handler_table::read(&any.value)?;
            let runtime = table.map(|options| runcs(&options, namespace)).transpose()?;
            Ok(ForContainer { runtime, stdin_once: false })
        }
        _ => Err(OptionsError::Unknown(any.type_url.clone())),
    }
}

/// Reads the options of Sandbox.CreateSandbox.
pub(crate) fn for_sandbox(any: Option<&Any>) -> Result<ForSandbox, OptionsError> {
    let Some(any) = any.filter(|a| !a.type_url.is_empty()) else {
        return Ok(ForSandbox::None);
    };
    match name(any) {
        "crisp.podio.v1.SandboxOptions" => Ok(ForSandbox::Own(decode(any)?)),
        "runtime.v1.PodSandboxConfig" => Ok(ForSandbox::Cri(any.value.clone())),
        _ => Err(OptionsError::Unknown(any.type_url.clone())),
    }
}

/// The cgroup the caller of `start` wants the server in.
pub(crate) fn shim_cgroup(any: &Any) -> Option<String> {
    let cgroup = match name(any) {
        "containerd.runc.v1.Options" => decode::<RuncOptions>(any).ok()?.shim_cgroup,
        "runtimeoptions.v1.Options" => handler_table::read(&any.value).ok()??.shim_cgroup,
        "crisp.podio.v1.SandboxOptions" => decode::<SandboxOptions>(any).ok()?.shim_cgroup,
        _ => return None,
    };
    Some(cgroup).filter(|c| !c.is_empty())
}

/// The runtime that crisp's own options name.
pub(crate) fn ours(options: &RuntimeOptions) -> Result<Driven, OptionsError> {
    let kind: Kind = options.kind.parse()?;
    if options.binary.is_empty() {
        return Err(OptionsError::NoBinary(kind));
    }
    let root = match options.root.as_str() {
        "" => Path::new("/run/crisp/runtime").join(kind.name()),
        root => PathBuf::from(root),
    };
    let deadline = match options.deadline_s {
        0 => DEADLINE,
        seconds => Duration::from_secs(seconds.into()),
    };
    let cgroups = driver(options.systemd_cgroup);
    let runtime = Runtime { kind, binary: (&options.binary).into(), root, cgroups };
    Ok(Driven { runtime, deadline })
}

/// The runtime that containerd's options for runc name; as there, the state root is the given
/// directory, or runc's own, and below it one directory a namespace.
fn runcs(options: &RuncOptions, namespace: &str) -> Result<Driven, OptionsError> {
    let found = match options.binary_name.as_str() {
        "" => default_binary()?,
        name => (Kind::of_binary(Path::new(name)), name.into()),
    };
    let root = match options.root.as_str() {
        "" => "/run/containerd/runc",
        root => root,
    };
    Ok(driven(found, Path::new(root).join(namespace), driver(options.systemd_cgroup)))
}

/// The host's default runtime.
pub(crate) fn default_runtime(namespace: &str) -> Result<Driven, OptionsError> {
    let found = default_binary()?;
    let root = Path::new("/run/crisp/runtime").join(found.0.name()).join(namespace);
    Ok(driven(found, root, CgroupDriver::Cgroupfs))
}

fn driven((kind, binary): (Kind, PathBuf), root: PathBuf, cgroups: CgroupDriver) -> Driven {
    Driven { runtime: Runtime { kind, binary, root, cgroups }, deadline: DEADLINE }
}

fn driver(systemd: bool) -> CgroupDriver {
    if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }
}

fn default_binary() -> Result<(Kind, PathBuf), NoRuntime> {
    use rustix::fs::{Access, access};
    let path = env::var("PATH").unwrap_or_default();
    let path = format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    first_working(&path, |_, file| access(file, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any<M: protobuf::MessageFull>(message: &M, prefix: &str) -> Any {
        let type_url = format!("{prefix}{}", M::descriptor().full_name());
        Any { type_url, value: message.write_to_bytes().unwrap(), ..Any::default() }
    }

    #[test]
    fn containerds_options_for_runc_choose_binary_and_state() {
        let mut options = RuncOptions::new();
        options.binary_name = "/usr/bin/crun".into();
        options.systemd_cgroup = true;
        let got = for_container(Some(&any(&options, "")), "k8s.io").unwrap().runtime.unwrap();
        assert_eq!(got.runtime.kind, Kind::Crun);
        assert_eq!(got.runtime.root, Path::new("/run/containerd/runc/k8s.io"));
        assert_eq!(got.runtime.cgroups, CgroupDriver::Systemd);
    }

    #[test]
    fn our_own_options_are_followed_and_checked() {
        let mut options = RuntimeOptions::new();
        options.kind = "runc".into();
        options.root = "/r".into();
        let bad = for_container(Some(&any(&options, "type.googleapis.com/")), "n");
        assert!(matches!(bad, Err(OptionsError::NoBinary(Kind::Runc))));
        options.binary = "/x/runc".into();
        options.deadline_s = 7;
        let good = for_container(Some(&any(&options, "")), "n").unwrap().runtime.unwrap();
        assert_eq!(good.deadline, Duration::from_secs(7));
        options.kind = "docker".into();
        assert!(matches!(for_container(Some(&any(&options, "")), "n"), Err(OptionsError::Kind(_))));
    }

    #[test]
    fn options_of_no_known_type_are_an_error() {
        let odd = Any { type_url: "x.y.Z".into(), ..Any::default() };
        assert!(
            matches!(for_container(Some(&odd), "n"), Err(OptionsError::Unknown(t)) if t == "x.y.Z")
        );
        assert!(for_container(None, "n").unwrap().runtime.is_none());
    }
}
