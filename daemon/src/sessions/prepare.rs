// SPDX-License-Identifier: Apache-2.0
//! What a session needs to know, gathered from the books; refused where it cannot work.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crisp_words::{ContainerId, bundle};
use oci_spec::runtime::Spec;

use super::{
    SessionError,
    ticket::{Attach, Exec, Forward, Shim, Wants, Work},
};
use crate::{
    containers::{oci_spec::exec_process, record::ContainerRecord, spec::Terminal},
    pods::{
        actor::Door,
        context::Context,
        error::{FaultKind, PodError},
        ids,
        shim::runtime_limit,
        spec::Sharing,
    },
};

/// A command in the container `id`.
///
/// # Errors
/// [`SessionError::Invalid`], [`PodError`].
pub fn exec(
    context: &Context,
    id: &str,
    command: Vec<String>,
    terminal: Terminal,
    wants: Wants,
) -> Result<Work, SessionError> {
    check(wants, terminal)?;
    let (record, door) = running(context, id)?;
    if command.is_empty() {
        return Err(SessionError::Invalid(format!("exec in container {}: no command", record.id)));
    }
    let shim = shim(context, &record.id, &door)?;
    let bundle = context.layout.bundle(&record.id);
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        PodError::step(format!("read spec of container {}", record.id), FaultKind::Internal, e)
    };
    let text = fs::read(bundle.join(bundle::CONFIG)).map_err(|e| failed(e.into()))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
    let process = spec.process().as_ref().ok_or_else(|| failed("it has no process".into()))?;
    let process = exec_process(process, command, terminal);
    let exec = ids::exec();
    let container = record.id.clone();
    Ok(Work::Exec(Box::new(Exec { container, exec, bundle, process, terminal, wants, shim })))
}

/// The streams of the container `id`, which has a terminal or has not, as the client says.
///
/// # Errors
/// [`SessionError::Invalid`], [`PodError`].
pub fn attach(
    context: &Context,
    id: &str,
    terminal: Terminal,
    wants: Wants,
) -> Result<Work, SessionError> {
    check(wants, terminal)?;
    let (record, door) = running(context, id)?;
    if record.config.terminal != terminal {
        let has = match record.config.terminal {
            Terminal::Tty => "has a terminal",
            Terminal::None => "has no terminal",
        };
        let text = format!("container {} {has}; the request says otherwise", record.id);
        return Err(SessionError::Invalid(text));
    }
    let shim = shim(context, &record.id, &door)?;
    Ok(Work::Attach(Attach { container: record.id.clone(), terminal, wants, shim }))
}

/// The ports of the pod `id`.
///
/// # Errors
/// [`PodError`].
pub fn forward(context: &Context, id: &str) -> Result<Work, SessionError> {
    let door = context.index.pod(id)?;
    let pod = door.view.borrow().pod.clone();
    if !pod.is_ready() {
        let wanted = "ports are forwarded to a ready one";
        return Err(PodError::PodState { id: pod.id.clone(), state: "not ready", wanted }.into());
    }
    let own = pod.config.namespaces.network == Sharing::Pod;
    let handler = context.handlers.choose_or_default(&pod.handler);
    let behind = handler.variant().is_some_and(|variant| !variant.is_transparent());
    let (namespace, addresses) = if own && behind {
        (None, pod.ips.clone())
    } else {
        let pin = own.then(|| context.layout.namespaces(&pod.id).join("net"));
        (pin, vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
    };
    Ok(Work::Forward(Forward { pod: pod.id.clone(), namespace, addresses }))
}

fn check(wants: Wants, terminal: Terminal) -> Result<(), SessionError> {
    if wants == Wants::default() {
        let text = "one of stdin, stdout and stderr must be asked for";
        return Err(SessionError::Invalid(text.into()));
    }
    if terminal == Terminal::Tty && wants.stderr {
        let text = "a terminal has no stderr of its own: tty and stderr exclude each other";
        return Err(SessionError::Invalid(text.into()));
    }
    Ok(())
}

fn running(context: &Context, id: &str) -> Result<(Arc<ContainerRecord>, Arc<Door>), SessionError> {
    let (id, door) = context.index.container(id)?;
    let record = door.view.borrow().container(&id).cloned();
    match record.filter(|record| record.running().is_some()) {
        Some(record) => Ok((record, door)),
        None => {
            let wanted = "clients are joined to a running one";
            Err(PodError::ContainerState { id, state: "not running", wanted }.into())
        }
    }
}

fn shim(context: &Context, id: &ContainerId, door: &Door) -> Result<Shim, SessionError> {
    let Some(shim) = &door.shim else {
        let (id, state) = (id.clone(), "without its shim");
        let wanted = "its streams are the shim's";
        return Err(PodError::ContainerState { id, state, wanted }.into());
    };
    let limits = &context.limits;
    Ok(Shim {
        record: shim.record_of(id),
        io: shim.io().address(),
        namespace: context.launcher.namespace().to_owned(),
        call: limits.shim_call,
        runtime: runtime_limit(limits),
        kill: limits.kill,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_must_be_asked_for_and_fit_the_terminal() {
        let all = Wants { stdin: true, stdout: true, stderr: true };
        assert!(check(all, Terminal::None).is_ok());
        assert!(check(Wants { stderr: false, ..all }, Terminal::Tty).is_ok());
        for (wants, terminal) in [(all, Terminal::Tty), (Wants::default(), Terminal::None)] {
            let error = check(wants, terminal).unwrap_err();
            assert!(matches!(error, SessionError::Invalid(_)));
        }
    }
}
