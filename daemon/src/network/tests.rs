// SPDX-License-Identifier: Apache-2.0
//! The network against the real plugins and against plugins that misbehave. These need root, and
//! Debian's containernetworking-plugins; without them they fail and say so.

mod faults;
mod readiness;
mod real;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crisp_script::program;
use crisp_words::SandboxId;

use super::{
    cni::Choice,
    netns::{self, Pins},
    *,
};

/// Where Debian puts the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A network of its own in a scratch directory.
struct Fixture {
    dir: tempfile::TempDir,
    network: Network,
}

impl Fixture {
    async fn new(conf: &str) -> Self {
        Self::with_deadline(conf, Duration::from_secs(30)).await
    }

    async fn with_deadline(conf: &str, deadline: Duration) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        let dir = tempfile::Builder::new().prefix("net-test-").tempdir().unwrap();
        for sub in ["conf", "plugins", "pins"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        if !conf.is_empty() {
            fs::write(dir.path().join("conf/10.conflist"), conf).unwrap();
        }
        let network = open(dir.path(), deadline).await;
        Self { dir, network }
    }

    /// The same directories as a daemon that was started again finds them.
    async fn restarted(&self) -> Network {
        open(self.dir.path(), Duration::from_secs(30)).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a plugin: a shell script that has logged its command to `calls` and kept its input
    /// in `input.COMMAND`.
    fn plugin(&self, name: &str, script: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "D={dir}\necho {name} $CNI_COMMAND netns=$CNI_NETNS >> $D/calls\n\
             cat > $D/input.{name}.$CNI_COMMAND\n{script}"
        );
        program(&self.path("plugins").join(name), &text).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(|l| l.split(" netns").next().unwrap_or_default().to_owned()).collect()
    }

    fn input(&self, name: &str, command: &str) -> serde_json::Value {
        let text = fs::read(self.path(&format!("input.{name}.{command}"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    async fn pin(&self, pod: &SandboxId) -> PathBuf {
        let net = self.path("pins").join(pod.as_str());
        netns::create(Pins { net: net.clone(), user: None }).await.unwrap();
        net
    }

    /// Nothing of any pod is left but what the fixture itself made.
    fn assert_forgotten(&self) {
        assert_eq!(self.network.pending().unwrap(), []);
        let run: Vec<_> = fs::read_dir(self.path("run")).unwrap().flatten().collect();
        assert!(run.is_empty(), "{run:?}");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for pin in fs::read_dir(self.path("pins")).unwrap().flatten() {
            let _ = rustix::mount::unmount(pin.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

async fn open(dir: &Path, deadline: Duration) -> Network {
    let settings = Settings {
        network_dir: dir.join("conf"),
        plugin_dirs: vec![dir.join("plugins"), PLUGINS.into()],
        choice: Choice::First,
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        deadline,
        status_deadline: deadline,
    };
    Network::open(settings).await.unwrap()
}

fn pod(name: &str) -> SandboxId {
    SandboxId::new(name).unwrap()
}

fn request(netns: PathBuf) -> AttachRequest {
    AttachRequest {
        name: "web".into(),
        namespace: "shop".into(),
        uid: "u-1".into(),
        netns,
        ..AttachRequest::default()
    }
}

/// Runs a program in a pinned network and answers with what it printed.
fn inside(netns: &Path, command: &[&str]) -> String {
    let mut nsenter = std::process::Command::new("nsenter");
    nsenter.arg(format!("--net={}", netns.display())).args(command);
    let output = nsenter.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
