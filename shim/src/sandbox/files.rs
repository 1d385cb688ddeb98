// SPDX-License-Identifier: Apache-2.0
//! What all containers of a CRI pod have in common besides namespaces: `/etc/hosts`,
//! `/etc/hostname`, `/etc/resolv.conf` and `/dev/shm`. A caller of the Sandbox API leaves them to
//! the shim, and makes the containers' specs without them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crisp_words::bundle;
use rustix::{
    mount::{MountFlags, mount},
    system::uname,
};
use serde_json::{Value, json};

use super::cri::{Config, Mode};
use crate::mounts;

/// The pod's `/dev/shm`, in the sandbox's bundle.
const SHM: &str = "shm";
const SHM_TARGET: &str = "/dev/shm";

/// Where each file is, by where containers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFiles(Vec<(&'static str, PathBuf)>);

impl PodFiles {
    /// Makes the files in the sandbox's bundle. [`PodFiles::remove`] is the undo.
    pub(super) fn make(bundle: &Path, config: &Config) -> io::Result<Self> {
        let made = Self::make_all(bundle, config);
        if made.is_err() {
            Self::remove(bundle);
        }
        made
    }

    fn make_all(bundle: &Path, config: &Config) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut write = |target: &'static str, name: &str, text: String| {
            let path = bundle.join(name);
            fs::write(&path, text)?;
            files.push((target, path));
            io::Result::Ok(())
        };
        write("/etc/hosts", "hosts", fs::read_to_string("/etc/hosts").unwrap_or_default())?;
        write("/etc/hostname", "hostname", hostname(config))?;
        write("/etc/resolv.conf", "resolv.conf", resolv_conf(config)?)?;
        let shm = match config.ipc {
            Mode::Node => PathBuf::from(SHM_TARGET),
            _ => mount_shm(bundle)?,
        };
        files.push((SHM_TARGET, shm));
        Ok(Self(files))
    }

    /// Unmounts what was mounted; the files go with the bundle.
    pub(crate) fn remove(bundle: &Path) {
        mounts::unmount_all(&bundle.join(SHM));
    }

    /// Gives the files to the container of the bundle `dir`, where its spec does not say otherwise.
    pub(crate) fn add_to(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(bundle::CONFIG);
        let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
        self.add(&mut spec);
        let fresh = dir.join(".config.json");
        fs::write(&fresh, spec.to_string())?;
        fs::rename(&fresh, &path)
    }

    fn add(&self, spec: &mut Value) {
        let read_only = spec["root"]["readonly"] == true;
        if !spec["mounts"].is_array() {
            spec["mounts"] = json!([]);
        }
        let Some(mounts) = spec["mounts"].as_array_mut() else { return };
        for (target, source) in &self.0 {
            let access = if read_only && *target != SHM_TARGET { "ro" } else { "rw" };
            let mount = json!({
                "destination": target,
                "type": "bind",
                "source": source,
                "options": ["rbind", "rprivate", access],
            });
            match mounts.iter_mut().find(|m| m["destination"] == *target) {
                // What the caller gives each container where it knows of no pod.
                Some(own) if *target == SHM_TARGET && own["type"] == "tmpfs" => *own = mount,
                Some(_) => {}
                None => mounts.push(mount),
            }
        }
    }
}

fn hostname(config: &Config) -> String {
    let own = Some(&config.hostname).filter(|h| !h.is_empty() && config.network != Mode::Node);
    let name = own.cloned().unwrap_or_else(|| uname().nodename().to_string_lossy().into_owned());
    name + "\n"
}

/// The pod's DNS settings, or the host's file.
fn resolv_conf(config: &Config) -> io::Result<String> {
    let mut text = String::new();
    if !config.dns.searches.is_empty() {
        text += &format!("search {}\n", config.dns.searches.join(" "));
    }
    for server in &config.dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !config.dns.options.is_empty() {
        text += &format!("options {}\n", config.dns.options.join(" "));
    }
    if !text.is_empty() {
        return Ok(text);
    }
    match fs::read_to_string("/etc/resolv.conf") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        other => Ok(other.unwrap_or_default()),
    }
}

fn mount_shm(bundle: &Path) -> io::Result<PathBuf> {
    let shm = bundle.join(SHM);
    fs::create_dir_all(&shm)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("shm", &shm, "tmpfs", flags, Some(c"mode=1777,size=67108864"))?;
    Ok(shm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::cri::Dns;

    #[test]
    fn the_pods_dns_settings_win_over_the_hosts_file() {
        let dns = Dns {
            servers: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            searches: vec!["a.b".into(), "b".into()],
            options: vec!["ndots:5".into()],
        };
        let config = Config { dns, hostname: "web-0".into(), ..Config::default() };
        let text = "search a.b b\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n";
        assert_eq!(resolv_conf(&config).unwrap(), text);
        assert_eq!(hostname(&config), "web-0\n");
        let on_the_host = Config { network: Mode::Node, ..config };
        assert_ne!(hostname(&on_the_host), "web-0\n");
    }

    #[test]
    fn a_spec_gets_what_it_does_not_have() {
        let files =
            PodFiles(vec![("/etc/hosts", "/b/hosts".into()), (SHM_TARGET, "/b/shm".into())]);
        let mut spec = json!({
            "root": { "readonly": true },
            "mounts": [{ "destination": "/dev/shm", "type": "tmpfs", "source": "shm" }],
        });
        files.add(&mut spec);
        let want = json!([
            { "destination": "/dev/shm", "type": "bind", "source": "/b/shm",
              "options": ["rbind", "rprivate", "rw"] },
            { "destination": "/etc/hosts", "type": "bind", "source": "/b/hosts",
              "options": ["rbind", "rprivate", "ro"] },
        ]);
        assert_eq!(spec["mounts"], want);
        // Asked for by the container itself.
        let mut spec = json!({ "mounts": [
            { "destination": "/etc/hosts", "type": "bind", "source": "/own" },
            { "destination": "/dev/shm", "type": "bind", "source": "/own-shm" },
        ] });
        let before = spec.clone();
        files.add(&mut spec);
        assert_eq!(spec, before);
    }
}
