// SPDX-License-Identifier: Apache-2.0
//! Attachments: other processes that watch a container's output and feed its input.

mod client;
mod frame;
mod hub;
mod socket;

pub(super) use client::Feed;
pub(super) use hub::Hub;
pub(super) use socket::offer;
