// SPDX-License-Identifier: Apache-2.0
//! A container's record as clients see it.

use std::collections::HashMap;

use crisp_cri as v1;
use serde_json::{Value, json};

use super::translate::{
    container_metadata_to_cri, image_to_cri, mount_to_cri, resources_to_cri, signal_to_cri, to_map,
};
use crate::containers::record::{ContainerRecord, Made, Phase};

/// Where the container is in its life.
pub(super) fn state(container: &ContainerRecord) -> v1::ContainerState {
    match container.phase {
        Phase::Creating => v1::ContainerState::ContainerUnknown,
        Phase::Created => v1::ContainerState::ContainerCreated,
        Phase::Running(_) => v1::ContainerState::ContainerRunning,
        Phase::Exited(_) => v1::ContainerState::ContainerExited,
    }
}

/// The container in a list.
pub(super) fn item(container: &ContainerRecord) -> v1::Container {
    let (image_ref, image_id) = image_names(container);
    v1::Container {
        id: container.id.to_string(),
        pod_sandbox_id: container.pod.to_string(),
        metadata: Some(container_metadata_to_cri(&container.config.metadata)),
        image: Some(image(container)),
        image_ref,
        state: state(container).into(),
        created_at: container.created_at_ns,
        labels: to_map(&container.config.labels),
        annotations: to_map(&container.config.annotations),
        image_id,
    }
}

/// The container's status.
pub(super) fn status(container: &ContainerRecord) -> v1::ContainerStatus {
    let config = &container.config;
    let made = container.made.as_ref();
    let (image_ref, image_id) = image_names(container);
    let mut status = v1::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(container_metadata_to_cri(&config.metadata)),
        state: state(container).into(),
        created_at: container.created_at_ns,
        image: Some(image(container)),
        image_ref,
        image_id,
        labels: to_map(&config.labels),
        annotations: to_map(&config.annotations),
        mounts: mounts(container),
        log_path: made.map(|m| m.log_path.display().to_string()).unwrap_or_default(),
        resources: Some(v1::ContainerResources {
            linux: Some(resources_to_cri(&container.resources)),
            windows: None,
        }),
        user: made.map(user),
        stop_signal: made
            .map_or(v1::Signal::RuntimeDefault, |m| signal_to_cri(m.stop_signal))
            .into(),
        ..Default::default()
    };
    match &container.phase {
        Phase::Creating | Phase::Created => {}
        Phase::Running(run) => status.started_at = run.started_at_ns,
        Phase::Exited(exit) => {
            status.started_at = exit.started_at_ns;
            status.finished_at = exit.finished_at_ns;
            status.exit_code = exit.code;
            status.reason = exit.cause.reason(exit.code).to_owned();
            status.message.clone_from(&exit.message);
        }
    }
    status
}

/// The image as asked for, by its name: a kubelet asks by id and shows its users what comes back.
fn image(container: &ContainerRecord) -> v1::ImageSpec {
    let mut spec = image_to_cri(&container.config.image);
    if let Some(made) = container.made.as_ref().filter(|made| !made.image_name.is_empty()) {
        spec.image.clone_from(&made.image_name);
    }
    spec
}

/// Digested reference and id of the image.
fn image_names(container: &ContainerRecord) -> (String, String) {
    container.made.as_ref().map(|m| (m.image_ref.clone(), m.image_id.clone())).unwrap_or_default()
}

/// The mounts as requested; those of images also say which image it came to be.
fn mounts(container: &ContainerRecord) -> Vec<v1::Mount> {
    let volumes = container.made.as_ref().map_or(&[][..], |m| &m.image_volumes);
    let with_image = |mount| {
        let mut shown = mount_to_cri(mount);
        if let Some(image) = &mut shown.image
            && let Some((_, id)) = volumes.iter().find(|(path, _)| *path == mount.container_path)
        {
            image.image_ref.clone_from(id);
        }
        shown
    };
    container.config.mounts.iter().map(with_image).collect()
}

fn user(made: &Made) -> v1::ContainerUser {
    v1::ContainerUser {
        linux: Some(v1::LinuxContainerUser {
            uid: made.user.uid.into(),
            gid: made.user.gid.into(),
            supplemental_groups: made.user.groups.iter().map(|g| i64::from(*g)).collect(),
        }),
    }
}

