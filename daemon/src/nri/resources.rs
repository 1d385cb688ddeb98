// SPDX-License-Identifier: Apache-2.0
//! Limits in NRI's terms, CRI's terms and the OCI spec's JSON. Pure.

use crisp_nri as nri;
use serde_json::{Map, Value, json};

use crate::pods::spec::Resources;

/// Limits as a client asked for them. What is 0 or empty was not asked for and stays absent.
#[must_use]
pub fn from_request(asked: &Resources) -> nri::LinuxResources {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let mut memory = nri::LinuxMemory::new();
    memory.limit = optional(Some(asked.memory_limit).filter(|v| *v != 0), int64);
    memory.swap = optional(Some(asked.memory_swap_limit).filter(|v| *v != 0), int64);
    let mut cpu = nri::LinuxCPU::new();
    cpu.shares = optional(positive(asked.cpu_shares), uint64);
    cpu.quota = optional(Some(asked.cpu_quota).filter(|v| *v != 0), int64);
    cpu.period = optional(positive(asked.cpu_period), uint64);
    cpu.cpus.clone_from(&asked.cpuset_cpus);
    cpu.mems.clone_from(&asked.cpuset_mems);
    let mut resources = nri::LinuxResources::new();
    resources.memory = Some(memory).into();
    resources.cpu = Some(cpu).into();
    resources.hugepage_limits =
        asked.hugepages.iter().map(|(size, limit)| hugepage(size, *limit)).collect();
    resources.unified = asked.unified.clone().into_iter().collect();
    resources
}

/// The part of what plugins ask for that a client could have asked for too. What is absent is 0
/// or empty.
#[must_use]
pub fn to_request(asked: &nri::LinuxResources) -> Resources {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (memory, cpu) = (&asked.memory, &asked.cpu);
    Resources {
        cpu_period: cpu.period.as_ref().map_or(0, |v| signed(v.value)),
        cpu_quota: cpu.quota.as_ref().map_or(0, |v| v.value),
        cpu_shares: cpu.shares.as_ref().map_or(0, |v| signed(v.value)),
        memory_limit: memory.limit.as_ref().map_or(0, |v| v.value),
        memory_swap_limit: memory.swap.as_ref().map_or(0, |v| v.value),
        oom_score_adj: 0,
        cpuset_cpus: cpu.cpus.clone(),
        cpuset_mems: cpu.mems.clone(),
        hugepages: asked.hugepage_limits.iter().map(|l| (l.page_size.clone(), l.limit)).collect(),
        unified: asked.unified.clone().into_iter().collect(),
    }
}

/// Adds to `linux` (the spec's `resources`) what only plugins can ask for.
pub fn add_rest(linux: &mut Value, asked: &nri::LinuxResources) {
    let mut set = |section: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            linux[section][key] = value;
        }
    };
    let memory = &asked.memory;
    set("memory", "reservation", memory.reservation.as_ref().map(|v| v.value.into()));
    set("memory", "kernel", memory.kernel.as_ref().map(|v| v.value.into()));
    set("memory", "kernelTCP", memory.kernel_tcp.as_ref().map(|v| v.value.into()));
    set("memory", "swappiness", memory.swappiness.as_ref().map(|v| v.value.into()));
    set("memory", "disableOOMKiller", memory.disable_oom_killer.as_ref().map(|v| v.value.into()));
    set("memory", "useHierarchy", memory.use_hierarchy.as_ref().map(|v| v.value.into()));
    let cpu = &asked.cpu;
    set("cpu", "realtimeRuntime", cpu.realtime_runtime.as_ref().map(|v| v.value.into()));
    set("cpu", "realtimePeriod", cpu.realtime_period.as_ref().map(|v| v.value.into()));
    set("pids", "limit", asked.pids.as_ref().map(|v| v.limit.into()));
    if !asked.devices.is_empty() {
        let rules = asked.devices.iter().map(rule);
        match linux["devices"].as_array_mut() {
            Some(known) => known.extend(rules),
            None => linux["devices"] = rules.collect(),
        }
    }
}

fn rule(asked: &nri::LinuxDeviceCgroup) -> Value {
    let mut rule = json!({ "allow": asked.allow, "access": asked.access });
    if !asked.type_.is_empty() {
        rule["type"] = asked.type_.clone().into();
    }
    for (key, value) in [("major", &asked.major), ("minor", &asked.minor)] {
        if let Some(value) = value.as_ref() {
            rule[key] = value.value.into();
        }
    }
    rule
}

/// Limits as the spec's `resources` states them.
#[must_use]
pub fn from_oci(linux: &Value) -> nri::LinuxResources {
    let mut resources = nri::LinuxResources::new();
    resources.memory = Some(memory_from(&linux["memory"])).into();
    resources.cpu = Some(cpu_from(&linux["cpu"])).into();
    resources.hugepage_limits = items(&linux["hugepageLimits"])
        .map(|l| hugepage(&text(&l["pageSize"]), l["limit"].as_u64().unwrap_or_default()))
        .collect();
    resources.unified = pairs(&linux["unified"]);
    resources.devices = items(&linux["devices"]).map(rule_from).collect();
    resources.pids = linux["pids"]["limit"]
        .as_i64()
        .map(|limit| nri::LinuxPids { limit, ..Default::default() })
        .into();
    resources
}

