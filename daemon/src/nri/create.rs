// SPDX-License-Identifier: Apache-2.0
//! CreateContainer and UpdateContainer: what plugins may change.

use std::sync::Arc;

use crisp_nri::{self as nri, Event};
use futures::future::join_all;
use serde_json::Value;

use super::{
    books::{Coming, Passage},
    describe,
    error::NriError,
    merge::{Creation, Updates},
    plugin::Plugin,
    resources,
    tell::{container_of, heed, listeners, pod_of, tell_removed},
    updates,
};
use crate::{
    containers::record::ContainerRecord,
    pods::{context::Context, error::PodError, record::PodRecord, spec::Resources},
};

/// A container that plugins were told of.
pub struct Announced {
    /// What they changed.
    pub adjust: nri::ContainerAdjustment,
    /// It is coming until this is dropped.
    pub passage: Passage,
    told: Vec<Arc<Plugin>>,
}

/// Why a container is not made as plugins want it.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A plugin, or two that do not agree.
    #[error(transparent)]
    Plugin(#[from] NriError),
    /// An update of another container.
    #[error("update asked for by an NRI plugin: {0}")]
    Update(#[from] PodError),
}

/// A container whose spec is `spec` is about to be made.
///
/// # Errors
/// [`CreateError`]; the plugins that were told have been told of its end.
pub async fn create_container(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
    spec: &Value,
) -> Result<Announced, CreateError> {
    let coming = Coming::Container(Arc::new(record.clone()));
    let passage = context.nri.books().coming(record.id.as_str(), coming);
    let mut announced =
        Announced { adjust: nri::ContainerAdjustment::new(), passage, told: Vec::new() };
    if announced.passage.plugins.is_empty() {
        return Ok(announced);
    }
    match ask_all(context, pod, record, spec, &mut announced).await {
        Ok(()) => Ok(announced),
        Err(error) => {
            undo_container(context, pod, record, announced).await;
            Err(error)
        }
    }
}

async fn ask_all(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
    spec: &Value,
    announced: &mut Announced,
) -> Result<(), CreateError> {
    let mut request = nri::CreateContainerRequest::new();
    request.pod = Some(pod_of(context, pod)).into();
    let pristine = describe::container(record, spec);
    let mut creation = Creation::new(pristine.clone());
    let plugins = announced.passage.plugins.clone();
    for plugin in listeners(&plugins, Event::CREATE_CONTAINER).await {
        request.container = Some(creation.container.clone()).into();
        let answer = plugin.ask("CreateContainer", &request).await;
        if let Some(answer) = heed(answer)? {
            announced.told.push(plugin.clone());
            creation.add(&answer, &plugin.name)?;
        }
    }
    validate(&plugins, &request.pod, pristine, &creation).await?;
    announced.adjust = creation.adjust;
    updates::carry_out(context, creation.updates).await?;
    Ok(())
}

/// Asks all plugins that judge what others changed, at once. One that fails has not agreed.
async fn validate(
    plugins: &[Arc<Plugin>],
    pod: &nri::PodSandbox,
    pristine: nri::Container,
    creation: &Creation,
) -> Result<(), NriError> {
    let event = Event::VALIDATE_CONTAINER_ADJUSTMENT;
    let judges = listeners(plugins, event).await;
    if judges.is_empty() {
        return Ok(());
    }
    let mut request = nri::ValidateContainerAdjustmentRequest::new();
    request.pod = Some(pod.clone()).into();
    request.container = Some(pristine).into();
    request.adjust = Some(creation.adjust.clone()).into();
    request.update = creation.updates.clone().others().0;
    request.owners = Some(creation.owners()).into();
    request.plugins = plugins
        .iter()
        .map(|plugin| nri::PluginInstance {
            name: plugin.identity.name().to_owned(),
            index: plugin.identity.index().to_owned(),
            ..Default::default()
        })
        .collect();
    let verdicts = judges.into_iter().map(|judge| async {
        let call = "ValidateContainerAdjustment";
        let verdict = judge.ask::<nri::ValidateContainerAdjustmentResponse>(call, &request).await?;
        match verdict.reject {
            false => Ok(()),
            true => {
                Err(NriError::Refused { plugin: judge.name.clone(), call, message: verdict.reason })
            }
        }
    });
    join_all(verdicts).await.into_iter().collect()
}

/// A container that plugins were told of was not made after all.
pub async fn undo_container(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
    announced: Announced,
) {
    if !announced.told.is_empty() {
        tell_removed(context, &announced.told, pod, record).await;
    }
}

/// A container's limits are about to be changed as `asked`; gives what they are to become, if
/// there are plugins to say so.
///
/// # Errors
/// A plugin's no, two plugins that do not agree, or an update of another container that failed.
pub async fn update_container(
    context: &Context,
    pod: &PodRecord,
    record: &ContainerRecord,
    asked: &Resources,
) -> Result<Option<nri::LinuxResources>, CreateError> {
    let plugins = context.nri.books().plugins();
    if plugins.is_empty() {
        return Ok(None);
    }
    let asked = resources::from_request(asked);
    let mut request = nri::UpdateContainerRequest::new();
    request.pod = Some(pod_of(context, pod)).into();
    request.container = Some(container_of(context, record).await).into();
    let mut updates = Updates::of(record.id.as_str(), asked);
    for plugin in listeners(&plugins, Event::UPDATE_CONTAINER).await {
        request.linux_resources = Some(updates.asked()).into();
        let answer = plugin.ask::<nri::UpdateContainerResponse>("UpdateContainer", &request).await;
        if let Some(answer) = heed(answer)? {
            updates.add(&answer.update, &plugin.name)?;
            updates.evict(&answer.evict, &plugin.name);
        }
    }
    let asked = updates.asked();
    updates::carry_out(context, updates).await?;
    Ok(Some(asked))
}
