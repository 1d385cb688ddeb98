// SPDX-License-Identifier: Apache-2.0

/// OCI runtime configuration.
pub const CONFIG: &str = "config.json";
/// Mount point of the root filesystem.
pub const ROOTFS: &str = "rootfs";
/// Pid of the container's init, decimal, written by the OCI runtime.
pub const INIT_PID: &str = "init.pid";
/// [`crate::ExitRecord`] of the container's init; there from before anyone is told of the exit.
pub const EXIT: &str = "exit.json";
/// Named pipe that is the container's standard input.
pub const STDIN: &str = "stdin";
/// Named pipe that is the container's standard output.
pub const STDOUT: &str = "stdout";
/// Named pipe that is the container's standard error.
pub const STDERR: &str = "stderr";
/// Error log of the OCI runtime, one JSON object a line.
pub const RUNTIME_LOG: &str = "runtime.log";
