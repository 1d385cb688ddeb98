// SPDX-License-Identifier: Apache-2.0
//! The pod that is shown: a web page, and a log that counts.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use crisp_cri::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ExecSyncRequest, ImageSpec,
    ImageStatusRequest, LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatusRequest, PullImageRequest, RunPodSandboxRequest,
    StartContainerRequest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::node::Node;

/// Serves a page and writes `line 0`, `line 1`, …, ten a second.
const WORK: &str = "mkdir -p /www; echo hello from the pod >/www/index.html; httpd -p 80 -h /www; \
                    n=0; while :; do echo line $n; n=$((n + 1)); sleep 0.1; done";
/// Longest wait for what the container does by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running pod with one container.
#[derive(Debug)]
pub struct Pod {
    pub id: String,
    pub address: String,
    container: String,
    log: PathBuf,
}

/// What a log was found to be.
#[derive(Debug)]
pub struct Log {
    pub lines: usize,
    /// Seconds between two lines, at most.
    pub longest_pause: f64,
}

/// Pulls `image`; tells its id and size.
pub async fn pull(node: &Node, image: &str) -> Result<String> {
    let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
    let mut images = node.images().await?;
    let request = PullImageRequest { image: Some(spec.clone()), ..Default::default() };
    images.pull_image(request).await.context("PullImage")?;
    let request = ImageStatusRequest { image: Some(spec), ..Default::default() };
    let status = images.image_status(request).await.context("ImageStatus")?.into_inner();
    let image = status.image.context("the image is not there after its pull")?;
    Ok(format!("{}, {} kB", image.id, image.size / 1000))
}

impl Pod {
    /// Runs the pod and starts its container.
    pub async fn run(node: &Node, image: &str) -> Result<Self> {
        let mut runtime = node.runtime().await?;
        let config = pod_config(node);
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let id = runtime.run_pod_sandbox(request).await.context("RunPodSandbox")?.into_inner();
        let id = id.pod_sandbox_id;

        let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), ..Default::default() };
        let status = runtime.pod_sandbox_status(request).await.context("PodSandboxStatus")?;
        let network = status.into_inner().status.and_then(|status| status.network);
        let address = network.context("the pod has no network")?.ip;
        ensure!(!address.is_empty(), "the pod has no address");

        let request = CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(container_config(image)),
            sandbox_config: Some(config),
        };
        let container = runtime.create_container(request).await.context("CreateContainer")?;
        let container = container.into_inner().container_id;
        let request = StartContainerRequest { container_id: container.clone() };
        runtime.start_container(request).await.context("StartContainer")?;
        Ok(Self { id, address, container, log: node.logs().join("count.log") })
    }

    /// The page that the pod serves, over the pod network.
    pub async fn page(&self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout(PATIENCE, get(&self.address)).await? {
                Ok(page) => return Ok(page),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The complete lines of the container's log, as they are in its file.
    pub fn log_lines(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        Ok(text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(String::from)
            .collect())
    }

    /// Waits until the log has `count` lines.
    pub async fn wait_for_lines(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.log_lines().map_or(0, |lines| lines.len()) < count {
            ensure!(Instant::now() < deadline, "{} does not grow", self.log.display());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Checks that the log counts from 0 without a gap.
    pub fn check_log(&self) -> Result<Log> {
        let lines = self.log_lines()?;
        let mut longest_pause = 0f64;
        let mut last = None;
        for (number, line) in lines.iter().enumerate() {
            let mut words = line.splitn(4, ' ');
            let (Some(time), Some("stdout"), Some("F"), Some(text)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                bail!("line {number} of the log is not a log line: {line}");
            };
            ensure!(text == format!("line {number}"), "the log has \"{text}\" as line {number}");
            let now = seconds_of_day(time).with_context(|| format!("no time: {time}"))?;
            if let Some(last) = last.replace(now) {
                // A run over midnight starts the day anew.
                longest_pause = longest_pause.max((now - last + 86400.0) % 86400.0);
            }
        }
        Ok(Log { lines: lines.len(), longest_pause })
    }

    /// The output of a shell command in the container.
    pub async fn exec(&self, node: &Node, command: &str) -> Result<String> {
        let request = ExecSyncRequest {
            container_id: self.container.clone(),
            cmd: ["sh", "-c", command].map(String::from).to_vec(),
            timeout: 10,
        };
        let answer = node.runtime().await?.exec_sync(request).await.context("ExecSync")?;
        let answer = answer.into_inner();
        let stderr = String::from_utf8_lossy(&answer.stderr);
        ensure!(answer.exit_code == 0, "'{command}' ended with {}: {stderr}", answer.exit_code);
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// Which process the container is, in words: the kernel's start time tells two apart even if
    /// their numbers are alike.
    pub async fn process(&self, node: &Node) -> Result<String> {
        let stat = self.exec(node, "cat /proc/1/stat").await?;
        let started = crisp_words::start_time(&stat).context("no start time")?;
        Ok(format!("began at tick {started} of this host's clock"))
    }
}

/// Seconds since midnight of an RFC 3339 time.
fn seconds_of_day(time: &str) -> Option<f64> {
    let clock = time.split_once('T')?.1;
    let end = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let mut parts = clock[..end].split(':').map(str::parse::<f64>);
    let mut part = || parts.next()?.ok();
    Some(part()? * 3600.0 + part()? * 60.0 + part()?)
}

async fn get(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect((address, 80)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.contains(" 200 "), "{}", head.lines().next().unwrap_or_default());
    Ok(body.trim_end().to_owned())
}

/// The container is process 1 of its own PID namespace.
fn namespaces() -> Option<NamespaceOption> {
    Some(NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() })
}

fn pod_config(node: &Node) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "demo".to_owned(),
            uid: "demo-1".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: "demo".to_owned(),
        log_directory: node.logs().display().to_string(),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: namespaces(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container_config(image: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "count".to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: ["sh", "-c", WORK].map(String::from).to_vec(),
        log_path: "count.log".to_owned(),
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: namespaces(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::seconds_of_day;

    #[test]
    fn a_log_time_is_read_in_any_zone() {
        assert_eq!(seconds_of_day("2026-11-24T00:01:02.5Z"), Some(62.5));
        assert_eq!(seconds_of_day("2026-11-24T01:00:00.25+01:00"), Some(3600.25));
        assert_eq!(seconds_of_day("line 0"), None);
    }
}
