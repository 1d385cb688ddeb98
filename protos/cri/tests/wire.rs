// SPDX-License-Identifier: Apache-2.0
//! Proves that our proto is CRI v1: every service, method, message, field and enum value of
//! `cri-v1.json` (facts of the upstream API) is in it, and nothing else is.
//!
//! Both sides are rendered to one line a fact; the two sets of lines must be equal.

#![expect(clippy::unwrap_used, reason = "a test: a missing fact is a failure")]

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::Value;

type Facts = BTreeSet<String>;

#[test]
fn the_proto_states_exactly_the_recorded_facts() {
    let recorded = recorded_facts();
    let compiled = compiled_facts();
    let missing: Vec<_> = recorded.difference(&compiled).collect();
    let surplus: Vec<_> = compiled.difference(&recorded).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nsurplus {surplus:#?}");
}

#[test]
fn the_recorded_facts_are_whole() {
    let json = json();
    let counts = &json["header"]["counts"];
    let facts = recorded_facts();
    let count = |prefix: &str| facts.iter().filter(|f| f.starts_with(prefix)).count() as u64;
    for (prefix, key) in [
        ("rpc ", "rpcs"),
        ("message ", "messages"),
        ("field ", "fields"),
        ("enum ", "enums"),
        ("value ", "enum_values"),
    ] {
        assert_eq!(count(prefix), counts[key].as_u64().unwrap(), "{key}");
    }
    assert_eq!(count("rpc "), 43);
}

fn json() -> Value {
    serde_json::from_str(include_str!("cri-v1.json")).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(false)
}

fn recorded_facts() -> Facts {
    let json = json();
    let mut facts = Facts::new();
    let header = &json["header"];
    facts.insert(format!("file {} {}", text(header, "package"), text(header, "syntax")));
    for (service, methods) in json["services"].as_object().unwrap() {
        for (name, method) in methods.as_object().unwrap() {
            facts.insert(format!(
                "rpc {service}.{name} {} {} client_streaming={} server_streaming={}",
                text(method, "input"),
                text(method, "output"),
                flag(method, "client_streaming"),
                flag(method, "server_streaming"),
            ));
        }
    }
    for (message, fields) in json["messages"].as_object().unwrap() {
        facts.insert(format!("message {message}"));
        for field in fields.as_array().unwrap() {
            facts.insert(recorded_field(message, field));
        }
    }
    for (name, values) in json["enums"].as_object().unwrap() {
        facts.insert(format!("enum {name}"));
        for (value, number) in values.as_object().unwrap() {
            facts.insert(format!("value {name}.{value} {number}"));
        }
    }
    facts
}

fn recorded_field(message: &str, field: &Value) -> String {
    let kind = match text(field, "type") {
        "map" => {
            let map = &field["map"];
            assert!(map.get("value_type").is_none(), "{map}");
            format!("map<{},{}>", text(map, "key"), text(map, "value"))
        }
        named @ ("message" | "enum") => format!("{named}:{}", text(field, "type_name")),
        scalar => scalar.to_owned(),
    };
    assert!(field.get("oneof").is_none(), "{field}");
    format!(
        "field {message}.{} {} json={} {} {kind} deprecated={} redact={}",
        text(field, "name"),
        field["number"],
        text(field, "json_name"),
        text(field, "label"),
        flag(field, "deprecated"),
        flag(field, "debug_redact"),
    )
}

fn compiled_facts() -> Facts {
    let set = FileDescriptorSet::decode(crisp_cri::DESCRIPTORS).unwrap();
    assert_eq!(set.file.len(), 1, "one file, no imports");
    let file = &set.file[0];
    let mut facts = Facts::new();
    facts.insert(format!("file {} {}", file.package(), file.syntax()));
    services(file, &mut facts);
    for message in &file.message_type {
        messages("", message, file.package(), &mut facts);
    }
    for declared in &file.enum_type {
        values("", declared, &mut facts);
    }
    facts
}

fn services(file: &FileDescriptorProto, facts: &mut Facts) {
    for service in &file.service {
        for method in &service.method {
            facts.insert(format!(
                "rpc {}.{} {} {} client_streaming={} server_streaming={}",
                service.name(),
                method.name(),
                relative(method.input_type(), file.package()),
                relative(method.output_type(), file.package()),
                method.client_streaming(),
                method.server_streaming(),
            ));
        }
    }
}

fn messages(outer: &str, message: &DescriptorProto, package: &str, facts: &mut Facts) {
    let name = format!("{outer}{}", message.name());
    facts.insert(format!("message {name}"));
    assert!(message.oneof_decl.is_empty(), "{name} has a oneof or an optional field");
    for field in &message.field {
        facts.insert(compiled_field(&name, message, field, package));
    }
    for declared in &message.enum_type {
        values(&format!("{name}."), declared, facts);
    }
    for nested in message.nested_type.iter().filter(|n| !is_map_entry(n)) {
        messages(&format!("{name}."), nested, package, facts);
    }
}

fn values(outer: &str, declared: &EnumDescriptorProto, facts: &mut Facts) {
    let name = format!("{outer}{}", declared.name());
    facts.insert(format!("enum {name}"));
    for value in &declared.value {
        facts.insert(format!("value {name}.{} {}", value.name(), value.number()));
    }
}

fn compiled_field(
    name: &str,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    package: &str,
) -> String {
    let (label, kind) = match map_entry(message, field) {
        Some(entry) => {
            let kinds: Vec<_> = entry.field.iter().map(|f| kind(f, package)).collect();
            ("map", format!("map<{},{}>", kinds[0], kinds[1]))
        }
        None if field.label() == Label::Repeated => ("repeated", kind(field, package)),
        None => ("singular", kind(field, package)),
    };
    let options = field.options.clone().unwrap_or_default();
    // prost-types knows fewer options than protoc: debug_redact is among what it does not decode,
    // so it is read from the source text below.
    format!(
        "field {name}.{} {} json={} {label} {kind} deprecated={} redact={}",
        field.name(),
        field.number(),
        field.json_name(),
        options.deprecated(),
        redacted(name, field.name()),
    )
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|o| o.map_entry())
}

fn map_entry<'a>(
    message: &'a DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<&'a DescriptorProto> {
    let type_name = field.type_name().rsplit('.').next()?;
    message.nested_type.iter().find(|n| is_map_entry(n) && n.name() == type_name)
}

fn kind(field: &FieldDescriptorProto, package: &str) -> String {
    match field.r#type() {
        Type::Message => format!("message:{}", relative(field.type_name(), package)),
        Type::Enum => format!("enum:{}", relative(field.type_name(), package)),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn relative<'a>(full: &'a str, package: &str) -> &'a str {
    full.strip_prefix(&format!(".{package}.")).unwrap_or(full)
}

/// Whether the proto's text marks `message.field` as secret.
fn redacted(message: &str, field: &str) -> bool {
    let proto = include_str!("../proto/cri.proto");
    let Some((_, body)) = proto.split_once(&format!("\nmessage {message} {{\n")) else {
        return false;
    };
    let body = body.split("\n}").next().unwrap();
    body.lines().any(|l| l.contains(&format!(" {field} = ")) && l.contains("[debug_redact = true]"))
}
