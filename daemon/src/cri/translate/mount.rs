// SPDX-License-Identifier: Apache-2.0

use std::path::{Component, Path};

use crisp_cri::{self as v1, MountPropagation};

use super::{
    container::{image, image_to_cri},
    namespaces::{id_mapping, id_mapping_to_cri},
    scalars::{Invalid, absolute, no_nul, path_text, unknown_number},
};
use crate::containers::spec::{Mount, MountAccess, MountSource, Propagation, SelinuxRelabel};

/// Extra options a mount may ask for.
const OPTIONS: [&str; 3] = ["noexec", "nodev", "nosuid"];

/// A mount, from the wire.
pub(super) fn mount(at: &str, mount: v1::Mount) -> Result<Mount, Invalid> {
    let propagation = propagation(&format!("{at}.propagation"), mount.propagation)?;
    let access = access(at, &mount, propagation)?;
    let field = format!("{at}.mount_options");
    if let Some(odd) = mount.mount_options.iter().find(|o| !OPTIONS.contains(&o.as_str())) {
        let reason = format!("{odd:?} is none of {}", OPTIONS.join(", "));
        return Err(Invalid::new(field, reason));
    }
    let mappings = |name: &str, given: &[v1::IdMapping]| {
        let field = format!("{at}.{name}");
        given.iter().map(|m| id_mapping(&field, m)).collect::<Result<Vec<_>, _>>()
    };
    let uid_mappings = mappings("uidMappings", &mount.uid_mappings)?;
    let gid_mappings = mappings("gidMappings", &mount.gid_mappings)?;
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        return Err(Invalid::new(at, "user ids are mapped without group ids, or the reverse"));
    }
    Ok(Mount {
        container_path: absolute(&format!("{at}.container_path"), mount.container_path)?,
        source: source(at, mount.host_path, mount.image, mount.image_sub_path, access)?,
        access,
        selinux: if mount.selinux_relabel { SelinuxRelabel::Relabel } else { SelinuxRelabel::Keep },
        propagation,
        uid_mappings,
        gid_mappings,
        options: mount.mount_options,
    })
}

fn propagation(field: &str, number: i32) -> Result<Propagation, Invalid> {
    match MountPropagation::try_from(number).map_err(|e| unknown_number(field, e.0))? {
        MountPropagation::PropagationPrivate => Ok(Propagation::Private),
        MountPropagation::PropagationHostToContainer => Ok(Propagation::HostToContainer),
        MountPropagation::PropagationBidirectional => Ok(Propagation::Bidirectional),
    }
}

/// Read-only all the way down only makes sense on a read-only mount that nothing can appear in.
fn access(at: &str, mount: &v1::Mount, propagation: Propagation) -> Result<MountAccess, Invalid> {
    let field = format!("{at}.recursive_read_only");
    match (mount.recursive_read_only, mount.readonly) {
        (false, false) => Ok(MountAccess::ReadWrite),
        (false, true) => Ok(MountAccess::ReadOnly),
        (true, false) => Err(Invalid::new(field, "needs readonly")),
        (true, true) if propagation != Propagation::Private => {
            Err(Invalid::new(field, "needs propagation PROPAGATION_PRIVATE"))
        }
        (true, true) => Ok(MountAccess::RecursiveReadOnly),
    }
}

fn source(
    at: &str,
    host_path: String,
    given: Option<v1::ImageSpec>,
    sub_path: String,
    access: MountAccess,
) -> Result<MountSource, Invalid> {
    let Some(spec) = given else {
        if !sub_path.is_empty() {
            return Err(Invalid::new(format!("{at}.image_sub_path"), "is given without an image"));
        }
        return Ok(MountSource::Host(absolute(&format!("{at}.host_path"), host_path)?));
    };
    if !host_path.is_empty() {
        return Err(Invalid::new(format!("{at}.host_path"), "is given together with an image"));
    }
    if access == MountAccess::ReadWrite {
        return Err(Invalid::new(format!("{at}.readonly"), "an image is mounted read-only"));
    }
    let field = format!("{at}.image_sub_path");
    no_nul(&field, sub_path.as_bytes())?;
    let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
    if !Path::new(&sub_path).components().all(inside) {
        return Err(Invalid::new(field, format!("{sub_path:?} is not a path within the image")));
    }
    Ok(MountSource::Image { image: image(&format!("{at}.image"), Some(spec))?, sub_path })
}