/// What a verbose status adds, as JSON. `spec` is the container's OCI configuration, if it could
/// be read. Values of the environment are left to the specification.
pub(super) fn info(container: &ContainerRecord, spec: Option<Value>) -> HashMap<String, String> {
    let mut config = json!(container.config);
    if let Some(config) = config.as_object_mut() {
        config.remove("envs");
    }
    let info = json!({
        "sandboxID": container.pod,
        "pid": container.running().map(|run| run.pid),
        "phase": container.phase,
        "cgroup": container.made.as_ref().map(|m| &m.cgroup),
        "config": config,
        "runtimeSpec": spec,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

#[cfg(test)]
pub(super) mod tests {
    use crisp_words::{ContainerId, SandboxId};

    use super::*;
    use crate::{
        containers::{
            record::{Cause, Exit, HostState, Run},
            spec::{ContainerConfig, ImageRequest, Mount, MountAccess, MountSource},
            users::ResolvedUser,
        },
        pods::{record::Answer, spec::Resources},
    };

    pub(in crate::cri) fn container(phase: Phase) -> ContainerRecord {
        let image = || ImageRequest { image: "vol".into(), ..Default::default() };
        ContainerRecord {
            id: ContainerId::new("c1").unwrap(),
            pod: SandboxId::new("p1").unwrap(),
            config: ContainerConfig {
                mounts: vec![
                    Mount { container_path: "/a".into(), ..Default::default() },
                    Mount {
                        container_path: "/b".into(),
                        source: MountSource::Image { image: image(), sub_path: String::new() },
                        access: MountAccess::ReadOnly,
                        ..Default::default()
                    },
                ],
                envs: vec![("TOKEN".into(), b"SECRET".to_vec())],
                ..Default::default()
            },
            created_at_ns: 5,
            phase,
            answer: Answer::Given,
            made: Some(Made {
                image_id: "sha256:1".into(),
                image_ref: "r@sha256:2".into(),
                image_name: "r:tag".into(),
                user: ResolvedUser { uid: 7, gid: 8, groups: vec![8, 9] },
                stop_signal: 15,
                log_path: "/var/log/pods/x/0.log".into(),
                cgroup: "/c".into(),
                image_volumes: vec![("/b".into(), "sha256:3".into())],
            }),
            resources: Resources { cpu_shares: 3, ..Default::default() },
            host: HostState::Held,
        }
    }

    fn ended(code: i32, cause: Cause) -> v1::ContainerStatus {
        let exit = Exit { started_at_ns: 6, finished_at_ns: 7, code, cause, message: "m".into() };
        status(&container(Phase::Exited(exit)))
    }

    #[test]
    fn times_and_code_appear_when_they_happen() {
        let created = status(&container(Phase::Created));
        assert_eq!((created.created_at, created.started_at, created.finished_at), (5, 0, 0));
        let running = status(&container(Phase::Running(Run { started_at_ns: 6, pid: 1 })));
        assert_eq!((running.started_at, running.finished_at), (6, 0));
        assert_eq!(running.state(), v1::ContainerState::ContainerRunning);
        let gone = ended(0, Cause::Ended);
        assert_eq!((gone.started_at, gone.finished_at, gone.exit_code), (6, 7, 0));
        assert_eq!((gone.reason.as_str(), gone.message.as_str()), ("Completed", "m"));
        assert_eq!(ended(137, Cause::OomKilled).reason, "OOMKilled");
    }

    #[test]
    fn an_image_volume_says_which_image_it_is() {
        let mounts = status(&container(Phase::Created)).mounts;
        assert!(mounts[0].image.is_none());
        let image = mounts[1].image.as_ref().unwrap();
        assert_eq!((image.image.as_str(), image.image_ref.as_str()), ("vol", "sha256:3"));
    }

    #[test]
    fn what_was_found_out_is_reported() {
        let status = status(&container(Phase::Created));
        assert_eq!(status.stop_signal(), v1::Signal::Sigterm);
        assert_eq!(
            (status.image_id.as_str(), status.image_ref.as_str()),
            ("sha256:1", "r@sha256:2")
        );
        assert_eq!(status.image.unwrap().image, "r:tag");
        let user = status.user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid, user.supplemental_groups), (7, 8, vec![8, 9]));
        assert_eq!(status.resources.unwrap().linux.unwrap().cpu_shares, 3);
    }

    #[test]
    fn verbose_info_holds_no_environment_of_its_own() {
        let info = info(&container(Phase::Created), None);
        assert!(!info["info"].contains("TOKEN"), "{info:?}");
    }
}
