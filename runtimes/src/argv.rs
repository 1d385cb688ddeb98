// SPDX-License-Identifier: Apache-2.0

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use crate::{Kind, dialect};

/// Who makes and removes the cgroups of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// The runtime writes the cgroup file system itself.
    #[default]
    Cgroupfs,
    /// The runtime asks systemd.
    Systemd,
}

/// Whether `delete` may kill a container that still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuse a container that is not stopped.
    No,
    /// Kill it first.
    Yes,
}

/// Where the process's terminal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tty<'a> {
    /// None: the process gets the runtime's own stdio.
    None,
    /// A pseudo-terminal, whose master the runtime sends to this unix socket.
    Socket(&'a Path),
}

/// What `create` needs to know of the bundle.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    /// Directory with `config.json`.
    pub dir: &'a Path,
    /// File the runtime writes init's pid to.
    pub pid_file: &'a Path,
    /// Terminal of init.
    pub tty: Tty<'a>,
}

/// The files of one `exec`.
#[derive(Debug, Clone, Copy)]
pub struct ExecFiles<'a> {
    /// OCI process, JSON.
    pub process: &'a Path,
    /// File the runtime writes the new process's pid to.
    pub pid_file: &'a Path,
    /// Terminal of the new process.
    pub tty: Tty<'a>,
}

/// A command line: the program first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<OsString>);

impl Argv {
    /// The program to execute.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        self.0.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Its arguments, without the program.
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        self.0.get(1..).unwrap_or_default()
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn pair(self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        self.arg(flag).arg(value)
    }

    pub(crate) fn tty(self, tty: Tty<'_>) -> Self {
        match tty {
            Tty::None => self,
            Tty::Socket(path) => self.pair("--console-socket", path),
        }
    }
}

/// One OCI runtime as it is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Chooses flags and error texts.
    pub kind: Kind,
    /// The binary.
    pub binary: PathBuf,
    /// Directory of the runtime's own state.
    pub root: PathBuf,
    /// Who makes cgroups.
    pub cgroups: CgroupDriver,
}

impl Runtime {
    /// Makes the container and its init, which waits for [`Self::start`].
    #[must_use]
    pub fn create(&self, id: &str, bundle: Bundle<'_>, log: &Path) -> Argv {
        dialect::of(self.kind).create(self.base(log).arg("create"), bundle).arg(id)
    }

    /// Lets a created container's init run the user's program.
    #[must_use]
    pub fn start(&self, id: &str, log: &Path) -> Argv {
        self.base(log).arg("start").arg(id)
    }

    /// Runs one more process in a running container and returns without waiting for its end.
    #[must_use]
    pub fn exec(&self, id: &str, files: ExecFiles<'_>, log: &Path) -> Argv {
        let base = self.base(log).arg("exec").arg("--detach");
        base.pair("--process", files.process)
            .pair("--pid-file", files.pid_file)
            .tty(files.tty)
            .arg(id)
    }

    /// Signals init.
    #[must_use]
    pub fn kill(&self, id: &str, signal: u32, log: &Path) -> Argv {
        self.base(log).arg("kill").arg(id).arg(signal.to_string())
    }

    /// Signals every process of the container.
    #[must_use]
    pub fn kill_all(&self, id: &str, signal: u32, log: &Path) -> Argv {
        self.base(log).arg("kill").arg("--all").arg(id).arg(signal.to_string())
    }

    /// Removes what the runtime keeps of a container, its cgroup included.
    #[must_use]
    pub fn delete(&self, id: &str, force: Force, log: &Path) -> Argv {
        let base = self.base(log).arg("delete");
        match force {
            Force::No => base.arg(id),
            Force::Yes => base.arg("--force").arg(id),
        }
    }

    /// Changes limits to those of the OCI `LinuxResources` in `resources` (JSON).
    #[must_use]
    pub fn update(&self, id: &str, resources: &Path, log: &Path) -> Argv {
        self.base(log).arg("update").pair("--resources", resources).arg(id)
    }

    /// Freezes the container.
    #[must_use]
    pub fn pause(&self, id: &str, log: &Path) -> Argv {
        self.base(log).arg("pause").arg(id)
    }

    /// Thaws it.
    #[must_use]
    pub fn resume(&self, id: &str, log: &Path) -> Argv {
        self.base(log).arg("resume").arg(id)
    }

    /// Prints what the runtime can do, for [`crate::Abilities::parse`]. Runtimes that have no
    /// such command fail; ask [`Self::version`] then.
    #[must_use]
    pub fn features(&self) -> Argv {
        Argv(vec![self.binary.clone().into(), "features".into()])
    }

    /// Prints the version.
    #[must_use]
    pub fn version(&self) -> Argv {
        Argv(vec![self.binary.clone().into(), "--version".into()])
    }

    fn base(&self, log: &Path) -> Argv {
        let argv = Argv(vec![self.binary.clone().into()])
            .pair("--root", &self.root)
            .pair("--log", log)
            .pair("--log-format", "json");
        match self.cgroups {
            CgroupDriver::Cgroupfs => argv,
            CgroupDriver::Systemd => argv.arg("--systemd-cgroup"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(argv: &Argv) -> String {
        let words: Vec<_> = argv.0.iter().map(|w| w.to_string_lossy()).collect();
        words.join(" ")
    }

    fn runtime(kind: Kind, cgroups: CgroupDriver) -> Runtime {
        let binary = Path::new("/bin").join(kind.name());
        Runtime { kind, binary, root: "/r".into(), cgroups }
    }

    #[test]
    fn create_names_bundle_pid_file_and_console() {
        let bundle = Bundle {
            dir: Path::new("/b"),
            pid_file: Path::new("/b/init.pid"),
            tty: Tty::Socket(Path::new("/b/c")),
        };
        let crun = runtime(Kind::Crun, CgroupDriver::Systemd);
        assert_eq!(
            text(&crun.create("x", bundle, Path::new("/b/log"))),
            "/bin/crun --root /r --log /b/log --log-format json --systemd-cgroup create \
             --bundle /b --pid-file /b/init.pid --console-socket /b/c x"
        );
    }

    #[test]
    fn exec_is_detached_and_takes_the_process_from_a_file() {
        let files = ExecFiles {
            process: Path::new("/b/p.json"),
            pid_file: Path::new("/b/p.pid"),
            tty: Tty::None,
        };
        let runc = runtime(Kind::Runc, CgroupDriver::Cgroupfs);
        assert_eq!(
            text(&runc.exec("x", files, Path::new("/l"))),
            "/bin/runc --root /r --log /l --log-format json exec --detach --process /b/p.json \
             --pid-file /b/p.pid x"
        );
    }

    #[test]
    fn only_a_forced_delete_says_force() {
        let runc = runtime(Kind::Runc, CgroupDriver::Cgroupfs);
        assert!(!text(&runc.delete("x", Force::No, Path::new("/l"))).contains("force"));
        assert!(text(&runc.delete("x", Force::Yes, Path::new("/l"))).contains("delete --force x"));
    }
}