/// A mount, to the wire: as it was asked for.
#[must_use]
pub fn mount_to_cri(mount: &Mount) -> v1::Mount {
    let (host_path, image, image_sub_path) = match &mount.source {
        MountSource::Host(path) => (path_text(path), None, String::new()),
        MountSource::Image { image, sub_path } => {
            (String::new(), Some(image_to_cri(image)), sub_path.clone())
        }
    };
    let propagation = match mount.propagation {
        Propagation::Private => MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => MountPropagation::PropagationBidirectional,
    };
    v1::Mount {
        container_path: path_text(&mount.container_path),
        host_path,
        readonly: mount.access != MountAccess::ReadWrite,
        selinux_relabel: mount.selinux == SelinuxRelabel::Relabel,
        propagation: propagation.into(),
        uid_mappings: mount.uid_mappings.iter().map(id_mapping_to_cri).collect(),
        gid_mappings: mount.gid_mappings.iter().map(id_mapping_to_cri).collect(),
        recursive_read_only: mount.access == MountAccess::RecursiveReadOnly,
        image,
        image_sub_path,
        mount_options: mount.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> v1::Mount {
        v1::Mount { container_path: "/c".into(), host_path: "/h".into(), ..Default::default() }
    }

    fn image_mount() -> v1::Mount {
        let image = v1::ImageSpec { image: "i".into(), ..Default::default() };
        v1::Mount { host_path: String::new(), readonly: true, image: Some(image), ..host() }
    }

    #[track_caller]
    fn refused(given: v1::Mount, field: &str) {
        let error = mount("m", given).expect_err("was accepted");
        assert_eq!(error.field, format!("m.{field}"), "{error}");
    }

    #[test]
    fn recursive_read_only_needs_readonly_and_private_propagation() {
        let rro = v1::Mount { recursive_read_only: true, readonly: true, ..host() };
        assert_eq!(mount("m", rro.clone()).unwrap().access, MountAccess::RecursiveReadOnly);
        refused(v1::Mount { readonly: false, ..rro.clone() }, "recursive_read_only");
        for propagation in [1, 2] {
            refused(v1::Mount { propagation, ..rro.clone() }, "recursive_read_only");
        }
    }

    #[test]
    fn an_image_is_mounted_read_only_and_instead_of_a_path() {
        assert!(mount("m", image_mount()).is_ok());
        refused(v1::Mount { readonly: false, ..image_mount() }, "readonly");
        refused(v1::Mount { host_path: "/h".into(), ..image_mount() }, "host_path");
    }

    #[test]
    fn a_sub_path_stays_within_its_image() {
        let sub = |path: &str| v1::Mount { image_sub_path: path.into(), ..image_mount() };
        assert!(mount("m", sub("etc/x")).is_ok());
        refused(sub("../etc"), "image_sub_path");
        refused(sub("/etc"), "image_sub_path");
        refused(v1::Mount { image_sub_path: "etc".into(), ..host() }, "image_sub_path");
    }

    #[test]
    fn only_options_that_can_be_applied_are_taken() {
        let with = |o: &str| v1::Mount { mount_options: vec![o.into()], ..host() };
        assert_eq!(mount("m", with("noexec")).unwrap().options, ["noexec"]);
        refused(with("suid"), "mount_options");
    }

    #[test]
    fn paths_are_absolute_and_propagation_is_known() {
        refused(v1::Mount { container_path: "c".into(), ..host() }, "container_path");
        refused(v1::Mount { host_path: String::new(), ..host() }, "host_path");
        refused(v1::Mount { host_path: "/a\0b".into(), ..host() }, "host_path");
        refused(v1::Mount { propagation: 3, ..host() }, "propagation");
    }
}
