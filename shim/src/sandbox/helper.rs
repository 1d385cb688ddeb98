// SPDX-License-Identifier: Apache-2.0
//! Making namespaces in a helper process: entering a namespace is for ever, so a child does it,
//! holds still while the server pins what it made, and goes. The child is this binary again, so
//! nothing is done between fork and exec.

use std::{
    fs,
    io::{self, BufRead, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{MemfdFlags, Mode, OFlags, memfd_create, open},
    system::sethostname,
    thread::{
        LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};

use super::{
    SandboxError,
    pins::{pin, unpin},
    plan::{Plan, Share},
};
use crate::{pod::Pod, process::Live, sys};

/// How long the helper may take.
const DEADLINE: Duration = Duration::from_secs(10);
const SIGKILL: u32 = 9;

/// What a plan turned into.
#[derive(Default)]
pub(super) struct Made {
    pub(super) pins: Vec<PathBuf>,
    pub(super) init: Option<Arc<Live>>,
}

/// The helper's one line of answer.
#[derive(Serialize, Deserialize)]
enum Answer {
    Made { init: Option<u32> },
    Failed { reason: String },
}

/// Carries out `plan`. What a failure leaves is undone.
pub(super) async fn run(pod: &Pod, id: &str, plan: &Plan) -> Result<Made, SandboxError> {
    if plan.is_empty() {
        return Ok(Made::default());
    }
    let failed = |reason: String| SandboxError::Namespaces { id: id.to_owned(), reason };
    let _handing_over = pod.children.handing_over();
    let mut helper = Helper::spawn(plan, pod).map_err(|e| failed(e.to_string()))?;
    let answer = timeout(DEADLINE, helper.answer()).await;
    let made = match answer {
        Ok(Ok(Answer::Made { init })) => helper.take(pod, id, plan, init),
        Ok(Ok(Answer::Failed { reason })) => Err(failed(reason)),
        Ok(Err(error)) => Err(failed(format!("the helper gave no answer: {error}"))),
        Err(_) => Err(failed(format!("the helper gave no answer in {} s", DEADLINE.as_secs()))),
    };
    if made.is_err() {
        let _ = helper.live.signal(SIGKILL);
    }
    drop(helper.hold);
    helper.live.reap(&pod.children).await;
    made
}

struct Helper {
    live: Arc<Live>,
    /// The helper goes when this is closed.
    hold: OwnedFd,
    reader: pipe::Receiver,
}

impl Helper {
    fn spawn(plan: &Plan, pod: &Pod) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("crisp-init")
            .arg("make-namespaces")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let live = Live::open(child.id(), &pod.children)?;
        let missing = || io::Error::other("the helper has no stdio");
        let mut hold = child.stdin.take().ok_or_else(missing)?;
        let reader = child.stdout.take().ok_or_else(missing)?;
        let mut line = serde_json::to_vec(plan).map_err(io::Error::other)?;
        line.push(b'\n');
        hold.write_all(&line)?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok(Self { live, hold: hold.into(), reader })
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut text = Vec::new();
        loop {
            let mut piece = [0; 512];
            let read = self.reader.read(&mut piece).await?;
            text.extend(&piece[..read]);
            if read == 0 || text.ends_with(b"\n") {
                return serde_json::from_slice(&text).map_err(io::Error::other);
            }
        }
    }

    /// Pins what the helper made and takes over the init it left.
    fn take(
        &self,
        pod: &Pod,
        id: &str,
        plan: &Plan,
        init: Option<u32>,
    ) -> Result<Made, SandboxError> {
        let mut made = Made::default();
        let taken = self.take_into(&mut made, pod, plan, init);
        taken.map_err(|source| {
            if let Some(init) = &made.init {
                let _ = init.signal(SIGKILL);
            }
            unpin(&made.pins);
            let dir = plan.pin_dir.clone().unwrap_or_default();
            SandboxError::Pin { id: id.to_owned(), dir, source }
        })?;
        Ok(made)
    }

    fn take_into(
        &self,
        made: &mut Made,
        pod: &Pod,
        plan: &Plan,
        init: Option<u32>,
    ) -> io::Result<()> {
        if let Some(pid) = init {
            made.init = Some(Live::open(pid, &pod.children)?);
        }
        let Some(dir) = &plan.pin_dir else { return Ok(()) };
        fs::create_dir_all(dir)?;
        let wanted = [("ipc", "ipc", plan.ipc), ("uts", "uts", plan.uts)];
        let wanted = wanted.into_iter().chain([("pid", "pid_for_children", plan.pid)]);
        for (name, link, _) in wanted.filter(|(.., share)| *share == Share::Pod) {
            let link = format!("/proc/{}/ns/{link}", self.live.pid());
            made.pins.push(pin(&link, dir, name)?);
        }
        Ok(())
    }
}

/// The helper's own life: reads a plan from stdin, carries it out, answers, and waits for its
/// stdin to be closed.
pub(crate) fn make_namespaces() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line).map_err(io::Error::other)?;
    let answer = match carry_out(&plan) {
        Ok(init) => Answer::Made { init },
        Err(reason) => Answer::Failed { reason },
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()?;
    stdin.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn carry_out(plan: &Plan) -> Result<Option<u32>, String> {
    let init_image = plan.needs_init().then(init_file).transpose();
    let init_image = init_image.map_err(|e| format!("cannot make the init program: {e}"))?;
    join(plan)?;
    let flag = |share, flag| if share == Share::Pod { flag } else { CloneFlags::empty() };
    let flags = flag(plan.ipc, CloneFlags::CLONE_NEWIPC)
        | flag(plan.uts, CloneFlags::CLONE_NEWUTS)
        | flag(plan.pid, CloneFlags::CLONE_NEWPID);
    unshare(flags).map_err(|e| format!("unshare: {e}"))?;
    if let Some(name) = &plan.hostname {
        sethostname(name.as_bytes()).map_err(|e| format!("host name {name}: {e}"))?;
    }
    for sysctl in &plan.sysctls {
        fs::write(&sysctl.file, &sysctl.value)
            .map_err(|e| format!("sysctl {} = {}: {e}", sysctl.name, sysctl.value))?;
    }
    init_image.map(|image| spawn_init(&image)).transpose()
}

/// Joins the network namespace, then the user namespace as its root: in that order, since the
/// first may belong to the host's user namespace, and from the second there is no way back.
fn join(plan: &Plan) -> Result<(), String> {
    let enter = |path: &Path, kind| -> Result<(), String> {
        let told = |e| format!("{}: {e}", path.display());
        let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(told)?;
        move_into_link_name_space(fd.as_fd(), Some(kind)).map_err(told)
    };
    if let Some(path) = &plan.netns {
        enter(path, LinkNameSpaceType::Network)?;
    }
    if let Some(path) = &plan.userns {
        enter(path, LinkNameSpaceType::User)?;
        let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
        set_thread_groups(&[])
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .map_err(|e| format!("becoming root of {}: {e}", path.display()))?;
    }
    Ok(())
}

/// The init program as a file that can be executed by anybody who holds its descriptor.
fn init_file() -> io::Result<OwnedFd> {
    // MFD_EXEC came with Linux 6.3; before, every memfd can be executed.
    let made = memfd_create(c"crisp-init", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"crisp-init", MemfdFlags::CLOEXEC))?;
    let mut image = sys::init_image();
    while !image.is_empty() {
        let written = rustix::io::write(&made, image)?;
        image = &image[written..];
    }
    // A file that is open for writing is not executed.
    Ok(open(
        format!("/proc/self/fd/{}", made.as_raw_fd()),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn spawn_init(image: &OwnedFd) -> Result<u32, String> {
    let child = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg0("crisp-init")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    child.map(|c| c.id()).map_err(|e| format!("cannot start the sandbox's init: {e}"))
}
