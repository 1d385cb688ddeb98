// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::{
    rule::{Role, Security},
    *,
};

fn registries(text: &str) -> Registries {
    let mut registries = Registries::default();
    registries.add(text, Path::new("test.conf")).unwrap();
    registries
}

fn asked(registries: &Registries, reference: &str) -> Vec<String> {
    let reference = Reference::parse(reference).unwrap();
    registries
        .endpoints(&reference)
        .unwrap()
        .iter()
        .map(|endpoint| format!("{}/{}", endpoint.host, endpoint.repository))
        .collect()
}

#[test]
fn a_prefix_matches_whole_parts_and_the_longest_wins() {
    let rules = registries(
        r#"
        [[registry]]
        prefix = "gcr.io"
        location = "one.io"
        [[registry]]
        prefix = "gcr.io/team"
        location = "two.io/x"
        [[registry]]
        prefix = "gcr.io/team/app:special"
        location = "three.io/app"
        "#,
    );
    assert_eq!(asked(&rules, "gcr.io/other/app"), ["one.io/other/app"]);
    assert_eq!(asked(&rules, "gcr.io/team/app"), ["two.io/x/app"]);
    assert_eq!(asked(&rules, "gcr.io/teams/app"), ["one.io/teams/app"]);
    assert_eq!(asked(&rules, "gcr.io.evil.com/app"), ["gcr.io.evil.com/app"]);
    assert_eq!(asked(&rules, "gcr.io/team/app:special"), ["three.io/app"]);
}

#[test]
fn a_wildcard_stands_for_host_labels_only() {
    let rules = registries(
        r#"
        [[registry]]
        prefix = "*.corp.io"
        insecure = true
        [[registry.mirror]]
        location = "127.0.0.1:5000/corp"
        "#,
    );
    assert_eq!(asked(&rules, "a.b.corp.io/app"), ["127.0.0.1:5000/corp/app", "a.b.corp.io/app"]);
    assert_eq!(
        asked(&rules, "a.corp.io:443/app"),
        ["127.0.0.1:5000/corp:443/app", "a.corp.io:443/app"].map(|s| s.to_owned()).to_vec()
    );
    assert_eq!(asked(&rules, "corp.io/app"), ["corp.io/app"]);
    assert_eq!(asked(&rules, "x.io/a.corp.io/app"), ["x.io/a.corp.io/app"]);
}

#[test]
fn mirrors_come_first_and_only_for_the_references_they_serve() {
    let rules = registries(
        r#"
        [[registry]]
        location = "registry.k8s.io"
        [[registry.mirror]]
        location = "by-tag.io"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "by-digest.io"
        pull-from-mirror = "digest-only"
        insecure = true
        "#,
    );
    assert_eq!(
        asked(&rules, "registry.k8s.io/pause:3.9"),
        ["by-tag.io/pause", "registry.k8s.io/pause"]
    );
    let digest = format!("registry.k8s.io/pause@sha256:{}", "0".repeat(64));
    assert_eq!(asked(&rules, &digest), ["by-digest.io/pause", "registry.k8s.io/pause"]);
    let endpoints = rules.endpoints(&Reference::parse(&digest).unwrap()).unwrap();
    assert_eq!((endpoints[0].security, endpoints[0].role), (Security::Insecure, Role::Mirror));
    assert_eq!((endpoints[1].security, endpoints[1].role), (Security::Verified, Role::Registry));
}

#[test]
fn only_loopback_may_speak_plain_http_without_a_rule() {
    let security = |name: &str| {
        let reference = Reference::parse(name).unwrap();
        Registries::default().endpoints(&reference).unwrap()[0].security
    };
    for loopback in
        ["localhost/a", "localhost:5000/a", "127.0.0.1:5000/a", "127.3.2.1:1/a", "[::1]:5/a"]
    {
        assert_eq!(security(loopback), Security::Loopback, "{loopback}");
    }
    for other in ["gcr.io/a", "10.0.0.1:5000/a", "localhost.evil.com/a", "127.0.0.1.evil.com/a"] {
        assert_eq!(security(other), Security::Verified, "{other}");
    }
}

#[test]
fn a_blocked_registry_is_named_with_the_file_that_blocks_it() {
    let rules = registries("[[registry]]\nprefix = \"bad.io\"\nblocked = true");
    let error = rules.endpoints(&Reference::parse("bad.io/x").unwrap()).unwrap_err().to_string();
    assert!(error.contains("bad.io") && error.contains("test.conf"), "{error}");
}

#[test]
fn a_bad_file_is_refused_with_its_reason() {
    for (text, part) in [
        ("[registries.search]\nregistries = []", "version 1"),
        ("[[registry]]\ninsecure = true", "neither prefix nor location"),
        ("[[registry]]\nprefix = \"a.*.io\"", "wildcard"),
        ("[[registry]]\nlocation = \"https://a.io\"", "scheme"),
        ("[[registry]]\nlocation = \"a.io\"\n[[registry.mirror]]\ninsecure = true", "no location"),
        ("[[registry]]\nlocation = 5", "location"),
        ("[[registry", "TOML"),
    ] {
        let error = Registries::default().add(text, Path::new("x.conf")).unwrap_err().to_string();
        assert!(error.starts_with("x.conf") && error.contains(part), "{error}");
    }
}

#[test]
fn drop_ins_replace_earlier_rules_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registries.conf");
    let rule = |to: &str| format!("[[registry]]\nprefix = \"a.io\"\nlocation = \"{to}\"\n");
    std::fs::write(&file, rule("one.io")).unwrap();
    let drop_in = dir.path().join("registries.conf.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::write(drop_in.join("20.conf"), rule("three.io")).unwrap();
    std::fs::write(drop_in.join("10.conf"), rule("two.io")).unwrap();
    std::fs::write(drop_in.join("99.conf.bak"), "nonsense").unwrap();
    let path = RegistriesPath::choose(Some(&file));
    assert_eq!(asked(&Registries::load(&path).unwrap(), "a.io/x"), ["three.io/x"]);
    std::fs::remove_file(&file).unwrap();
    let error = Registries::load(&path).unwrap_err().to_string();
    assert!(error.contains("registries.conf"), "{error}");
}

#[test]
fn short_names_use_aliases_and_the_search_list() {
    let rules = registries(
        "unqualified-search-registries = [\"quay.io\"]\n[aliases]\n\"alpine\" = \"docker.io/library/alpine\"",
    );
    assert_eq!(rules.unalias("alpine:3"), "docker.io/library/alpine:3");
    assert_eq!(rules.unalias("other:3"), "other:3");
    assert_eq!(rules.search(), ["quay.io"]);
}

proptest! {
    #[test]
    fn a_rule_never_matches_across_a_part(host in "[a-z]{1,4}\\.io", tail in "[a-z0-9.-]{1,6}") {
        let rules = registries(&format!("[[registry]]\nprefix = \"{host}\"\nlocation = \"other.io\""));
        if let Ok(reference) = Reference::parse(&format!("{host}{tail}/app")) {
            let asked = rules.endpoints(&reference).unwrap();
            prop_assert_eq!(&asked[0].host, reference.registry());
        }
    }

    #[test]
    fn the_repository_below_the_prefix_is_kept(path in "[a-z]{1,5}(/[a-z]{1,5}){0,3}") {
        let rules = registries("[[registry]]\nprefix = \"a.io\"\nlocation = \"b.io/deep\"");
        prop_assert_eq!(asked(&rules, &format!("a.io/{path}")), vec![format!("b.io/deep/{path}")]);
    }
}
