// SPDX-License-Identifier: Apache-2.0

use std::path::PathBuf;

use crisp_podio::SandboxOptions;
use serde::{Deserialize, Serialize};

use super::{
    cri::{Config, Mode},
    sysctl::{self, Home},
};

/// Which namespaces a sandbox gets: decided here, carried out by the helper.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Host name to set; needs a UTS namespace.
    pub(crate) hostname: Option<String>,
    pub(crate) uts: Share,
    pub(crate) ipc: Share,
    /// A PID namespace of the pod, with crisp-init as its pid 1.
    pub(crate) pid: Share,
    /// User namespace that owns the new ones.
    pub(crate) userns: Option<PathBuf>,
    /// The pod's network namespace, made by the caller; `None`: the host's.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// Where the namespaces are pinned; `None`: a process holds them.
    pub(crate) pin_dir: Option<PathBuf>,
}

/// Whose namespace a pod uses.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Share {
    #[default]
    Host,
    Pod,
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sysctl {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) value: String,
}

/// A wish that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("sysctl {0} belongs to no namespace: it would change the whole host")]
    HostSysctl(String),
    #[error("sysctl {0} would change the host: the pod uses the host's namespace for it")]
    SharedSysctl(String),
    #[error("a host name of its own needs a UTS namespace of its own: {0}")]
    Hostname(String),
    #[error("{0} is not an absolute path")]
    Relative(PathBuf),
}

impl Plan {
    /// What crisp's own options ask for.
    pub(super) fn of_own(options: &SandboxOptions, netns: &str) -> Result<Self, PlanError> {
        let share = |own: bool| if own { Share::Pod } else { Share::Host };
        let plan = Self {
            hostname: Some(options.hostname.clone()).filter(|h| !h.is_empty()),
            uts: share(options.own_uts),
            ipc: share(options.own_ipc),
            pid: share(options.shared_pid),
            userns: path(&options.userns_path)?,
            netns: path(netns)?,
            sysctls: Vec::new(),
            pin_dir: path(&options.pin_dir)?,
        };
        plan.with_sysctls(options.sysctls.iter())
    }

    /// What a CRI pod config asks for. UTS follows the network, as Kubernetes has it.
    pub(super) fn of_cri(config: Config, netns: &str) -> Result<Self, PlanError> {
        let share = |mode| if mode == Mode::Node { Share::Host } else { Share::Pod };
        let uts = share(config.network);
        let plan = Self {
            hostname: Some(config.hostname).filter(|h| !h.is_empty() && uts == Share::Pod),
            uts,
            ipc: share(config.ipc),
            pid: if config.pid == Mode::Pod { Share::Pod } else { Share::Host },
            userns: None,
            netns: path(netns)?,
            sysctls: Vec::new(),
            pin_dir: None,
        };
        plan.with_sysctls(config.sysctls.iter())
    }

    fn with_sysctls<'a>(
        mut self,
        sysctls: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, PlanError> {
        if let Some(name) = &self.hostname
            && self.uts == Share::Host
        {
            return Err(PlanError::Hostname(name.clone()));
        }
        for (name, value) in sysctls {
            let unknown = || PlanError::HostSysctl(name.clone());
            let home = match sysctl::home(name).ok_or_else(unknown)? {
                Home::Net if self.netns.is_some() => Share::Pod,
                Home::Net => Share::Host,
                Home::Ipc => self.ipc,
                Home::Uts => self.uts,
            };
            if home == Share::Host {
                return Err(PlanError::SharedSysctl(name.clone()));
            }
            let file = sysctl::file(name).ok_or_else(unknown)?;
            self.sysctls.push(Sysctl { name: name.clone(), file, value: value.clone() });
        }
        Ok(self)
    }

    /// Whether a process of the sandbox's own is needed.
    pub(crate) fn needs_init(&self) -> bool {
        self.pid == Share::Pod || self.pin_dir.is_none()
    }

    /// Whether there is anything to make.
    pub(crate) fn is_empty(&self) -> bool {
        let none = [self.uts, self.ipc, self.pid] == [Share::Host; 3];
        none && self.sysctls.is_empty() && !self.needs_init()
    }
}

fn path(text: &str) -> Result<Option<PathBuf>, PlanError> {
    let path = PathBuf::from(text);
    match text {
        "" => Ok(None),
        _ if path.is_absolute() => Ok(Some(path)),
        _ => Err(PlanError::Relative(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(change: impl FnOnce(&mut SandboxOptions)) -> Result<Plan, PlanError> {
        let mut options = SandboxOptions::new();
        options.pin_dir = "/pins".into();
        options.own_uts = true;
        change(&mut options);
        Plan::of_own(&options, "/run/netns/a")
    }

    #[test]
    fn a_sysctl_that_would_change_the_host_is_refused() {
        let set = |name: &str| own(|o| drop(o.sysctls.insert(name.into(), "1".into())));
        assert_eq!(set("vm.swappiness"), Err(PlanError::HostSysctl("vm.swappiness".into())));
        assert_eq!(set("kernel.sem"), Err(PlanError::SharedSysctl("kernel.sem".into())));
        assert_eq!(set("net.ipv4.ip_forward").unwrap().sysctls.len(), 1);
    }

    #[test]
    fn a_pinned_pod_needs_a_process_only_for_a_shared_pid_namespace() {
        assert!(!own(|_| ()).unwrap().needs_init());
        assert!(own(|o| o.shared_pid = true).unwrap().needs_init());
        assert!(own(|o| o.pin_dir.clear()).unwrap().needs_init());
    }

    #[test]
    fn a_cri_pod_on_the_hosts_network_keeps_the_hosts_name() {
        let config = Config { hostname: "x".into(), network: Mode::Node, ..Config::default() };
        let plan = Plan::of_cri(config, "").unwrap();
        assert_eq!((plan.hostname, plan.uts), (None, Share::Host));
        assert_eq!((plan.ipc, plan.pid), (Share::Pod, Share::Pod));
    }
}
