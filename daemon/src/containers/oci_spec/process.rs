// SPDX-License-Identifier: Apache-2.0
//! The first process: what runs, where, with which environment.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCapabilities, Process, User};

use super::{SpecError, SpecInput, capabilities::Granted, labels};
use crate::containers::{
    resources::oom_score_adj,
    spec::{NewPrivileges, Terminal},
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn process(input: &SpecInput<'_>, granted: &Granted) -> Result<Process, SpecError> {
    let terminal = input.container.terminal == Terminal::Tty;
    let mut process = Process::default();
    process
        .set_terminal(terminal.then_some(true))
        .set_user(user(input))
        .set_args(Some(args(input)?))
        .set_env(Some(env(input)?))
        .set_cwd(working_dir(input)?)
        .set_capabilities(Some(capabilities(granted)))
        .set_rlimits(None)
        .set_no_new_privileges(Some(
            input.container.security.new_privileges == NewPrivileges::Denied,
        ))
        .set_apparmor_profile(labels::apparmor(input))
        .set_selinux_label(labels::process(input)?)
        .set_oom_score_adj(Some(oom_score_adj(&input.container.resources, input.host)));
    Ok(process)
}

/// The process of an exec: the container's first in all but what runs.
#[must_use]
pub fn exec_process(container: &Process, args: Vec<String>, terminal: Terminal) -> Process {
    let mut process = container.clone();
    process.set_args(Some(args));
    process.set_terminal(None);
    if terminal == Terminal::Tty {
        process.set_terminal(Some(true));
        let env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|setting| setting.starts_with("TERM=")) {
            process.set_env(Some(env.into_iter().chain(["TERM=xterm".to_owned()]).collect()));
        }
    }
    process
}

fn user(input: &SpecInput<'_>) -> User {
    let mut groups = input.user.groups.clone();
    groups.extend(input.cdi.additional_gids.iter().filter(|gid| !input.user.groups.contains(gid)));
    let mut user = User::default();
    user.set_uid(input.user.uid);
    user.set_gid(input.user.gid);
    user.set_additional_gids(Some(groups));
    user
}

/// The request's command replaces the image's entrypoint and drops its arguments; the request's
/// arguments replace the image's.
fn args(input: &SpecInput<'_>) -> Result<Vec<String>, SpecError> {
    let (request, image) = (input.container, input.image);
    let program = if request.command.is_empty() { &image.entrypoint } else { &request.command };
    let arguments = if request.command.is_empty() && request.args.is_empty() {
        &image.cmd
    } else {
        &request.args
    };
    let args: Vec<String> = program.iter().chain(arguments).cloned().collect();
    match args.first() {
        None => Err(SpecError::NoCommand { image: request.image.image.clone() }),
        Some(_) if args.iter().any(|arg| arg.contains('\0')) => {
            Err(SpecError::Nul("an argument".to_owned()))
        }
        Some(_) => Ok(args),
    }
}

/// Later settings of a name replace earlier ones in place. The order of sources: crisp, the
/// image, CDI devices, the request.
fn env(input: &SpecInput<'_>) -> Result<Vec<String>, SpecError> {
    let mut merged: Vec<(String, String)> = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
    if !input.hostname.is_empty() {
        set(&mut merged, "HOSTNAME", input.hostname);
    }
    if input.container.terminal == Terminal::Tty {
        set(&mut merged, "TERM", "xterm");
    }
    for setting in input.image.env.iter().chain(&input.cdi.env) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        set(&mut merged, name, value);
    }
    for (name, value) in &input.container.envs {
        if name.is_empty() || name.contains('=') {
            return Err(SpecError::EnvName(name.clone()));
        }
        let text = str::from_utf8(value).map_err(|_| SpecError::EnvNotText(name.clone()))?;
        set(&mut merged, name, text);
    }
    for (name, value) in &merged {
        if name.contains('\0') || value.contains('\0') {
            return Err(SpecError::Nul(format!("environment variable {name:?}")));
        }
    }
    Ok(merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some(known) => value.clone_into(&mut known.1),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

/// A relative directory is taken from the root, as image builders do.
fn working_dir(input: &SpecInput<'_>) -> Result<PathBuf, SpecError> {
    let (request, image) = (&input.container.working_dir, &input.image.working_dir);
    let chosen = if request.is_empty() { image } else { request };
    if chosen.contains('\0') {
        return Err(SpecError::Nul("the working directory".to_owned()));
    }
    Ok(Path::new("/").join(chosen))
}

fn capabilities(granted: &Granted) -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(granted.bounding.to_oci()))
        .set_effective(Some(granted.bounding.to_oci()))
        .set_permitted(Some(granted.bounding.to_oci()))
        .set_inheritable(Some(granted.inheritable.to_oci()))
        .set_ambient(Some(granted.ambient.to_oci()));
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::oci_spec::fixture::Case;

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_command_replaces_the_entrypoint_and_arguments_the_images() {
        for (command, arguments, runs) in [
            ("", "", "/bin/web --serve"),
            ("sh", "", "sh"),
            ("sh", "-c x", "sh -c x"),
            ("", "--help", "/bin/web --help"),
        ] {
            let mut case = Case::plain();
            case.container.command = list(command);
            case.container.args = list(arguments);
            let spec = case.generate().unwrap();
            let args = spec.process().as_ref().unwrap().args().as_ref().unwrap();
            assert_eq!(args, &list(runs), "command {command:?}, arguments {arguments:?}");
        }
    }

    #[test]
    fn an_exec_differs_in_what_runs_only() {
        let spec = Case::plain().generate().unwrap();
        let first = spec.process().as_ref().unwrap();
        let mut exec = exec_process(first, list("ls /"), Terminal::None);
        assert_eq!(exec.args(), &Some(list("ls /")));
        exec.set_args(first.args().clone());
        assert_eq!(&exec, first);
        let tty = exec_process(first, list("sh"), Terminal::Tty);
        assert_eq!(tty.terminal(), Some(true));
        assert!(tty.env().as_ref().unwrap().contains(&"TERM=xterm".to_owned()));
    }
}
