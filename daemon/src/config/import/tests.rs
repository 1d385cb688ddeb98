// SPDX-License-Identifier: Apache-2.0

use super::*;

/// What becomes of a sample; it has to be a configuration that crisp accepts.
#[track_caller]
fn imported(name: &str, text: &str) -> String {
    let imported = import(Path::new(name), text).unwrap().to_text();
    load_text(Path::new(name), &imported).unwrap();
    imported
}

#[test]
fn containerds_own_default_is_taken_over() {
    insta::assert_snapshot!(imported("v4", include_str!("samples/containerd-v4.toml")));
}

#[test]
fn containerd_of_version_2_with_several_runtimes_is_taken_over() {
    insta::assert_snapshot!(imported("v2", include_str!("samples/containerd-v2.toml")));
}

#[test]
fn containerd_of_version_3_is_taken_over() {
    insta::assert_snapshot!(imported("v3", include_str!("samples/containerd-v3.toml")));
}

#[test]
fn a_crio_conf_is_taken_over() {
    insta::assert_snapshot!(imported("crio", include_str!("samples/crio.conf")));
}

#[test]
fn what_is_nobodys_is_refused_by_name() {
    let refused = |text| import(Path::new("/etc/x"), text).unwrap_err().to_string();
    assert!(refused("a = ").starts_with("/etc/x is no TOML"));
    assert!(refused("a = 1").contains("neither a crio.conf"));
    assert!(refused("[plugins]\n").contains("version 1"));
    assert!(refused("version = 9").contains("version 9"));
}

#[test]
fn go_durations_are_read_as_whole_seconds() {
    for (text, wanted) in [
        ("4h0m0s", Some(14_400)),
        ("1m30s", Some(90)),
        ("1.5s", Some(2)),
        ("100ms", Some(1)),
        ("0s", Some(0)),
        ("", None),
        ("soon", None),
        ("5", None),
    ] {
        assert_eq!(seconds(text), wanted, "{text}");
    }
}
