// SPDX-License-Identifier: Apache-2.0
//! `start` and `io`: print the address of the pod's server, after starting one if there is none.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Failed, dialect::Asked};
use crate::{cgroup, flags::Flags, options, spec::Spec};

/// Where sockets go when the caller names no directory.
const SOCKET_DIR: &str = "/run/containerd/s";
/// Longest path a unix socket can have.
const SOCKET_PATH_MAX: usize = 107;
/// The address events go to.
const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";

/// Which of a pod's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// The shim.
    Shim,
    /// The server of pipes beside another's shim.
    PodIo,
}

pub(super) fn run(flags: &Flags, server: Server) -> Result<(), Failed> {
    let asked = Asked::of(&stdin()?, flags);
    let bundle = env::current_dir()?;
    let group = match server {
        Server::Shim => {
            let spec = Spec::read(&bundle).unwrap_or_default();
            spec.group().unwrap_or(&flags.id).to_owned()
        }
        // Its caller asks once a pod, with the pod's id.
        Server::PodIo => format!("io/{}", flags.id),
    };
    let dir = match &asked {
        Asked::Params(params) => params.socket_dir.as_deref(),
        _ => None,
    };
    let socket = socket_path(dir.unwrap_or(Path::new(SOCKET_DIR)), flags, &group)?;
    let _alone = alone_in(&socket)?;
    if UnixStream::connect(&socket).is_err() {
        serve_in_background(flags, server, &asked, &bundle, &socket)?;
    }
    let address = format!("unix://{}", socket.display());
    if server == Server::Shim {
        fs::write(bundle.join("address"), &address)?;
    }
    io::stdout().write_all(asked.answer(&address)?.as_bytes())?;
    Ok(())
}

/// All of stdin, if whoever called writes and closes it within a second; a terminal or a pipe that
/// is kept open must not hang the pod.
fn stdin() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut bytes = Vec::new();
    if poll(&mut ready, Some(&second))? > 0 {
        stdin.lock().take(1 << 20).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The socket of a pod: the same for every container of it, whichever version of the shim asks.
fn socket_path(dir: &Path, flags: &Flags, group: &str) -> Result<PathBuf, Failed> {
    let key = [flags.address.as_str(), &flags.namespace, group].join("/");
    let path = dir.join(format!("{:032x}", fnv128(key.as_bytes())));
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(format!(
            "socket directory {} is too long: a socket's path has at most {SOCKET_PATH_MAX} bytes",
            dir.display()
        )
        .into());
    }
    Ok(path)
}

/// FNV-1a with 128 bits: names, not secrets; the directory is root's.
fn fnv128(bytes: &[u8]) -> u128 {
    let (offset, prime) = (0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, (1 << 88) + 0x13b);
    bytes.iter().fold(offset, |hash: u128, b| (hash ^ u128::from(*b)).wrapping_mul(prime))
}

fn serve_in_background(
    flags: &Flags,
    server: Server,
    asked: &Asked,
    bundle: &Path,
    socket: &Path,
) -> Result<(), Failed> {
    let listener = listen(socket)?;
    let mut command = Command::new(env::current_exe()?);
    command
        .arg0("containerd-shim-crisp-v1")
        .args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &flags.address])
        .arg("-socket")
        .arg(socket)
        .arg("-bundle")
        .arg(bundle)
        .current_dir("/")
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(log(bundle)?);
    if flags.debug {
        command.arg("-debug");
    }
    if let Asked::Params(params) = asked
        && !params.ttrpc_address.is_empty()
    {
        command.env(TTRPC_ADDRESS, &params.ttrpc_address);
    }
    if server == Server::PodIo {
        command.arg("serve-io");
    }
    let started = command.spawn().map_err(|e| format!("cannot start the server: {e}"));
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            let _ = fs::remove_file(socket);
            return Err(error.into());
        }
    };
    protect_from_oom(child.id());
    if let Some(path) = asked.options().iter().find_map(options::shim_cgroup) {
        cgroup::enter(&path, child.id())?;
    }
    Ok(())
}

/// Makes the directory of `socket` and locks it until the file is dropped: two calls for the same
/// pod at once must find one server, not start two.
fn alone_in(socket: &Path) -> Result<fs::File, Failed> {
    let dir = socket.parent().unwrap_or(Path::new("/"));
    let told = |e: io::Error| format!("cannot use the socket directory {}: {e}", dir.display());
    fs::create_dir_all(dir).map_err(told)?;
    let lock = fs::File::open(dir).map_err(told)?;
    lock.lock().map_err(told)?;
    Ok(lock)
}

/// Listens on `socket`, replacing what a dead server left behind. Listening before the server
/// runs means that the caller can connect as soon as it has the address.
fn listen(socket: &Path) -> Result<UnixListener, Failed> {
    let _ = fs::remove_file(socket);
    let told = |e: io::Error| format!("cannot listen on {}: {e}", socket.display());
    let listener = UnixListener::bind(socket).map_err(told)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(told)?;
    listener.set_nonblocking(true).map_err(told)?;
    Ok(listener)
}

/// Where the server's own messages go: the FIFO `log` that containerd reads, else a file. The FIFO
/// is opened both ways, so that a reader that is late or gone neither blocks nor kills the shim.
fn log(bundle: &Path) -> io::Result<Stdio> {
    use rustix::fs::{FileType, Mode, OFlags, open, stat};
    let fifo = bundle.join("log");
    let is_fifo = stat(&fifo).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
    if is_fifo {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        return Ok(open(&fifo, flags, Mode::empty())?.into());
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(bundle.join("shim.log"))?;
    Ok(file.into())
}

/// One above the caller's own protection from the OOM killer, never below what it has: a shim is
/// worth less than the daemon and more than any container. Without CAP_SYS_RESOURCE the score can
/// only be raised, which is all that is asked for.
fn protect_from_oom(pid: u32) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if let Ok(score) = own.trim().parse::<i32>()
        && score < 0
    {
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), (score + 1).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_socket_depends_on_caller_namespace_and_group_only() {
        let flags = |id: &str| Flags {
            id: id.into(),
            namespace: "n".into(),
            address: "/a".into(),
            ..Flags::default()
        };
        let path = |id: &str, group| socket_path(Path::new("/run/s"), &flags(id), group).unwrap();
        assert_eq!(path("a", "pod"), path("b", "pod"));
        assert_ne!(path("a", "pod"), path("a", "other"));
        assert_eq!(path("a", "pod").as_os_str().len(), "/run/s/".len() + 32);
        let long = PathBuf::from("/").join("d".repeat(90));
        assert!(socket_path(&long, &flags("a"), "pod").is_err());
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
