// SPDX-License-Identifier: Apache-2.0
//! Every key of the configuration: name, type, default, comment.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use super::{
    entry::{PortRange, Setting, choice, entries, read_setting},
    error::Problem,
    section::{Entry, Printer, Section, section},
    tree::{Node, join},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// The most a CRI client receives in one message, bytes.
const MESSAGE_SIZE: NonZeroU32 = at_least_one(16 << 20);

section! {
    /// The whole configuration.
    pub struct Config {
        /// State that survives a reboot: images, layers, writable layers.
        pub root: PathBuf = "/var/lib/crisp".into(),
        /// State of this boot: records of pods and containers, sockets, mounts. On a tmpfs.
        pub runroot: PathBuf = "/run/crisp".into(),
        /// The CRI endpoint.
        pub api: Api = Api::default(),
        /// How pods and containers are run.
        pub runtime: Runtime = Runtime::default(),
        /// Images and registries.
        pub image: Image = Image::default(),
        /// Pod networks (CNI).
        pub network: Network = Network::default(),
        /// Plugins that follow and adjust pods and containers (NRI).
        pub nri: Nri = Nri::default(),
        /// Resource usage.
        pub stats: Stats = Stats::default(),
        /// What the daemon counts, for Prometheus.
        pub metrics: Metrics = Metrics::default(),
        /// How long a step may take before it is given up and undone, in seconds.
        pub deadlines: Deadlines = Deadlines::default(),
    }
}

section! {
    /// The CRI endpoint.
    pub struct Api {
        /// Path of the CRI socket. Empty for crisp.sock in `runroot`.
        pub listen: Option<PathBuf> = None,
        /// Largest request accepted, bytes.
        pub grpc_max_recv_msg_size: NonZeroU32 = MESSAGE_SIZE,
        /// Largest answer sent, bytes. The kubelet and crictl receive no more than 16 MiB.
        pub grpc_max_send_msg_size: NonZeroU32 = MESSAGE_SIZE,
        /// Address at which sessions (exec, attach, port-forward) wait for their clients. The
        /// kubelet is one; it runs on this host.
        pub stream_address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// Port of a session: "0" for any that is free, or a range such as "10300-10399".
        pub stream_port: PortRange = PortRange { first: 0, last: 0 },
        /// Certificate chain for sessions over TLS, PEM; read anew for each session. Empty for
        /// plain HTTP.
        pub stream_tls_cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM.
        pub stream_tls_key: Option<PathBuf> = None,
        /// A session's client that takes nothing for so many seconds, while something waits for
        /// it, counts as gone.
        pub stream_idle_timeout: Duration = secs(4 * 60 * 60),
    }
}

section! {
    /// How pods and containers are run.
    pub struct Runtime {
        /// Handler of pods that name none. Empty for the first of crun, runc and youki.
        pub default_runtime: String = String::new(),
        /// Who makes cgroups: "cgroupfs", "systemd", or "auto" for systemd where it runs.
        /// Must be the kubelet's cgroupDriver.
        pub cgroup_manager: CgroupManager = CgroupManager::Auto,
        /// crisp's own shim. Empty for containerd-shim-crisp-v1 beside the daemon, else on PATH.
        pub shim_path: Option<PathBuf> = None,
        /// cgroup of the shims: "pod" for the pod's own, an absolute cgroup path, or empty to
        /// leave them in the daemon's.
        pub shim_cgroup: String = "pod".into(),
        /// Namespace given to shims; also that of their events and sockets.
        pub shim_namespace: String = "crisp".into(),
        /// Seccomp profile that RuntimeDefault means. Empty for the built-in one.
        pub seccomp_profile: Option<PathBuf> = None,
        /// What is logged: "error", "warn", "info", "debug" or "trace".
        pub log_level: LogLevel = LogLevel::Info,
        /// Finer filter, such as "info,crisp::pods=debug". Empty for `log_level` alone.
        pub log_filter: String = String::new(),
        /// How it is logged: "text", or "json" for one object a line.
        pub log_format: LogFormat = LogFormat::Text,
        /// A handler: what a RuntimeClass names. Without any, those of crun, runc and youki that
        /// are found each get one under their own name.
        pub runtimes: BTreeMap<String, RuntimeHandler> = BTreeMap::new(),
    }
}

