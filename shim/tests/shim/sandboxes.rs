// SPDX-License-Identifier: Apache-2.0

use std::fs;

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, PingRequest, SandboxStatusRequest, ShutdownSandboxRequest,
    StartSandboxRequest, StopSandboxRequest, WaitSandboxRequest,
};
use crisp_podio::SandboxOptions;
use serde_json::json;
use ttrpc::Code;

use crate::bench::{Bench, alive, code, eventually, podio_any, soon, with_each};

fn request(bench: &Bench, change: impl FnOnce(&mut SandboxOptions)) -> CreateSandboxRequest {
    let mut options = SandboxOptions::new();
    options.own_ipc = true;
    options.own_uts = true;
    options.hostname = "pod-name".to_owned();
    options.shared_pid = true;
    options.pin_dir = bench.dir.path().join("pins").to_string_lossy().into_owned();
    options.runtime = Some(bench.runtime_options()).into();
    change(&mut options);
    CreateSandboxRequest {
        sandbox_id: "pod".to_owned(),
        bundle_path: bench.bundle("pod").to_string_lossy().into_owned(),
        options: Some(podio_any(&options)).into(),
        ..CreateSandboxRequest::default()
    }
}

fn sandbox_id() -> String {
    "pod".to_owned()
}

#[tokio::test]
async fn containers_share_a_sandboxes_namespaces() {
    with_each(|bench| async move {
        let create = request(&bench, |o| {
            o.sysctls.insert("kernel.sem".to_owned(), "100 200 30 40".to_owned());
        });
        bench.sandbox.create_sandbox(soon(), &create).await.unwrap();
        let start = StartSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        let init = bench.sandbox.start_sandbox(soon(), &start).await.unwrap().pid;
        let comm = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(comm(init), "crisp-init\n");
        assert_eq!(fs::read(format!("/proc/{init}/cmdline")).unwrap(), b"crisp-init\0");

        let pins = bench.dir.path().join("pins");
        let out = bench.bundle("c").join("rootfs/tmp/out");
        let script = "hostname; cat /proc/sys/kernel/sem; ps; sleep 0.2 & exit 4";
        bench.write_bundle("c", &["sh", "-c", &format!("({script}) > /tmp/out")], |spec| {
            let join = |kind: &str| json!({"type": kind, "path": pins.join(kind)});
            spec["linux"]["namespaces"] = json!([
                {"type": "mount"}, join("pid"), join("ipc"), join("uts"),
            ]);
        });
        let mut create = bench.create_request("c");
        create.options = None.into();
        bench.task.create(soon(), &create).await.unwrap();
        bench.start("c", "").await.unwrap();
        assert_eq!(bench.wait("c", "").await.exit_status, 4);
        let text = fs::read_to_string(out).unwrap();
        assert!(text.starts_with("pod-name\n100\t200\t30\t40\n"), "{text}");
        assert!(text.contains("crisp-init"), "{text}");
        bench.delete("c", "").await.unwrap();
        assert!(alive(init));

        let status = SandboxStatusRequest { sandbox_id: sandbox_id(), ..Default::default() };
        assert_eq!(
            bench.sandbox.sandbox_status(soon(), &status).await.unwrap().state,
            "SANDBOX_READY"
        );
        let stop = StopSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        bench.sandbox.stop_sandbox(soon(), &stop).await.unwrap();
        bench.sandbox.stop_sandbox(soon(), &stop).await.unwrap();
        assert!(!alive(init));
        assert_eq!(fs::read_dir(&pins).unwrap().count(), 0);
        let state = bench.sandbox.sandbox_status(soon(), &status).await.unwrap().state;
        assert_eq!(state, "SANDBOX_NOTREADY");
        let wait = WaitSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        bench.sandbox.wait_sandbox(soon(), &wait).await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn orphans_in_a_shared_pid_namespace_are_reaped_by_its_init() {
    with_each(|bench| async move {
        bench.sandbox.create_sandbox(soon(), &request(&bench, |_| ())).await.unwrap();
        let pins = bench.dir.path().join("pins");
        bench.write_bundle("c", &["sh", "-c", "(sleep 0.05 &) ; exec sleep 600"], |spec| {
            spec["linux"]["namespaces"] =
                json!([{"type": "mount"}, {"type": "pid", "path": pins.join("pid")}]);
        });
        bench.create("c").await;
        bench.start("c", "").await.unwrap();
        let start = StartSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        let init = bench.sandbox.start_sandbox(soon(), &start).await.unwrap().pid;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let children = format!("/proc/{init}/task/{init}/children");
        eventually("the orphan is reaped", || {
            fs::read_to_string(&children).unwrap().split_whitespace().count() == 0
        })
        .await;
        bench.kill("c", "", 9).await.unwrap();
        bench.wait("c", "").await;
        bench.delete("c", "").await.unwrap();
        let stop = StopSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        bench.sandbox.stop_sandbox(soon(), &stop).await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_pod_without_a_shared_pid_namespace_has_no_process() {
    with_each(|bench| async move {
        bench
            .sandbox
            .create_sandbox(soon(), &request(&bench, |o| o.shared_pid = false))
            .await
            .unwrap();
        let start = StartSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        assert_eq!(bench.sandbox.start_sandbox(soon(), &start).await.unwrap().pid, 0);
        let children = format!("/proc/{0}/task/{0}/children", bench.shim_pid);
        assert_eq!(fs::read_to_string(children).unwrap(), "");
        let pins = bench.dir.path().join("pins");
        assert_eq!(fs::read_dir(&pins).unwrap().count(), 2);
        let stop = StopSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        bench.sandbox.stop_sandbox(soon(), &stop).await.unwrap();
        bench
    })
    .await;
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_refused_and_leaves_nothing() {
    with_each(|bench| async move {
        let host = request(&bench, |o| drop(o.sysctls.insert("vm.swappiness".into(), "1".into())));
        let error = bench.sandbox.create_sandbox(soon(), &host).await.unwrap_err();
        assert_eq!(code(&error), Code::INVALID_ARGUMENT);
        let net =
            request(&bench, |o| drop(o.sysctls.insert("net.ipv4.ip_forward".into(), "1".into())));
        let error = bench.sandbox.create_sandbox(soon(), &net).await.unwrap_err();
        assert!(error.to_string().contains("net.ipv4.ip_forward"), "{error}");
        let bad =
            request(&bench, |o| drop(o.sysctls.insert("kernel.sem".into(), "nonsense".into())));
        let error = bench.sandbox.create_sandbox(soon(), &bad).await.unwrap_err();
        assert!(error.to_string().contains("kernel.sem = nonsense"), "{error}");
        assert!(!bench.dir.path().join("pins").exists());
        let ping = PingRequest { sandbox_id: sandbox_id(), ..PingRequest::default() };
        assert_eq!(
            code(&bench.sandbox.ping_sandbox(soon(), &ping).await.unwrap_err()),
            Code::NOT_FOUND
        );
        bench.sandbox.create_sandbox(soon(), &request(&bench, |_| ())).await.unwrap();
        bench.sandbox.ping_sandbox(soon(), &ping).await.unwrap();
        let shutdown = ShutdownSandboxRequest { sandbox_id: sandbox_id(), ..Default::default() };
        bench.sandbox.shutdown_sandbox(soon(), &shutdown).await.unwrap();
        eventually("the shim is gone", || !alive(bench.shim_pid)).await;
        assert_eq!(fs::read_dir(bench.dir.path().join("pins")).unwrap().count(), 0);
        Bench::new(bench.kind, bench.runtime_options().binary.into()).await
    })
    .await;
}
