// SPDX-License-Identifier: Apache-2.0
//! Manifests of static pods.

use serde_json::{Value, json};

/// A shell and small programs.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.37.0-2";
/// Kubernetes' own test server.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.66.1";

/// A pod of one name with a spec; it is given a second to end, and `more` goes into the spec.
pub fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({ "terminationGracePeriodSeconds": 1 });
    merge(&mut spec, more);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": spec,
    })
}

/// A container that runs a shell script.
pub fn shell(name: &str, script: &str, more: Value) -> Value {
    let mut container = json!({
        "name": name,
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    });
    merge(&mut container, more);
    container
}

/// A container that runs agnhost.
pub fn agnhost(name: &str, args: &[&str], more: Value) -> Value {
    let mut container = json!({
        "name": name, "image": AGNHOST, "imagePullPolicy": "IfNotPresent", "args": args,
    });
    merge(&mut container, more);
    container
}

/// A script that sleeps until it is asked to end.
pub const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