section! {
    /// A handler: what a RuntimeClass names.
    pub struct RuntimeHandler {
        /// The program: an absolute path, or a name to look for on PATH. Empty for the handler's
        /// own name; types "vm" and "shim" need it.
        pub runtime_path: Program = Program::default(),
        /// What the program is: "oci" for an OCI runtime, "shim" for a containerd shim, "vm" for
        /// a containerd shim whose pods are virtual machines. What is particular about the shims
        /// of Kata, gVisor and containerd itself is known by the name of the program.
        pub runtime_type: RuntimeType = RuntimeType::Oci,
        /// State directory of an OCI runtime. Empty for runtime/NAME in `runroot`.
        pub runtime_root: Option<PathBuf> = None,
        /// Configuration file of a shim. Empty for the one that the shim finds by itself.
        pub runtime_config_path: Option<PathBuf> = None,
        /// OCI runtime that a shim drives, for those that can be told. Empty for runc.
        pub shim_runtime: Program = Program::default(),
        /// How a shim takes its options: "runc" for an OCI runtime and its state directory,
        /// "runtimeoptions" for a configuration file, "none", or "auto".
        pub shim_options: ShimOptions = ShimOptions::Auto,
        /// How a shim reads what `start` gives it: "params" (containerd 2.3 and later), "legacy"
        /// (before), or "auto" to find out once.
        pub shim_bootstrap: ShimBootstrap = ShimBootstrap::Auto,
        /// Annotations by which a shim knows a sandbox: "containerd", "crio", "both", or "auto".
        pub annotation_style: AnnotationStyle = AnnotationStyle::Auto,
        /// Annotations of pods that a shim is given: exact names, or beginnings with a * at the
        /// end. Added to those known for the shim.
        pub allowed_annotations: Vec<String> = Vec::new(),
        /// Pods in the host's network: "allow", "refuse", or "auto" to refuse where the shim
        /// cannot have them.
        pub host_network: HostNetwork = HostNetwork::Auto,
        /// Seccomp profile that RuntimeDefault means in pods of this handler. Empty for that of
        /// [runtime].
        pub seccomp_profile: Option<PathBuf> = None,
    }
}

section! {
    /// Images and registries.
    pub struct Image {
        /// Registries, mirrors and prefixes (containers-registries.conf, version 2). Empty for
        /// the file named by CONTAINERS_REGISTRIES_CONF, else /etc/containers/registries.conf.
        pub registries_conf: Option<PathBuf> = None,
        /// Images that the kubelet shall not collect: exact names, or with a * at the end or
        /// at both ends.
        pub pinned_images: Vec<String> = Vec::new(),
        /// Layers fetched at once for one image.
        pub max_parallel_downloads: NonZeroU32 = at_least_one(6),
        /// A pull that receives nothing for so many seconds fails; 0 to wait for ever.
        pub pull_progress_timeout: Option<Duration> = Some(secs(60)),
    }
}

section! {
    /// Pod networks (CNI).
    pub struct Network {
        /// Directory of network configurations.
        pub network_dir: PathBuf = "/etc/cni/net.d".into(),
        /// Directories of plugins, in the order they are searched.
        pub plugin_dirs: Vec<PathBuf> = vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        /// Name of the network that pods join. Empty for the first in `network_dir`.
        pub cni_default_network: String = String::new(),
    }
}

