// SPDX-License-Identifier: Apache-2.0
//! What all plugins together ask for, put into a container's OCI spec. Pure.
//!
//! Limits, the OOM score and CDI devices are not put in here: they change the request that the
//! spec is made from, so that the same rules hold for them whoever asks.

use std::collections::HashMap;

use crisp_nri as nri;
use serde_json::{Map, Value, json};

use super::{
    merge::removal,
    resources::{add_rest, text},
};

/// Changes `spec` (the whole of `config.json`) as `adjust` asks.
pub fn apply(spec: &mut Value, adjust: &nri::ContainerAdjustment) {
    pairs(spec, "annotations", &adjust.annotations);
    env(&mut spec["process"], &adjust.env);
    if !adjust.args.is_empty() {
        spec["process"]["args"] = adjust.args.clone().into();
    }
    for limit in &adjust.rlimits {
        let entry = json!({ "type": limit.type_, "hard": limit.hard, "soft": limit.soft });
        put(&mut spec["process"]["rlimits"], "type", &limit.type_, Some(entry));
    }
    if let Some(hooks) = adjust.hooks.as_ref() {
        add_hooks(spec, hooks);
    }
    if let Some(linux) = adjust.linux.as_ref() {
        process(&mut spec["process"], linux);
        self::linux(&mut spec["linux"], linux);
    }
    mounts(spec, &adjust.mounts);
}

/// In a list of objects: the one whose `key` is `name` gives way to `entry`, or to nothing.
fn put(list: &mut Value, key: &str, name: &str, entry: Option<Value>) {
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.retain(|old| old[key] != name);
        list.extend(entry);
    }
}

fn pairs(of: &mut Value, key: &str, asked: &HashMap<String, String>) {
    if asked.is_empty() {
        return;
    }
    let object = &mut of[key];
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    let Some(object) = object.as_object_mut() else { return };
    for (key, value) in asked {
        match removal(key) {
            Some(key) => drop(object.remove(key)),
            None => drop(object.insert(key.clone(), value.clone().into())),
        }
    }
}

/// A variable that is there keeps its place.
fn env(process: &mut Value, asked: &[nri::KeyValue]) {
    if asked.is_empty() {
        return;
    }
    let list = &mut process["env"];
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    for one in asked {
        let name = removal(&one.key).unwrap_or(&one.key);
        let same = |line: &Value| {
            line.as_str().and_then(|line| line.split_once('=')).is_some_and(|(key, _)| key == name)
        };
        let at = list.iter().position(same);
        let line = Value::from(format!("{name}={}", one.value));
        match (at, removal(&one.key)) {
            (Some(at), None) => list[at] = line,
            (None, None) => list.push(line),
            (Some(at), Some(_)) => drop(list.remove(at)),
            (None, Some(_)) => {}
        }
    }
}

fn add_hooks(spec: &mut Value, hooks: &nri::Hooks) {
    for (stage, added) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        if added.is_empty() {
            continue;
        }
        let list = &mut spec["hooks"][stage];
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.extend(added.iter().map(hook));
        }
    }
}

fn hook(asked: &nri::Hook) -> Value {
    let mut hook = json!({ "path": asked.path });
    if !asked.args.is_empty() {
        hook["args"] = asked.args.clone().into();
    }
    if !asked.env.is_empty() {
        hook["env"] = asked.env.clone().into();
    }
    if let Some(seconds) = asked.timeout.as_ref() {
        hook["timeout"] = seconds.value.into();
    }
    hook
}

fn process(process: &mut Value, asked: &nri::LinuxContainerAdjustment) {
    use nri::IOPrioClass;
    if let Some(priority) = asked.io_priority.as_ref() {
        let class = priority.class.enum_value_or_default();
        if class == IOPrioClass::IOPRIO_CLASS_NONE {
            if let Some(process) = process.as_object_mut() {
                process.remove("ioPriority");
            }
        } else {
            process["ioPriority"] =
                json!({ "class": format!("{class:?}"), "priority": priority.priority });
        }
    }
    if let Some(asked) = asked.scheduler.as_ref() {
        process["scheduler"] = scheduler(asked);
    }
}

fn scheduler(asked: &nri::LinuxScheduler) -> Value {
    let flags: Vec<_> =
        asked.flags.iter().map(|flag| format!("{:?}", flag.enum_value_or_default())).collect();
    let mut scheduler = json!({ "policy": format!("{:?}", asked.policy.enum_value_or_default()) });
    for (key, value) in [("nice", asked.nice), ("priority", asked.priority)] {
        if value != 0 {
            scheduler[key] = value.into();
        }
    }
    for (key, value) in
        [("runtime", asked.runtime), ("deadline", asked.deadline), ("period", asked.period)]
    {
        if value != 0 {
            scheduler[key] = value.into();
        }
    }
    if !flags.is_empty() {
        scheduler["flags"] = flags.into();
    }
    scheduler
}