fn memory_from(memory: &Value) -> nri::LinuxMemory {
    let mut known = nri::LinuxMemory::new();
    known.limit = optional(memory["limit"].as_i64(), int64);
    known.reservation = optional(memory["reservation"].as_i64(), int64);
    known.swap = optional(memory["swap"].as_i64(), int64);
    known.kernel = optional(memory["kernel"].as_i64(), int64);
    known.kernel_tcp = optional(memory["kernelTCP"].as_i64(), int64);
    known.swappiness = optional(memory["swappiness"].as_u64(), uint64);
    known.disable_oom_killer = optional(memory["disableOOMKiller"].as_bool(), boolean);
    known.use_hierarchy = optional(memory["useHierarchy"].as_bool(), boolean);
    known
}

fn cpu_from(cpu: &Value) -> nri::LinuxCPU {
    let mut known = nri::LinuxCPU::new();
    known.shares = optional(cpu["shares"].as_u64(), uint64);
    known.quota = optional(cpu["quota"].as_i64(), int64);
    known.period = optional(cpu["period"].as_u64(), uint64);
    known.realtime_runtime = optional(cpu["realtimeRuntime"].as_i64(), int64);
    known.realtime_period = optional(cpu["realtimePeriod"].as_u64(), uint64);
    known.cpus = text(&cpu["cpus"]);
    known.mems = text(&cpu["mems"]);
    known
}

fn rule_from(rule: &Value) -> nri::LinuxDeviceCgroup {
    let mut known = nri::LinuxDeviceCgroup::new();
    known.allow = rule["allow"].as_bool().unwrap_or_default();
    known.type_ = text(&rule["type"]);
    known.major = optional(rule["major"].as_i64(), int64);
    known.minor = optional(rule["minor"].as_i64(), int64);
    known.access = text(&rule["access"]);
    known
}

fn hugepage(size: &str, limit: u64) -> nri::HugepageLimit {
    nri::HugepageLimit { page_size: size.to_owned(), limit, ..Default::default() }
}

/// A value that may be absent, in the message that says so.
pub(super) fn optional<T, M>(value: Option<T>, wrap: fn(T) -> M) -> protobuf::MessageField<M> {
    value.map(wrap).into()
}

pub(super) fn int(value: i64) -> nri::OptionalInt {
    nri::OptionalInt { value, ..Default::default() }
}

pub(super) fn int64(value: i64) -> nri::OptionalInt64 {
    nri::OptionalInt64 { value, ..Default::default() }
}

pub(super) fn uint64(value: u64) -> nri::OptionalUInt64 {
    nri::OptionalUInt64 { value, ..Default::default() }
}

pub(super) fn uint32(value: u32) -> nri::OptionalUInt32 {
    nri::OptionalUInt32 { value, ..Default::default() }
}

pub(super) fn boolean(value: bool) -> nri::OptionalBool {
    nri::OptionalBool { value, ..Default::default() }
}

/// A string of the spec; empty where there is none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The items of a list of the spec; none where there is no list.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The strings of a list of the spec.
pub(super) fn texts(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}

/// The pairs of an object of the spec whose values are strings.
pub(super) fn pairs<C: FromIterator<(String, String)>>(value: &Value) -> C {
    let none = Map::new();
    let object = value.as_object().unwrap_or(&none);
    object.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_asks_for_comes_back_as_it_was() {
        let asked = Resources {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 512,
            memory_limit: 1 << 30,
            memory_swap_limit: 2 << 30,
            oom_score_adj: 0,
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
            hugepages: vec![("2MB".into(), 7)],
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
        };
        assert_eq!(to_request(&from_request(&asked)), asked);
        let nothing = from_request(&Resources::default());
        assert!(nothing.memory.limit.is_none() && nothing.cpu.shares.is_none());
        assert_eq!(to_request(&nothing), Resources::default());
    }

    #[test]
    fn what_only_plugins_ask_for_is_added_to_what_is_there() {
        let mut asked = nri::LinuxResources::new();
        asked.pids = Some(nri::LinuxPids { limit: 9, ..Default::default() }).into();
        asked.memory.mut_or_insert_default().swappiness = optional(Some(0), uint64);
        let mut all = nri::LinuxDeviceCgroup::new();
        all.access = "rwm".into();
        asked.devices.push(all);
        let mut linux = json!({ "memory": { "limit": 5 }, "devices": [{ "allow": false }] });
        add_rest(&mut linux, &asked);
        let expected = json!({
            "memory": { "limit": 5, "swappiness": 0 },
            "pids": { "limit": 9 },
            "devices": [{ "allow": false }, { "allow": false, "access": "rwm" }],
        });
        assert_eq!(linux, expected);
        let seen = from_oci(&linux);
        assert_eq!(seen.memory.limit.value, 5);
        assert_eq!(seen.memory.swappiness.as_ref().map(|v| v.value), Some(0));
        assert_eq!((seen.pids.limit, seen.devices.len()), (9, 2));
    }
}
