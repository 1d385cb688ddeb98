// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::Path};

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    load_text(Path::new("/etc/t.conf"), text)
}

#[track_caller]
fn refused(text: &str) -> String {
    read(text).expect_err("was accepted").to_string()
}

#[test]
fn what_is_printed_reads_back_equal() {
    let default = Config::default();
    assert_eq!(read(&default.to_text()).unwrap(), default);
    let mut other = Config::default();
    other.api.listen = Some("/run/x \"y\".sock".into());
    other.runtime.cgroup_manager = CgroupManager::Systemd;
    other.image.pinned_images = vec!["a*".into(), "b".into()];
    other.image.pull_progress_timeout = None;
    other.stats.included_pod_metrics = vec![PodMetricGroup::DiskIo];
    let handler = RuntimeHandler { runtime_type: RuntimeType::Oci, ..Default::default() };
    other.runtime.runtimes.insert("a.b".into(), handler);
    assert_eq!(read(&other.to_text()).unwrap(), other);
}

#[test]
fn every_key_is_printed_with_a_comment() {
    insta::assert_snapshot!(Config::default().to_text());
}

#[test]
fn no_file_at_all_is_the_defaults() {
    assert_eq!(read("").unwrap(), Config::default());
    assert_eq!(Config::default().socket(), Path::new("/run/crisp/crisp.sock"));
}

#[test]
fn crio_spelling_is_accepted_but_not_beside_our_own() {
    let ours = "root = '/a'\n[runtime]\ncgroup_manager = 'systemd'\n[runtime.runtimes.runc]\nruntime_path='/usr/sbin/runc'\n[network]\nplugin_dirs=['/p']";
    let theirs = "[crio]\nroot = '/a'\n[crio.runtime]\ncgroup_manager = 'systemd'\n[crio.runtime.runtimes.runc]\nruntime_path='/usr/sbin/runc'\n[crio.network]\nplugin_dirs=['/p']";
    assert_eq!(read(ours).unwrap(), read(theirs).unwrap());
    let both = "root = '/a'\n[crio]\nroot = '/b'";
    assert!(refused(both).contains("/etc/t.conf:3: root is set twice"), "{}", refused(both));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    assert_eq!(
        refused("\n[runtime]\ncgroup_manger = 'systemd'"),
        "/etc/t.conf:3: unknown key runtime.cgroup_manger; did you mean runtime.cgroup_manager?"
    );
    assert_eq!(
        refused("plugin_dirs = []"),
        "/etc/t.conf:1: unknown key plugin_dirs; did you mean network.plugin_dirs?"
    );
    assert_eq!(
        refused("[runtime.runtimes.x]\nruntme_path = 'x'"),
        "/etc/t.conf:2: unknown key runtime.runtimes.x.runtme_path; did you mean \
         runtime.runtimes.x.runtime_path?"
    );
    assert_eq!(refused("[zzzzzz]"), "/etc/t.conf:1: unknown key zzzzzz");
    assert_eq!(
        refused("[crio.imagee]\nx=1"),
        "/etc/t.conf:1: unknown key imagee; did you mean image?"
    );
}

#[test]
fn a_wrong_value_is_named_with_file_line_key_and_what_is_expected() {
    for (text, expected) in [
        ("root = 'x'", "root = \"x\": must be an absolute path"),
        ("root = 5", "root = 5: must be an absolute path"),
        ("runtime = 1", "runtime = 1: must be a table: write [runtime]"),
        ("[deadlines]\ncni = 0", "deadlines.cni = 0: must be whole seconds from 1 to 86400"),
        ("[deadlines]\ncni = 1.5", "deadlines.cni = 1.5: must be whole seconds"),
        ("[image]\nmax_parallel_downloads = -1", "image.max_parallel_downloads = -1: must be"),
        ("[runtime]\ncgroup_manager = 'x'", "must be one of auto, cgroupfs, systemd"),
        ("[network]\nplugin_dirs = ['/a', 'b']", "\"b\" must be an absolute path"),
        ("runroot = '/var/lib/crisp'", "must not be the same directory as root"),
        ("[runtime]\ndefault_runtime = 'cruun'", "no such handler; did you mean crun?"),
        ("[runtime.runtimes.kata]\nruntime_type='vm'", "runtime_path = \"\": is needed with"),
        ("[runtime.runtimes.'../x']", "the name must be 1 to 63"),
        ("[runtime]\nshim_cgroup = 'x'", "must be \"pod\", an absolute cgroup path or empty"),
        ("root = '/a'\nroot = '/b'", "/etc/t.conf:2: "),
        ("root = ", "/etc/t.conf:1: "),
    ] {
        let message = refused(text);
        assert!(message.contains(expected), "{text:?} gave {message:?}");
        assert!(message.starts_with("/etc/t.conf:"), "{message:?}");
    }
    let long = format!("[api]\nlisten = '/{}'", "x".repeat(107));
    assert!(refused(&long).contains("api.listen"), "{}", refused(&long));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let message = refused("root = 1\nrunrot = '/x'\n[image]\npinned_images = 2");
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn drop_ins_win_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("crisp.conf");
    let drop_ins = directory.path().join("crisp.conf.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(&main, "root = '/one'\n[runtime.runtimes.runc]\nruntime_path = '/a'\n").unwrap();
    fs::write(drop_ins.join("10-a.conf"), "root = '/two'\n[network]\nplugin_dirs = ['/x', '/y']")
        .unwrap();
    fs::write(
        drop_ins.join("20-b.conf"),
        "[crio.network]\nplugin_dirs = ['/z']\n[runtime.runtimes.runc]\nruntime_root = '/r'",
    )
    .unwrap();
    fs::write(drop_ins.join("30-c.conf.bak"), "nonsense").unwrap();
    fs::write(drop_ins.join(".40.conf"), "nonsense").unwrap();
    let config = load(Some(&main)).unwrap();
    assert_eq!(config.root, Path::new("/two"));
    assert_eq!(config.network.plugin_dirs, [Path::new("/z")]);
    let runc = &config.runtime.runtimes["runc"];
    assert_eq!(runc.runtime_root.as_deref(), Some(Path::new("/r")));
    assert_eq!(runc.runtime_path.0, "/a");

    fs::write(drop_ins.join("50.conf"), "rot = '/x'").unwrap();
    let message = load(Some(&main)).unwrap_err().to_string();
    assert!(message.contains("50.conf:1: unknown key rot; did you mean root?"), "{message}");
}

#[test]
fn a_named_file_must_exist() {
    let message = load(Some(Path::new("/nonexistent/crisp.conf"))).unwrap_err().to_string();
    assert!(message.contains("/nonexistent/crisp.conf"), "{message}");
}

/// The examples in `packaging/handlers`: each is read, and each has its RuntimeClass.
#[test]
fn the_packaged_handlers_and_their_runtime_classes_agree() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/handlers");
    let mut handlers = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let config = load_text(&path, &fs::read_to_string(&path).unwrap()).unwrap();
            handlers.extend(config.runtime.runtimes.into_keys());
        }
    }
    let classes = fs::read_to_string(directory.join("runtimeclasses.yaml")).unwrap();
    let mut named: Vec<_> =
        classes.lines().filter_map(|line| line.strip_prefix("handler: ")).collect();
    handlers.sort();
    named.sort_unstable();
    assert_eq!(handlers, named);
    assert!(handlers.len() > 2, "{handlers:?}");
}
