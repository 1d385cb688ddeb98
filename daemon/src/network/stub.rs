//! stub
use crate::pods::spec::*;
use crisp_words::SandboxId;
use std::{net::IpAddr, path::PathBuf};
pub struct AttachRequest {
    pub pod: SandboxId,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub netns: PathBuf,
    pub port_mappings: Vec<PortMapping>,
    pub dns: Option<DnsConfig>,
    pub cgroup_parent: String,
    pub annotations: Pairs,
}
pub struct Attachment {
    pub ips: Vec<IpAddr>,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct NetworkError;
pub struct Network;
pub struct Options;
impl Options {
    pub fn of(_: &crate::config::Config) -> Self {
        Self
    }
}
impl Network {
    pub async fn open(_: Options) -> Result<Self, NetworkError> {
        Ok(Self)
    }
    pub async fn attach(&self, _: &AttachRequest) -> Result<Attachment, NetworkError> {
        Ok(Attachment { ips: vec!["10.9.9.9".parse().unwrap()] })
    }
    pub async fn detach(&self, _: &SandboxId) -> Result<(), NetworkError> {
        Ok(())
    }
}