section! {
    /// Plugins that follow and adjust pods and containers (NRI).
    pub struct Nri {
        /// Whether there are any.
        pub enable_nri: bool = true,
        /// Socket to which plugins connect.
        pub nri_listen: PathBuf = "/var/run/nri/nri.sock".into(),
        /// Whether no plugin may connect: those that crisp starts itself are then all.
        pub nri_disable_connections: bool = false,
        /// Directory of programs, named INDEX-NAME, that crisp starts as plugins.
        pub nri_plugin_dir: PathBuf = "/opt/nri/plugins".into(),
        /// Directory of their configurations: INDEX-NAME.conf, else NAME.conf.
        pub nri_plugin_config_dir: PathBuf = "/etc/nri/conf.d".into(),
        /// Seconds in which a plugin must name itself, and then be synchronized.
        pub nri_plugin_registration_timeout: Duration = secs(5),
        /// Seconds in which a plugin must answer. One that does not is dropped.
        pub nri_plugin_request_timeout: Duration = secs(2),
    }
}

section! {
    /// Resource usage.
    pub struct Stats {
        /// Groups of pod metrics served: "cpu", "disk", "diskIO", "hugetlb", "memory", "network",
        /// "oom", "pressure", "process", "spec", or "all".
        pub included_pod_metrics: Vec<PodMetricGroup> = vec![PodMetricGroup::All],
    }
}

section! {
    /// What the daemon counts, for Prometheus.
    pub struct Metrics {
        /// Whether /metrics is served at all.
        pub enable_metrics: bool = false,
        /// Address at which it is served.
        pub metrics_host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// Port at which it is served; 0 for none.
        pub metrics_port: u16 = 9090,
        /// Path of a unix socket at which it is served as well. Empty for none.
        pub metrics_socket: Option<PathBuf> = None,
    }
}

section! {
    /// How long a step may take before it is given up and undone, in seconds.
    pub struct Deadlines {
        /// One chain of CNI plugins, adding, checking or deleting.
        pub cni: Duration = secs(60),
        /// From spawning a shim until it answers.
        pub shim_start: Duration = secs(30),
        /// A call to a shim that only asks or signals.
        pub shim_call: Duration = secs(10),
        /// One call of the OCI runtime: making, starting, changing or deleting a container.
        pub runtime: Duration = secs(120),
        /// From SIGKILL until the process is gone.
        pub kill: Duration = secs(30),
        /// From a process's exit until all of its output is in the log.
        pub drain: Duration = secs(12),
        /// What the kernel does without a program: mounts, namespaces, cgroups, files. It cannot
        /// be given up, but `crisp status` shows what takes longer.
        pub host: Duration = secs(10),
        /// The plugins' word on how they are (CNI STATUS).
        pub cni_status: Duration = secs(10),
        /// Connecting to a registry, and each of its answers.
        pub registry: Duration = secs(30),
        /// Connecting to one shim after a restart of the daemon, and undoing one half-made thing.
        pub reconnect: Duration = secs(5),
        /// Finding all pods again after a restart of the daemon.
        pub restart: Duration = secs(30),
        /// Calls that are still open when the daemon is told to end.
        pub shutdown: Duration = secs(10),
    }
}

choice! {
    /// Who makes cgroups.
    pub enum CgroupManager {
        /// systemd where it runs, else cgroupfs.
        Auto = "auto",
        /// The daemon, through the filesystem.
        Cgroupfs = "cgroupfs",
        /// systemd, asked over D-Bus.
        Systemd = "systemd",
    }
}

