// SPDX-License-Identifier: Apache-2.0

/// The namespace a sysctl belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Net,
    Ipc,
    Uts,
}

/// Where `name` belongs, `None` when it is no sysctl of a namespace: setting it would set it for
/// the whole host. Slashes are accepted for dots, as sysctl(8) does.
pub(super) fn home(name: &str) -> Option<Home> {
    let name = name.replace('/', ".");
    let ipc = ["kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni"];
    let more_ipc = ["kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni"];
    let uts = ["kernel.hostname", "kernel.domainname"];
    if name.starts_with("net.") {
        Some(Home::Net)
    } else if name.starts_with("fs.mqueue.") || [ipc, more_ipc].concat().contains(&name.as_str()) {
        Some(Home::Ipc)
    } else if uts.contains(&name.as_str()) {
        Some(Home::Uts)
    } else {
        None
    }
}

/// The file of a sysctl. In `net.ipv4.conf.eth0.100` dots and slashes mean each other, as in
/// sysctl(8): with a slash as the first separator, dots stay what they are.
pub(super) fn file(name: &str) -> Option<String> {
    let slash_first = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let path: String = match slash_first {
        true => name.to_owned(),
        false => {
            let swap = |c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            };
            name.chars().map(swap).collect()
        }
    };
    let safe = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    safe.then(|| format!("/proc/sys/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_of_the_host_has_no_home() {
        assert_eq!(home("net.ipv4.ip_forward"), Some(Home::Net));
        assert_eq!(home("kernel/shmmax"), Some(Home::Ipc));
        assert_eq!(home("fs.mqueue.msg_max"), Some(Home::Ipc));
        assert_eq!(home("kernel.domainname"), Some(Home::Uts));
        assert_eq!(home("vm.swappiness"), None);
        assert_eq!(home("kernel.panic"), None);
    }

    #[test]
    fn names_become_files_below_proc_sys_only() {
        assert_eq!(file("net.ipv4.ip_forward").as_deref(), Some("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(
            file("net/ipv4/conf/eth0.100/forwarding").as_deref(),
            Some("/proc/sys/net/ipv4/conf/eth0.100/forwarding")
        );
        assert_eq!(
            file("net.ipv4.conf.eth0/100.forwarding").as_deref(),
            Some("/proc/sys/net/ipv4/conf/eth0.100/forwarding")
        );
        assert_eq!(file("net/../kernel/panic"), None);
        assert_eq!(file("net..x"), None);
    }
}
