// SPDX-License-Identifier: Apache-2.0
//! Asks for sessions.

use anyhow::{Context as _, Result};
use crisp_conformance::{container::Container, edit::strings, pod::Pod, stream::Streams};
use crisp_cri::{AttachRequest, ExecRequest, PortForwardRequest};

/// What a command without a terminal writes.
pub const OUTPUT: Streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };
/// That and its input.
pub const ALL: Streams = Streams { stdin: true, ..OUTPUT };
/// Input and standard output.
pub const BOTH: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: false };
/// A terminal.
pub const TERMINAL: Streams = Streams { tty: true, ..BOTH };

/// Exec.
pub async fn exec(container: &Container, command: &[&str], streams: Streams) -> Result<String> {
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: strings(command),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    Ok(container.pod.test.cri().exec(request).await.context("Exec")?.url)
}

/// Attach.
pub async fn attach(container: &Container, streams: Streams) -> Result<String> {
    let request = AttachRequest {
        container_id: container.id.clone(),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    Ok(container.pod.test.cri().attach(request).await.context("Attach")?.url)
}

/// PortForward.
pub async fn forward(pod: &Pod) -> Result<String> {
    let request = PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: Vec::new() };
    Ok(pod.test.cri().port_forward(request).await.context("PortForward")?.url)
}
