// SPDX-License-Identifier: Apache-2.0
//! Mounts and devices of containers.

use crisp_cri::*;

use crate::case::{Outcome, cases, skip};
use crate::edit::EditContainer as _;
use crate::fixture::Test;
use crate::want::{contains, equal, refused, so};

cases! { "volume";
    "a host directory is mounted" => directory,
    "a host path that is a symlink is followed" => symlink,
    "a host file is mounted" => file,
    "files written in a volume are on the host" => written,
    "a readonly mount refuses writes" => readonly,
    "nested mounts work in any order of the list" => nested,
    "the same host path can be mounted twice" => twice,
    "a mount over a directory of the image hides it" => hides,
    "a mount may replace /etc/hosts" => etc_hosts,
    "status echoes the mounts as they were asked" => echoed,
    "a missing host path is refused" => missing_source,
    "a mount without a container path is refused" => no_target,
    "a mount with options has them" => options,
    "containers of a pod share a volume" => shared,
    "a device is made in the container" => device,
    "a device's permissions are enforced" => device_permissions,
    "a missing device is refused" => missing_device,
    "unknown device permissions are refused" => bad_permissions,
    "the usual devices are there" => usual_devices,
    "an unresolved CDI device is refused" => unknown_cdi,
    "/dev/shm is a tmpfs the pod's containers share" => shm,
    "/dev/shm holds 64 MiB" => shm_size,
    "/dev/mqueue and /dev/pts are mounted" => dev_mounts,
}

async fn directory(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    t.make_file("volume/file", "from the host")?;
    let path = volume.display().to_string();
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&volume, &path);
        })
        .await?;
    equal(
        "the file in the container",
        container.sh(&format!("cat {path}/file")).await?,
        "from the host",
    )
}

async fn symlink(t: Test) -> Outcome {
    t.make_dir("real")?;
    t.make_file("real/file", "behind the link")?;
    let link = t.dir().join("link");
    std::os::unix::fs::symlink(t.dir().join("real"), &link)?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&link, "/volume");
        })
        .await?;
    equal("the file in the container", container.sh("cat /volume/file").await?, "behind the link")?;
    let mounts = container.status().await?.mounts;
    equal("ContainerStatus.mounts", &mounts, &container.config.mounts)
}

async fn file(t: Test) -> Outcome {
    let file = t.make_file("file", "one file")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&file, "/new/place/file");
        })
        .await?;
    equal("the file in the container", container.sh("cat /new/place/file").await?, "one file")
}

async fn written(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&volume, "/volume");
        })
        .await?;
    container.sh("echo hello >/volume/file").await?;
    equal("the file on the host", std::fs::read_to_string(volume.join("file"))?, "hello\n")
}

async fn readonly(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let container = t.pod().await?.start(|c| c.bind(&volume, "/volume").readonly = true).await?;
    let ran = container.exec(&["touch", "/volume/file"]).await?;
    so("touch fails", ran.code != 0, &ran)?;
    contains("stderr of touch", &ran.stderr, "Read-only file system")
}

async fn nested(t: Test) -> Outcome {
    let (outer, inner) = (t.make_dir("outer")?, t.make_dir("inner")?);
    t.make_file("inner/file", "inner")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&inner, "/volume/deep/inner");
            c.bind(&outer, "/volume");
        })
        .await?;
    equal("the inner file", container.sh("cat /volume/deep/inner/file").await?, "inner")
}

async fn twice(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&volume, "/one").readonly = true;
            c.bind(&volume, "/two");
        })
        .await?;
    container.sh("echo x >/two/file").await?;
    equal("the file by the other path", container.sh("cat /one/file").await?, "x")?;
    let ran = container.exec(&["touch", "/one/other"]).await?;
    so("the readonly path refuses writes", ran.code != 0, ran)
}

async fn hides(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    t.make_file("volume/mine", "")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&volume, "/usr");
        })
        .await?;
    equal("ls /usr", container.sh("ls /usr").await?, "mine")
}

async fn etc_hosts(t: Test) -> Outcome {
    let file = t.make_file("hosts", "127.0.0.1 mine\n")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            c.bind(&file, "/etc/hosts");
        })
        .await?;
    equal("/etc/hosts", container.sh("cat /etc/hosts").await?, "127.0.0.1 mine")
}

async fn echoed(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let container = t
        .pod()
        .await?
        .start(|c| {
            let mount = c.bind(&volume, "/one");
            mount.readonly = true;
            mount.selinux_relabel = true;
            c.bind(&volume, "/two").propagation = MountPropagation::PropagationPrivate.into();
        })
        .await?;
    let mounts = container.status().await?.mounts;
    equal("ContainerStatus.mounts", &mounts, &container.config.mounts)
}

