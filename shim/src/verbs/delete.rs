// SPDX-License-Identifier: Apache-2.0
//! `delete`: cleans up after a server that died. stdout gets protobuf `DeleteResponse`, stderr
//! only warnings.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use containerd_shim_protos::api::DeleteResponse;
use crisp_runtimes::{Argv, Force};
use crisp_words::{ExitRecord, bundle};
use protobuf::{Message, well_known_types::timestamp::Timestamp};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Failed;
use crate::{
    cgroup::{self, Cgroups},
    flags::Flags,
    mounts,
    process::pid_in,
    record::{self, ContainerRecord, SandboxRecord, start_time},
    sandbox::{PodFiles, unpin},
    service::timestamp,
};

/// How long the runtime's `delete` may take.
const DEADLINE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);
const SIGKILL: u32 = 9;
/// What is told of a container whose end nobody saw.
const KILLED: u32 = 137;

pub(super) fn run(flags: &Flags) -> Result<(), Failed> {
    let dir = bundle_dir(flags)?;
    let exit: Option<ExitRecord> = record::read(&dir.join(bundle::EXIT));
    let pid = pid_in(&dir.join(bundle::INIT_PID)).unwrap_or(0);
    if exit.is_none() {
        kill(pid, &flags.id);
    }
    if let Some(record) = ContainerRecord::read(&dir) {
        delete_container(&record, &dir);
    }
    if let Some(record) = SandboxRecord::read(&dir) {
        delete_sandbox(&record, &dir);
    }
    let mut response = DeleteResponse::new();
    response.pid = pid;
    response.exit_status = exit.as_ref().map_or(KILLED, |e| e.status);
    let at = exit.map_or_else(|| timestamp(SystemTime::now()), |e| nanoseconds(e.exited_at_ns));
    response.exited_at = Some(at).into();
    io::stdout().write_all(&response.write_to_bytes()?)?;
    Ok(())
}

/// The bundle of the container: the flag, else the sibling of the working directory that has its
/// name, which is how callers of old ran it, else the working directory.
fn bundle_dir(flags: &Flags) -> io::Result<PathBuf> {
    if let Some(dir) = &flags.bundle {
        return Ok(dir.clone());
    }
    let here = env::current_dir()?;
    let sibling = here.parent().map(|p| p.join(&flags.id)).filter(|p| p.is_dir());
    Ok(sibling.unwrap_or(here))
}

/// Kills init and whatever shares its cgroup. A pid file outlives its process, so the process is
/// only touched when its cgroup names the container.
fn kill(pid: u32, id: &str) {
    let path = format!("/proc/{pid}/cgroup");
    let names_it = pid != 0 && fs::read_to_string(&path).is_ok_and(|text| text.contains(id));
    if names_it && let Ok(cgroups) = Cgroups::of(pid) {
        cgroup::signal_all(&cgroups, SIGKILL);
        wait_gone(pid);
    }
}

fn wait_gone(pid: u32) {
    let end = Instant::now() + DEADLINE;
    while runs(pid) && Instant::now() < end {
        sleep(STEP);
    }
}

fn runs(pid: u32) -> bool {
    crisp_words::runs(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

fn delete_container(record: &ContainerRecord, dir: &Path) {
    let Some(runtime) = record.runtime() else { return };
    let argv = runtime.delete(&record.id, Force::Yes, &dir.join(bundle::RUNTIME_LOG));
    if let Err(error) = run_with_deadline(&argv) {
        warn(&format!("{} delete {}: {error}", argv.program().display(), record.id));
    }
    if record.mounted {
        mounts::unmount_all(&dir.join(bundle::ROOTFS));
    }
    ContainerRecord::remove(dir);
}

fn delete_sandbox(record: &SandboxRecord, dir: &Path) {
    if let Some((pid, started)) = record.init
        && let Some(raw) = Pid::from_raw(pid.cast_signed())
        && let Ok(init) = pidfd_open(raw, PidfdFlags::empty())
        && start_time(pid) == Some(started)
    {
        let _ = pidfd_send_signal(&init, Signal::KILL);
    }
    unpin(&record.pins);
    PodFiles::remove(dir);
    SandboxRecord::remove(dir);
}

fn run_with_deadline(argv: &Argv) -> io::Result<()> {
    let mut command = Command::new(argv.program());
    command.args(argv.args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = command.spawn()?;
    let end = Instant::now() + DEADLINE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(status.to_string())),
            None if Instant::now() < end => sleep(STEP),
            None => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

fn nanoseconds(since_epoch: i64) -> Timestamp {
    const SECOND: i64 = 1_000_000_000;
    Timestamp {
        seconds: since_epoch.div_euclid(SECOND),
        nanos: i32::try_from(since_epoch.rem_euclid(SECOND)).unwrap_or(0),
        ..Timestamp::default()
    }
}

fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
