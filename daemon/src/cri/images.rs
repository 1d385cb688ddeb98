// SPDX-License-Identifier: Apache-2.0
//! Images and the disk they take.

use std::{collections::HashMap, time::Instant};

use crisp_cri as v1;
use serde_json::json;
use tonic::Status;

use super::{
    Cri,
    status::refuse,
    translate::{Invalid, pairs, to_map},
};
use crate::{
    images::{AuthFields, Image, ImageUser, PullRequest},
    pods::{clock, progress::Stage},
    server::seen,
};

impl Cri {
    pub(super) fn images(&self, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, Status> {
        let wanted = filter.and_then(|f| f.image).map(|spec| spec.image).unwrap_or_default();
        let wanted = Some(wanted.as_str()).filter(|w| !w.is_empty());
        Ok(self.node.context.images.list(wanted).map_err(refuse)?.iter().map(shown).collect())
    }

    pub(super) fn image_status(
        &self,
        request: v1::ImageStatusRequest,
    ) -> Result<v1::ImageStatusResponse, Status> {
        let name = named(request.image)?.image;
        seen(&name);
        let image = self.node.context.images.status(&name).map_err(refuse)?;
        let info = match &image {
            Some(image) if request.verbose => info(image),
            _ => HashMap::new(),
        };
        Ok(v1::ImageStatusResponse { image: image.as_ref().map(shown), info })
    }

    pub(super) async fn pull(
        &self,
        request: v1::PullImageRequest,
    ) -> Result<v1::PullImageResponse, Status> {
        let spec = named(request.image)?;
        seen(&spec.image);
        self.node.context.handlers.choose(&spec.runtime_handler).map_err(refuse)?;
        let context = &self.node.context;
        let _stage = context.progress.begin(Stage::Pull, &spec.image);
        let began = Instant::now();
        let request = PullRequest {
            reference: spec.image,
            auth: request.auth.map(auth),
            annotations: pairs(spec.annotations),
        };
        let pulled = context.images.pull(request).await.map_err(refuse);
        context.metrics.pull_ended(pulled.as_ref().err().map(Status::code), began.elapsed());
        let id = pulled?;
        Ok(v1::PullImageResponse { image_ref: id.to_string() })
    }

    pub(super) async fn remove_image(
        &self,
        request: v1::RemoveImageRequest,
    ) -> Result<v1::RemoveImageResponse, Status> {
        let name = named(request.image)?.image;
        seen(&name);
        self.node.context.images.remove(&name).await.map_err(refuse)?;
        Ok(v1::RemoveImageResponse {})
    }

    pub(super) fn image_fs(&self) -> v1::ImageFsInfoResponse {
        let info = self.node.context.images.fs_info();
        let usage = v1::FilesystemUsage {
            timestamp: clock::now_ns(),
            fs_id: Some(v1::FilesystemIdentifier {
                mountpoint: info.mountpoint.display().to_string(),
            }),
            used_bytes: Some(v1::UInt64Value { value: info.used_bytes }),
            inodes_used: Some(v1::UInt64Value { value: info.inodes_used }),
        };
        // Writable layers lie on the same filesystem, which is what an empty second list says.
        v1::ImageFsInfoResponse { image_filesystems: vec![usage], container_filesystems: vec![] }
    }
}

fn named(spec: Option<v1::ImageSpec>) -> Result<v1::ImageSpec, Status> {
    match spec {
        Some(spec) if !spec.image.is_empty() => Ok(spec),
        _ => Err(refuse(Invalid::new("image.image", "is empty"))),
    }
}

fn auth(auth: v1::AuthConfig) -> AuthFields {
    AuthFields {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    }
}

fn shown(image: &Image) -> v1::Image {
    let (uid, username) = match &image.user {
        ImageUser::Uid(uid) => (Some(v1::Int64Value { value: *uid }), String::new()),
        ImageUser::Name(name) => (None, name.clone()),
    };
    v1::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        uid,
        username,
        spec: Some(v1::ImageSpec {
            image: image.id.to_string(),
            annotations: to_map(&image.annotations),
            ..Default::default()
        }),
        pinned: image.pinned,
    }
}

/// What a verbose status adds, as JSON.
fn info(image: &Image) -> HashMap<String, String> {
    let info = json!({ "id": image.id, "imageSpec": { "config": image.config } });
    HashMap::from([("info".to_owned(), info.to_string())])
}
