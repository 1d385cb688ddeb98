// SPDX-License-Identifier: Apache-2.0
//! crisp as a node would have it, in a directory of its own.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use crisp_cri::{
    ListPodSandboxRequest, RemovePodSandboxRequest, VersionRequest,
    image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use tonic::transport::{Channel, Endpoint};

/// Longest wait for any one answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait for a daemon to answer.
const START: Duration = Duration::from_secs(30);
const BRIDGE: &str = "crisp-demo";
/// Whether the host forwards packets; the CNI bridge plugin turns it on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A node's runtime, and what has to be put back when it is gone.
#[derive(Debug)]
pub struct Node {
    crisp: PathBuf,
    dir: PathBuf,
    daemon: Option<Child>,
    forwarding: String,
}

impl Node {
    /// Writes the configuration of crisp and of the pod network below `dir`.
    pub fn new(crisp: &Path, registry: &Path, dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
        let registry =
            fs::canonicalize(registry).with_context(|| registry.display().to_string())?;
        let forwarding = fs::read_to_string(FORWARDING).context(FORWARDING)?;
        for part in ["net.d", "ipam", "logs"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::write(dir.join("net.d/10-demo.conflist"), network(&dir))?;
        fs::write(dir.join("crisp.conf"), configuration(&dir, &registry))?;
        Ok(Self { crisp: crisp.to_owned(), dir, daemon: None, forwarding })
    }

    /// Starts the daemon; tells how long it took to answer.
    pub async fn start(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.crisp);
        command.arg("daemon").arg("--config").arg(self.dir.join("crisp.conf"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C on the terminal is for the demonstration, not for the daemon.
        command.process_group(0);
        let daemon = command.spawn().with_context(|| self.crisp.display().to_string())?;
        let daemon = self.daemon.insert(daemon);
        loop {
            if let Some(status) = daemon.try_wait()? {
                bail!("{} ended at once: {status}", self.crisp.display());
            }
            match version(&self.dir).await {
                Ok(_) => return Ok(began.elapsed()),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<String> {
        version(&self.dir).await
    }

    /// SIGKILL, as an operator's worst day would have it.
    pub async fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        tokio::task::spawn_blocking(move || {
            daemon.kill()?;
            daemon.wait()
        })
        .await??;
        Ok(())
    }

    /// A client of the runtime service.
    pub async fn runtime(&self) -> Result<RuntimeServiceClient<Channel>> {
        Ok(RuntimeServiceClient::new(connect(&self.dir).await?))
    }

    /// A client of the image service.
    pub async fn images(&self) -> Result<ImageServiceClient<Channel>> {
        Ok(ImageServiceClient::new(connect(&self.dir).await?))
    }

    /// Where pods' logs go.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The daemon's own log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("crisp.log")
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How others reach this daemon, and an installed one.
    pub fn advice(&self) -> String {
        format!(
            "this daemon:       crictl -r unix://{} pods\n\
             an installed one:  sudo ./dev install && sudo systemctl enable --now crisp\n\
             crictl:            cp packaging/crictl.yaml /etc/crictl.yaml\n\
             kubelet:           --container-runtime-endpoint=unix:///run/crisp/crisp.sock",
            socket(&self.dir).display()
        )
    }

    /// Removes the pods, with a daemon started for it if need be, ends it, removes the bridge.
    pub async fn clean_up(&mut self) -> Result<()> {
        let removed = match &self.daemon {
            Some(_) => self.remove_pods().await,
            None => match self.start().await {
                Ok(_) => self.remove_pods().await,
                Err(error) => Err(error),
            },
        };
        if self.daemon.is_some() {
            self.kill().await?;
        }
        // Not there if no pod came so far; then there is nothing to say about it.
        let _ = Command::new("ip").args(["link", "delete", BRIDGE]).stderr(Stdio::null()).status();
        fs::write(FORWARDING, &self.forwarding).context(FORWARDING)?;
        removed
    }

    async fn remove_pods(&self) -> Result<()> {
        let mut runtime = self.runtime().await?;
        let pods = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?;
        for pod in pods.into_inner().items {
            let request = RemovePodSandboxRequest { pod_sandbox_id: pod.id };
            runtime.remove_pod_sandbox(request).await.context("RemovePodSandbox")?;
        }
        Ok(())
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("run/crisp.sock")
}

async fn connect(dir: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket(dir).display()))?;
    Ok(endpoint.timeout(DEADLINE).connect().await?)
}

async fn version(dir: &Path) -> Result<String> {
    let mut runtime = RuntimeServiceClient::new(connect(dir).await?);
    let answer = runtime.version(VersionRequest::default()).await?.into_inner();
    Ok(format!("{} {}", answer.runtime_name, answer.runtime_version))
}

fn configuration(dir: &Path, registry: &Path) -> String {
    let (dir, registry) = (dir.display(), registry.display());
    format!(
        "root = \"{dir}/root\"\n\
         runroot = \"{dir}/run\"\n\
         [image]\n\
         registries_conf = \"{registry}/registries.conf\"\n\
         [network]\n\
         network_dir = \"{dir}/net.d\"\n\
         [nri]\n\
         nri_listen = \"{dir}/nri.sock\"\n"
    )
}

fn network(dir: &Path) -> String {
    let conflist = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "crisp-demo",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipMasq": true,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("ipam"),
                "ranges": [[{ "subnet": "10.84.0.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    format!("{conflist:#}\n")
}
