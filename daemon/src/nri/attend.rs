// SPDX-License-Identifier: Apache-2.0
//! A plugin from its first word to its end.
//!
//! ```text
//!  connection ─▶ RegisterPlugin ─▶ Configure ─▶ in the books ─▶ Synchronize ─▶ events ─▶ gone
//! ```

use std::sync::Arc;

use crisp_nri::{
    self as nri, ConfigureRequest, ConfigureResponse, RegisterPluginRequest,
    UpdateContainersRequest, UpdateContainersResponse,
};
use protobuf::Message;
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use ttrpc::Code;

use super::{
    Settings,
    connection::{Connection, Incoming},
    error::NriError,
    identity::Identity,
    plugin::{Mask, Origin, Plugin, Stage},
    synchronize, updates,
};
use crate::pods::context::Context;

/// What is known of a plugin before it speaks.
pub struct Caller {
    /// Where it comes from.
    pub origin: Origin,
    /// Its identity, where its file's name gives one; else it names itself.
    pub identity: Option<Identity>,
    /// Text of its configuration file.
    pub config: String,
    /// How it is called until it has named itself.
    pub called: String,
}

/// Serves a plugin until its connection ends. `ready` is told once it is synchronized, and
/// dropped when it is not to be.
pub async fn attend(
    context: Arc<Context>,
    settings: Arc<Settings>,
    stream: UnixStream,
    caller: Caller,
    ready: oneshot::Sender<()>,
) {
    let (connection, mut calls) = Connection::open(stream);
    let called = caller.called.clone();
    let plugin = match register(&settings, &connection, &mut calls, caller).await {
        Ok(plugin) => Arc::new(plugin),
        Err(error) => {
            tracing::error!(plugin = called, %error, "NRI plugin is not registered");
            connection.close(&error.to_string());
            return;
        }
    };
    let served = tokio::spawn(serve(context.clone(), plugin.clone(), calls));
    let entry = context.nri.books().enter(plugin.clone());
    match synchronize::synchronize(&context, &plugin, entry, settings.registration).await {
        Ok(asked) => {
            plugin.stage.send_replace(Stage::Ready);
            tracing::info!(plugin = plugin.name, version = plugin.version, "NRI plugin connected");
            // Nobody may wait for it.
            let _ = ready.send(());
            for update in asked {
                if let Err(error) = updates::one(&context, &update).await {
                    synchronize::log_failure(&plugin, &update, &error);
                }
            }
            let cause = connection.closed().await;
            tracing::warn!(plugin = plugin.name, cause, "NRI plugin is gone");
        }
        Err(error) => {
            tracing::error!(%error, "NRI plugin is not synchronized");
            connection.close(&error.to_string());
        }
    }
    context.nri.books().leave(&plugin);
    served.abort();
}

async fn register(
    settings: &Settings,
    connection: &Connection,
    calls: &mut mpsc::Receiver<Incoming>,
    caller: Caller,
) -> Result<Plugin, NriError> {
    let Caller { origin, identity, config, called } = caller;
    let limit = settings.registration;
    let call = "RegisterPlugin";
    let incoming = timeout(limit, calls.recv()).await.map_err(|_| NriError::Deadline {
        plugin: called.clone(),
        call,
        after: limit,
    })?;
    let Some(incoming) = incoming else {
        return Err(NriError::Gone { plugin: called, cause: connection.closed().await });
    };
    let said = introduction(&incoming, identity).map_err(|status| {
        let cause = status.message().to_owned();
        connection.answer(&incoming, Err(status));
        NriError::Malformed { plugin: called, call, cause }
    });
    let (identity, version) = said?;
    connection.answer(&incoming, Ok(Vec::new()));
    let name = identity.to_string();
    let events = configure(settings, connection, &name, config).await?;
    let (stage, _) = watch::channel(Stage::Synchronizing);
    let (connection, limit) = (connection.clone(), settings.request);
    Ok(Plugin { identity, name, origin, version, events, connection, limit, stage })
}

/// Who the plugin says it is, and its version.
fn introduction(
    call: &Incoming,
    known: Option<Identity>,
) -> Result<(Identity, String), ttrpc::Status> {
    if call.method != method("RegisterPlugin") {
        let text = format!("{} before RegisterPlugin", call.method);
        return Err(ttrpc::get_status(Code::FAILED_PRECONDITION, text));
    }
    let invalid = |text: String| ttrpc::get_status(Code::INVALID_ARGUMENT, text);
    let said = RegisterPluginRequest::parse_from_bytes(&call.payload)
        .map_err(|e| invalid(e.to_string()))?;
    let identity = match known {
        Some(known) => known,
        None => Identity::new(&said.plugin_idx, &said.plugin_name)
            .map_err(|e| invalid(e.to_string()))?,
    };
    Ok((identity, said.nri_version))
}

async fn configure(
    settings: &Settings,
    connection: &Connection,
    plugin: &str,
    config: String,
) -> Result<Mask, NriError> {
    let milliseconds =
        |limit: std::time::Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let request = ConfigureRequest {
        config,
        runtime_name: "crisp".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        registration_timeout: milliseconds(settings.registration),
        request_timeout: milliseconds(settings.request),
        nri_version: nri::VERSION.into(),
        ..Default::default()
    };
    let call = "Configure";
    let answer: ConfigureResponse =
        connection.call(plugin, call, &request, settings.request).await?;
    Mask::new(answer.events).map_err(|extra| NriError::Malformed {
        plugin: plugin.to_owned(),
        call,
        cause: format!("{extra:#x} is no event"),
    })
}

fn method(name: &str) -> String {
    format!("{}/{name}", nri::RUNTIME)
}

/// Carries out what the plugin asks for unasked, one call after the other.
async fn serve(context: Arc<Context>, plugin: Arc<Plugin>, mut calls: mpsc::Receiver<Incoming>) {
    while let Some(call) = calls.recv().await {
        let answer = if call.method == method("UpdateContainers") {
            update_containers(&context, &plugin, &call.payload).await
        } else if call.method == method("RegisterPlugin") {
            Err(ttrpc::get_status(Code::FAILED_PRECONDITION, "registered already"))
        } else {
            Err(ttrpc::get_status(Code::UNIMPLEMENTED, format!("{} is not known", call.method)))
        };
        plugin.connection.answer(&call, answer);
    }
}

async fn update_containers(
    context: &Context,
    plugin: &Plugin,
    payload: &[u8],
) -> Result<Vec<u8>, ttrpc::Status> {
    let request = UpdateContainersRequest::parse_from_bytes(payload)
        .map_err(|e| ttrpc::get_status(Code::INVALID_ARGUMENT, e))?;
    let mut response = UpdateContainersResponse::new();
    for update in request.update {
        if let Err(error) = updates::one(context, &update).await {
            synchronize::log_failure(plugin, &update, &error);
            response.failed.push(update);
        }
    }
    for eviction in &request.evict {
        updates::evict(context, &plugin.name, eviction).await;
    }
    response.write_to_bytes().map_err(|e| ttrpc::get_status(Code::INTERNAL, e))
}
