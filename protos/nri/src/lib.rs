// SPDX-License-Identifier: Apache-2.0
//! NRI: the messages by which plugins follow and adjust pods and containers, compiled from
//! `proto/nri.proto`. How they travel is the daemon's business.

use protobuf::{MessageFull, reflect::MessageDescriptor};

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::semicolon_if_nothing_returned,
    clippy::unwrap_used,
    reason = "written by the code generator"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/nri/mod.rs"));
}

pub use generated::nri::*;

/// Full name of the service that plugins serve, as ttrpc carries it.
pub const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";
/// Full name of the service that the runtime serves, as ttrpc carries it.
pub const RUNTIME: &str = "nri.pkg.api.v1alpha1.Runtime";
/// Version of the protocol spoken.
pub const VERSION: &str = "0.12.0";

/// The protocol's shape, one sorted line for each field, enum value and method: what a test
/// compares with the shape of the published one.
#[must_use]
pub fn shape() -> Vec<String> {
    let file = Empty::descriptor().file_descriptor().clone();
    let mut lines: Vec<String> =
        file.messages().flat_map(|message| message_shape(&message)).collect();
    for one in file.enums() {
        lines.extend(
            one.values().map(|v| format!("enum {} {} = {}", one.name(), v.name(), v.value())),
        );
    }
    for service in &file.proto().service {
        let name = service.name();
        lines.extend(service.method.iter().map(|m| {
            let bare = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
            let (input, output) = (bare(m.input_type()), bare(m.output_type()));
            format!("rpc {name}.{} {input} {output}", m.name())
        }));
    }
    lines.sort();
    lines
}

fn message_shape(message: &MessageDescriptor) -> Vec<String> {
    let mut lines = Vec::new();
    for field in &message.proto().field {
        let kind = format!("{:?}", field.type_()).trim_start_matches("TYPE_").to_lowercase();
        let of = field.type_name().trim_start_matches(".nri.pkg.api.v1alpha1.");
        let label = if field.label()
            == protobuf::descriptor::field_descriptor_proto::Label::LABEL_REPEATED
        {
            "repeated"
        } else {
            "one"
        };
        let name = field.name().to_lowercase();
        let line =
            format!("{} {name} = {} {label} {kind} {of}", message.full_name(), field.number());
        lines.push(line.trim_end().replace("nri.pkg.api.v1alpha1.", ""));
    }
    for nested in message.nested_messages() {
        lines.extend(message_shape(&nested));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_are_named_as_on_the_wire() {
        let file = Empty::descriptor().file_descriptor().proto().clone();
        let names: Vec<_> =
            file.service.iter().map(|s| format!("{}.{}", file.package(), s.name())).collect();
        assert_eq!(names, [RUNTIME, PLUGIN]);
    }

    #[test]
    fn the_shape_names_fields_values_and_methods() {
        let shape = shape();
        for line in [
            "RegisterPluginRequest plugin_idx = 2 one string",
            "ContainerAdjustment linux = 6 one message LinuxContainerAdjustment",
            "PodSandbox.LabelsEntry value = 2 one string",
            "enum Event LAST = 15",
            "rpc Runtime.RegisterPlugin RegisterPluginRequest Empty",
        ] {
            assert!(shape.iter().any(|known| known == line), "{line} is not in {shape:#?}");
        }
    }
}
