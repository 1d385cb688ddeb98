// SPDX-License-Identifier: Apache-2.0
//! crisp's default seccomp profile: an allow list, made for the capabilities a container has.

use std::collections::BTreeSet;

use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
        LinuxSeccompOperator, LinuxSyscall,
    },
};
use serde::{Deserialize, Serialize};

use crate::containers::capabilities::CapabilitySet;

mod calls;

/// Which architectures' programs run under the default profile. A call of an architecture that
/// is not in a filter kills its process.
///
/// Each architecture makes the OCI runtime's work longer: by some 5 ms of CPU with runc, at every
/// create and every exec, and by some 3 ms with crun 1.8, at create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompArches {
    /// The machine's own and its 32-bit companion (x86 on x86_64, arm on aarch64): every image
    /// that a machine runs without a filter, it runs with it too.
    #[default]
    NativeAndNarrow,
    /// The machine's own only: faster, and 32-bit programs are killed.
    Native,
}

/// The kernel's flags of `clone` that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC,
/// NEWUSER, NEWPID and NEWNET.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_VSOCK`: reaches the hypervisor past every network policy, and no namespace divides it.
const AF_VSOCK: u64 = 40;
/// The personalities of everyday use: plain Linux, 32-bit Linux, each also with the old `uname`
/// version, and the value that only asks.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a container with the bounding set `held` on a machine `arch`, named as Rust
/// names architectures.
///
/// # Errors
/// When the OCI types refuse one of the rules.
pub fn default_profile(
    arch: &str,
    arches: SeccompArches,
    held: CapabilitySet,
) -> Result<LinuxSeccomp, OciSpecError> {
    let when = |value| LinuxSeccompArgBuilder::default().index(0_usize).value(value);
    let not_vsock = when(AF_VSOCK).op(LinuxSeccompOperator::ScmpCmpNe).build()?;
    let mut rules =
        vec![allow(plain_calls(arch, arches, held), None), allow(["socket"], Some(not_vsock))];
    for value in PERSONALITIES {
        let same = when(value).op(LinuxSeccompOperator::ScmpCmpEq).build()?;
        rules.push(allow(["personality"], Some(same)));
    }
    if !held.has("SYS_ADMIN") {
        rules.push(allow(["clone"], Some(no_new_namespaces(arch)?)));
        rules.push(no_clone3());
    }
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(LinuxSeccompAction::ScmpActErrno);
    profile.set_default_errno_ret(errno(libc::EPERM));
    profile.set_architectures(architectures(arch, arches));
    profile.set_syscalls(Some(rules));
    Ok(profile)
}

fn plain_calls(arch: &str, arches: SeccompArches, held: CapabilitySet) -> BTreeSet<&'static str> {
    let mut names: BTreeSet<&str> = calls::ALWAYS.iter().copied().flatten().copied().collect();
    names.extend(match arch {
        "x86_64" | "x86" => calls::X86,
        "riscv64" => calls::RISCV,
        "s390x" => calls::S390,
        "powerpc64" => calls::POWER,
        _ => &[],
    });
    if arches == SeccompArches::NativeAndNarrow || matches!(arch, "x86" | "arm") {
        names.extend(calls::NARROW);
    }
    if arch == "arm" || (arch == "aarch64" && arches == SeccompArches::NativeAndNarrow) {
        names.extend(calls::ARM);
    }
    for (capability, more) in calls::BY_CAPABILITY {
        if held.has(capability) {
            names.extend(*more);
        }
    }
    names
}

/// `None` is the machine's own architecture, whatever it is.
fn architectures(arch: &str, arches: SeccompArches) -> Option<Vec<Arch>> {
    let (native, narrow) = match arch {
        "x86_64" => (Arch::ScmpArchX86_64, Arch::ScmpArchX86),
        "aarch64" => (Arch::ScmpArchAarch64, Arch::ScmpArchArm),
        _ => return None,
    };
    Some(match arches {
        SeccompArches::NativeAndNarrow => vec![native, narrow],
        SeccompArches::Native => vec![native],
    })
}

/// `clone`'s flags are its first argument, on s390x its second.
fn no_new_namespaces(arch: &str) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default()
        .index(usize::from(arch == "s390x"))
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .value(NEW_NAMESPACES)
        .value_two(0_u64)
        .build()
}

/// A filter cannot look at `clone3`'s flags, which lie in memory. ENOSYS makes the C library fall
/// back to `clone`.
fn no_clone3() -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec!["clone3".to_owned()]);
    rule.set_action(LinuxSeccompAction::ScmpActErrno);
    rule.set_errno_ret(errno(libc::ENOSYS));
    rule
}

fn allow<'a>(
    names: impl IntoIterator<Item = &'a str>,
    argument: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.into_iter().map(str::to_owned).collect());
    rule.set_action(LinuxSeccompAction::ScmpActAllow);
    rule.set_args(argument.map(|one| vec![one]));
    rule
}

fn errno(number: i32) -> Option<u32> {
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(profile: &LinuxSeccomp, call: &str) -> bool {
        let rules = profile.syscalls().as_ref().unwrap();
        rules.iter().any(|rule| {
            rule.action() == LinuxSeccompAction::ScmpActAllow
                && rule.args().is_none()
                && rule.names().iter().any(|name| name == call)
        })
    }

    #[test]
    fn calls_follow_capabilities() {
        let plain =
            default_profile("x86_64", SeccompArches::default(), CapabilitySet::container_default())
                .unwrap();
        let all =
            default_profile("x86_64", SeccompArches::default(), CapabilitySet::known()).unwrap();
        for call in ["mount", "setns", "unshare", "clone", "bpf", "reboot", "open_by_handle_at"] {
            assert!(!allows(&plain, call), "{call} is open to all");
            assert!(allows(&all, call), "{call} is closed to its capability");
        }
        for call in ["read", "chroot", "ptrace", "arch_prctl", "getrandom", "chown32"] {
            assert!(allows(&plain, call), "{call} is closed");
        }
        for call in ["io_uring_setup", "add_key", "keyctl", "kexec_load", "userfaultfd", "swapon"] {
            assert!(!allows(&all, call), "{call} is open");
        }
    }

    #[test]
    fn a_call_is_in_one_list_only() {
        let mut seen = BTreeSet::new();
        let lists = calls::ALWAYS.iter().copied().chain([calls::X86, calls::NARROW]);
        for call in lists.flatten().chain(calls::ARM) {
            assert!(seen.insert(call), "{call} is listed twice");
        }
        for (capability, _) in calls::BY_CAPABILITY {
            assert!(CapabilitySet::named(capability).is_ok(), "{capability}");
        }
    }

    #[test]
    fn the_native_profile_has_one_architecture_and_no_narrow_calls() {
        let profile =
            default_profile("x86_64", SeccompArches::Native, CapabilitySet::EMPTY).unwrap();
        assert_eq!(profile.architectures(), &Some(vec![Arch::ScmpArchX86_64]));
        assert!(!allows(&profile, "socketcall"));
    }
}
