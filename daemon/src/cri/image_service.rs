// SPDX-License-Identifier: Apache-2.0
//! `runtime.v1.ImageService`: every method, each a line that calls its group's file.

use crisp_cri::{self as v1, image_service_server::ImageService};
use tonic::{Request, Response, Status, async_trait};

use super::{Cri, events::Answers, lists::in_chunks};

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl ImageService for Cri {
    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Answer<v1::ListImagesResponse> {
        self.images(request.into_inner().filter)
            .map(|images| v1::ListImagesResponse { images })
            .map(Response::new)
    }

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Answer<Answers<v1::StreamImagesResponse>> {
        let items = self.images(request.into_inner().filter)?;
        Ok(Response::new(in_chunks(items, |images| v1::StreamImagesResponse { images })))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        Cri::image_status(self, request.into_inner()).map(Response::new)
    }

    async fn pull_image(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Answer<v1::PullImageResponse> {
        self.pull(request.into_inner()).await.map(Response::new)
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        Cri::remove_image(self, request.into_inner()).await.map(Response::new)
    }

    async fn image_fs_info(
        &self,
        _: Request<v1::ImageFsInfoRequest>,
    ) -> Answer<v1::ImageFsInfoResponse> {
        Ok(Response::new(self.image_fs()))
    }
}