async fn missing_source(t: Test) -> Outcome {
    let missing = t.dir().join("missing");
    let pod = t.pod().await?;
    let result = pod
        .create(|c| {
            c.bind(&missing, "/volume");
        })
        .await
        .map(drop);
    let error = refused("CreateContainer", result)?;
    let path = missing.display().to_string();
    contains("the error", error.status.message(), &path)?;
    equal("containers of the pod", pod.containers().await?, vec![])
}

async fn no_target(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let pod = t.pod().await?;
    let result = async {
        let container = pod
            .create(|c| {
                c.bind(&volume, "");
            })
            .await?;
        container.start().await
    };
    refused("a mount without a container path", result.await).map(drop)
}

async fn options(t: Test) -> Outcome {
    if !t.features().mount_options {
        return skip("the runtime does not report the feature mount_options");
    }
    let volume = t.make_dir("volume")?;
    let edit = |c: &mut ContainerConfig| {
        c.bind(&volume, "/volume").mount_options =
            ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    };
    let container = t.pod().await?.start(edit).await?;
    let line = container.sh("grep ' /volume ' /proc/self/mountinfo").await?;
    for option in ["noexec", "nosuid", "nodev"] {
        contains("mountinfo of the volume", &line, option)?;
    }
    let ran = container.exec(&["sh", "-c", "cp /bin/true /volume/x && /volume/x"]).await?;
    so("a program on a noexec mount does not run", ran.code != 0, ran)
}

async fn shared(t: Test) -> Outcome {
    let volume = t.make_dir("volume")?;
    let pod = t.pod().await?;
    let one = pod
        .start(|c| {
            c.bind(&volume, "/one");
        })
        .await?;
    let two = pod
        .start(|c| {
            c.bind(&volume, "/two");
        })
        .await?;
    one.sh("echo hello >/one/file").await?;
    equal("the file in the other container", two.sh("cat /two/file").await?, "hello")
}

fn add_device(c: &mut ContainerConfig, host: &str, container: &str, permissions: &str) {
    c.devices.push(Device {
        host_path: host.to_owned(),
        container_path: container.to_owned(),
        permissions: permissions.to_owned(),
    });
}

async fn device(t: Test) -> Outcome {
    let edit = |c: &mut ContainerConfig| add_device(c, "/dev/zero", "/dev/conformance", "rwm");
    let container = t.pod().await?.start(edit).await?;
    let script = "test -c /dev/conformance && head -c 4 /dev/conformance | od -An -tx1";
    equal("bytes of the device", container.sh(script).await?.trim(), "00 00 00 00")
}

async fn device_permissions(t: Test) -> Outcome {
    let pod = t.pod().await?;
    // Opening for writing writes nothing.
    let script = "sh -c ': >/dev/kmsg'";
    let may = pod.start(|c| add_device(c, "/dev/kmsg", "/dev/kmsg", "rw")).await?;
    may.sh(script).await?;
    let must_not = pod.start(|c| add_device(c, "/dev/kmsg", "/dev/kmsg", "r")).await?;
    let ran = must_not.exec(&["sh", "-c", script]).await?;
    so("opening for writing fails where only reading is allowed", ran.code != 0, &ran)?;
    contains("stderr", &ran.stderr.to_lowercase(), "not permitted")
}

async fn missing_device(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| add_device(c, "/dev/no-such-device", "/dev/x", "rwm");
    let error = refused("CreateContainer", pod.create(edit).await.map(drop))?;
    contains("the error", error.status.message(), "/dev/no-such-device")
}

async fn bad_permissions(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let edit = |c: &mut ContainerConfig| add_device(c, "/dev/zero", "/dev/x", "rx");
    let result = async { pod.create(edit).await?.start().await };
    refused("device permissions \"rx\"", result.await).map(drop)
}

async fn usual_devices(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; \
        for l in fd stdin stdout stderr ptmx; do test -e /dev/$l || test -L /dev/$l || echo $l; done";
    equal("missing in /dev", container.sh(script).await?, "")
}

async fn unknown_cdi(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let name = "conformance.example/class=no-such-device";
    let edit = |c: &mut ContainerConfig| c.cdi_devices.push(CdiDevice { name: name.to_owned() });
    let error = refused("CreateContainer", pod.create(edit).await.map(drop))?;
    contains("the error", error.status.message(), name)
}

async fn shm(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let (one, two) = (pod.idle().await?, pod.idle().await?);
    contains("mount of /dev/shm", &one.sh("grep ' /dev/shm ' /proc/mounts").await?, "tmpfs")?;
    one.sh("echo hello >/dev/shm/file").await?;
    equal("the file in the other container", two.sh("cat /dev/shm/file").await?, "hello")
}

async fn shm_size(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let size = container.sh("df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2").await?;
    equal("KiB of /dev/shm", size, "65536")
}

async fn dev_mounts(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let mounts = container.sh("cat /proc/mounts").await?;
    contains("mounts", &mounts, " /dev/mqueue mqueue ")?;
    contains("mounts", &mounts, " /dev/pts devpts ")
}