fn linux(linux: &mut Value, asked: &nri::LinuxContainerAdjustment) {
    for device in &asked.devices {
        self::device(linux, device);
    }
    add_rest(&mut linux["resources"], &asked.resources);
    if !asked.cgroups_path.is_empty() {
        linux["cgroupsPath"] = asked.cgroups_path.clone().into();
    }
    if let Some(policy) = asked.seccomp_policy.as_ref() {
        linux["seccomp"] = seccomp(policy);
    }
    for namespace in &asked.namespaces {
        let kind = removal(&namespace.type_).unwrap_or(&namespace.type_);
        let mut entry = json!({ "type": kind });
        if !namespace.path.is_empty() {
            entry["path"] = namespace.path.clone().into();
        }
        let entry = removal(&namespace.type_).is_none().then_some(entry);
        put(&mut linux["namespaces"], "type", kind, entry);
    }
    pairs(linux, "sysctl", &asked.sysctl);
    for (host, device) in &asked.net_devices {
        match removal(host) {
            Some(host) => {
                if let Some(known) = linux["netDevices"].as_object_mut() {
                    known.remove(host);
                }
            }
            None if device.name.is_empty() => linux["netDevices"][host] = json!({}),
            None => linux["netDevices"][host] = json!({ "name": device.name }),
        }
    }
    if let Some(asked) = asked.rdt.as_ref() {
        rdt(linux, asked);
    }
    if let Some(asked) = asked.memory_policy.as_ref() {
        let flags: Vec<_> =
            asked.flags.iter().map(|f| format!("{:?}", f.enum_value_or_default())).collect();
        let mode = format!("{:?}", asked.mode.enum_value_or_default());
        linux["memoryPolicy"] = json!({ "mode": mode, "nodes": asked.nodes, "flags": flags });
    }
}

/// A node, and the leave to use it.
fn device(linux: &mut Value, asked: &nri::LinuxDevice) {
    let path = removal(&asked.path).unwrap_or(&asked.path);
    if removal(&asked.path).is_some() {
        return put(&mut linux["devices"], "path", path, None);
    }
    let mut node = json!({
        "path": path,
        "type": asked.type_,
        "major": asked.major,
        "minor": asked.minor,
    });
    if let Some(mode) = asked.file_mode.as_ref() {
        node["fileMode"] = mode.value.into();
    }
    for (key, id) in [("uid", &asked.uid), ("gid", &asked.gid)] {
        if let Some(id) = id.as_ref() {
            node[key] = id.value.into();
        }
    }
    put(&mut linux["devices"], "path", path, Some(node));
    let rule = json!({
        "allow": true,
        "type": asked.type_,
        "major": asked.major,
        "minor": asked.minor,
        "access": if asked.type_ == "b" { "rwm" } else { "rw" },
    });
    let rules = &mut linux["resources"]["devices"];
    if rules.is_null() {
        *rules = json!([]);
    }
    if let Some(rules) = rules.as_array_mut() {
        rules.push(rule);
    }
}

fn seccomp(asked: &nri::LinuxSeccomp) -> Value {
    let arg = |arg: &nri::LinuxSeccompArg| json!({ "index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op });
    let syscall = |call: &nri::LinuxSyscall| {
        let mut entry = json!({ "names": call.names, "action": call.action });
        if let Some(errno) = call.errno_ret.as_ref() {
            entry["errnoRet"] = errno.value.into();
        }
        if !call.args.is_empty() {
            entry["args"] = call.args.iter().map(arg).collect();
        }
        entry
    };
    let mut policy = json!({
        "defaultAction": asked.default_action,
        "architectures": asked.architectures,
        "syscalls": asked.syscalls.iter().map(syscall).collect::<Vec<_>>(),
    });
    if let Some(errno) = asked.default_errno.as_ref() {
        policy["defaultErrnoRet"] = errno.value.into();
    }
    if !asked.flags.is_empty() {
        policy["flags"] = asked.flags.clone().into();
    }
    for (key, value) in
        [("listenerPath", &asked.listener_path), ("listenerMetadata", &asked.listener_metadata)]
    {
        if !value.is_empty() {
            policy[key] = value.clone().into();
        }
    }
    policy
}

fn rdt(linux: &mut Value, asked: &nri::LinuxRdt) {
    if asked.remove
        && let Some(linux) = linux.as_object_mut()
    {
        linux.remove("intelRdt");
    }
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            linux["intelRdt"][key] = value;
        }
    };
    set("closID", asked.clos_id.as_ref().map(|v| v.value.clone().into()));
    set("schemata", asked.schemata.as_ref().map(|v| v.value.clone().into()));
    set("enableMonitoring", asked.enable_monitoring.as_ref().map(|v| v.value.into()));
}

fn mounts(spec: &mut Value, asked: &[nri::Mount]) {
    if asked.is_empty() {
        return;
    }
    for mount in asked {
        let destination = removal(&mount.destination).unwrap_or(&mount.destination);
        let entry = removal(&mount.destination).is_none().then(|| {
            json!({
                "destination": destination,
                "type": mount.type_,
                "source": mount.source,
                "options": mount.options,
            })
        });
        put(&mut spec["mounts"], "destination", destination, entry);
        // Mounts travel through the root: it has to let them.
        let root = text(&spec["linux"]["rootfsPropagation"]);
        for option in &mount.options {
            match option.as_str() {
                "rshared" => spec["linux"]["rootfsPropagation"] = "rshared".into(),
                "rslave" if !matches!(root.as_str(), "rshared" | "rslave") => {
                    spec["linux"]["rootfsPropagation"] = "rslave".into();
                }
                _ => {}
            }
        }
    }
    // Parents before what is mounted on them; equals stay in their order.
    if let Some(list) = spec["mounts"].as_array_mut() {
        let depth = |mount: &Value| {
            let path = text(&mount["destination"]);
            path.split('/').filter(|part| !part.is_empty()).count()
        };
        list.sort_by_key(depth);
    }
}
