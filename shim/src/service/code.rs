// SPDX-License-Identifier: Apache-2.0
//! The one map from the shim's errors to the codes of its protocol.

use ttrpc::{Code, error::get_rpc_status};

use crate::{
    container::ContainerError, invoke::InvokeError, process::Refusal, sandbox::SandboxError,
    verbs::chain,
};

impl From<ContainerError> for ttrpc::Error {
    fn from(error: ContainerError) -> Self {
        get_rpc_status(container_code(&error), chain(&error))
    }
}

impl From<SandboxError> for ttrpc::Error {
    fn from(error: SandboxError) -> Self {
        let code = match &error {
            SandboxError::Unknown(_) => Code::NOT_FOUND,
            SandboxError::Exists(_) => Code::ALREADY_EXISTS,
            SandboxError::Options(_) | SandboxError::Plan(_) => Code::INVALID_ARGUMENT,
            SandboxError::Files { .. }
            | SandboxError::Namespaces { .. }
            | SandboxError::Pin { .. }
            | SandboxError::Cgroup { .. }
            | SandboxError::Metrics { .. }
            | SandboxError::Record { .. }
            | SandboxError::Unkillable(_) => Code::INTERNAL,
        };
        get_rpc_status(code, chain(&error))
    }
}

fn container_code(error: &ContainerError) -> Code {
    match error {
        ContainerError::NoContainer { .. } | ContainerError::NoExec { .. } => Code::NOT_FOUND,
        ContainerError::Exists { .. } | ContainerError::ExecExists { .. } => Code::ALREADY_EXISTS,
        // What has stopped is gone as far as a signal is concerned: callers take it for done.
        ContainerError::Refused { refusal: Refusal::Stopped, .. } => Code::NOT_FOUND,
        ContainerError::Refused { .. } => Code::FAILED_PRECONDITION,
        ContainerError::Unsupported(_) => Code::UNIMPLEMENTED,
        ContainerError::Bundle(_)
        | ContainerError::Id(_)
        | ContainerError::Stdio(_)
        | ContainerError::Options(_)
        | ContainerError::Signal { .. } => Code::INVALID_ARGUMENT,
        ContainerError::Runtime { source, .. } => invoke_code(source),
        ContainerError::Unkillable { .. } => Code::DEADLINE_EXCEEDED,
        ContainerError::Mount(_)
        | ContainerError::Io { .. }
        | ContainerError::File { .. }
        | ContainerError::Process { .. }
        | ContainerError::Metrics { .. } => Code::INTERNAL,
    }
}

fn invoke_code(error: &InvokeError) -> Code {
    match error {
        InvokeError::Deadline { .. } => Code::DEADLINE_EXCEEDED,
        InvokeError::Useless { .. } => Code::FAILED_PRECONDITION,
        InvokeError::Spawn { .. } => Code::UNAVAILABLE,
        InvokeError::Failed { .. } => Code::UNKNOWN,
    }
}