choice! {
    /// How much is logged.
    pub enum LogLevel {
        /// Failures.
        Error = "error",
        /// And what may become one.
        Warn = "warn",
        /// And each call.
        Info = "info",
        /// And each step.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// Words.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// What the program of a handler is.
    pub enum RuntimeType {
        /// An OCI runtime, driven by crisp's shim.
        Oci = "oci",
        /// A containerd shim whose pods are virtual machines.
        Vm = "vm",
        /// A containerd shim.
        Shim = "shim",
    }
}

choice! {
    /// How a shim takes its options.
    pub enum ShimOptions {
        /// As is known for the shim.
        Auto = "auto",
        /// An OCI runtime and its state directory.
        Runc = "runc",
        /// A configuration file.
        RuntimeOptions = "runtimeoptions",
        /// Not at all.
        Nothing = "none",
    }
}

choice! {
    /// How a shim reads what `start` gives it.
    pub enum ShimBootstrap {
        /// Found out once.
        Auto = "auto",
        /// As of containerd 2.3.
        Params = "params",
        /// As before.
        Legacy = "legacy",
    }
}

choice! {
    /// Annotations by which a shim knows a sandbox.
    pub enum AnnotationStyle {
        /// As is known for the shim.
        Auto = "auto",
        /// containerd's.
        Containerd = "containerd",
        /// CRI-O's.
        Crio = "crio",
        /// Both.
        Both = "both",
    }
}

choice! {
    /// Whether pods may be in the host's network.
    pub enum HostNetwork {
        /// As is known for the shim.
        Auto = "auto",
        /// They may.
        Allow = "allow",
        /// They are refused.
        Refuse = "refuse",
    }
}

choice! {
    /// A group of pod metrics.
    pub enum PodMetricGroup {
        /// Every group.
        All = "all",
        /// Processor time.
        Cpu = "cpu",
        /// Space on disk.
        Disk = "disk",
        /// Reads and writes.
        DiskIo = "diskIO",
        /// Huge pages.
        Hugetlb = "hugetlb",
        /// Memory.
        Memory = "memory",
        /// Network interfaces.
        Network = "network",
        /// Kills for lack of memory.
        Oom = "oom",
        /// Pressure stall information.
        Pressure = "pressure",
        /// Counts of processes, threads, files.
        Process = "process",
        /// What was asked for.
        Spec = "spec",
    }
}

/// A program: an absolute path, a name to look for on PATH, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program(pub String);

impl Setting for Program {
    fn from_value(value: &super::tree::Value) -> Result<Self, String> {
        let text = String::from_value(value)?;
        if text.starts_with('/') || !text.contains('/') {
            Ok(Self(text))
        } else {
            Err("must be an absolute path or a name without slashes".into())
        }
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

entries!(
    CgroupManager,
    LogLevel,
    LogFormat,
    RuntimeType,
    ShimOptions,
    ShimBootstrap,
    AnnotationStyle,
    HostNetwork,
    Vec<PodMetricGroup>,
    Program,
);

impl CgroupManager {
    /// The driver to use on a host where systemd runs, or does not.
    #[must_use]
    pub fn on(self, systemd: SystemdPresence) -> Self {
        match (self, systemd) {
            (Self::Auto, SystemdPresence::Running) => Self::Systemd,
            (Self::Auto, SystemdPresence::Absent) => Self::Cgroupfs,
            (chosen, _) => chosen,
        }
    }
}

/// Whether systemd is the host's init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemdPresence {
    /// It is.
    Running,
    /// It is not.
    Absent,
}

impl Config {
    /// Path of the CRI socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.api.listen.clone().unwrap_or_else(|| self.runroot.join("crisp.sock"))
    }
}

/// Where a key that is unknown in its table is known: `[table] key`.
pub(super) fn elsewhere(key: &str) -> Option<String> {
    let tables: [(&str, &[&str]); 10] = [
        ("", Config::KEYS),
        ("api", Api::KEYS),
        ("runtime", Runtime::KEYS),
        ("runtime.runtimes.NAME", RuntimeHandler::KEYS),
        ("image", Image::KEYS),
        ("network", Network::KEYS),
        ("nri", Nri::KEYS),
        ("stats", Stats::KEYS),
        ("metrics", Metrics::KEYS),
        ("deadlines", Deadlines::KEYS),
    ];
    let (table, key) =
        tables.iter().find_map(|(table, keys)| Some((table, keys.iter().find(|k| **k == key)?)))?;
    Some(join(table, key))
}
