// SPDX-License-Identifier: Apache-2.0
//! `runtime.v1.ImageService`: every method, each a line that calls its group's file.

use crisp_cri::image_service_server::ImageService;
use tonic::async_trait;

use super::Cri;

#[async_trait]
impl ImageService for Cri {}
