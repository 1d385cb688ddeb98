// SPDX-License-Identifier: Apache-2.0
//! The test images, by the references critest uses. The endpoint reaches them through mirrors.

/// The shell most containers run: busybox with the applets and texts critest asserts.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";
/// Serves `GET /` on port 80; PID 1 is called `nginx: master process`.
pub const NGINX: &str = "registry.k8s.io/e2e-test-images/nginx:1.14-2";
/// Serves `GET /` on port 80 and logs a line that holds `httpd`.
pub const HTTPD: &str = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4";
/// A setuid-root program that prints `Effective uid: N`.
pub const NO_NEW_PRIVS: &str = "registry.k8s.io/e2e-test-images/nonewprivs:1.3";
/// The same image on two registries.
pub const PAUSE: [&str; 2] = ["registry.k8s.io/pause:3.9", "k8s.gcr.io/pause:3.9"];
/// User 1000, whom `/etc/group` puts into group 50000.
pub const PREDEFINED_GROUP: &str = "gcr.io/k8s-staging-cri-tools/test-image-predefined-group";
/// An image without a tag in its reference.
pub const LATEST: &str = "gcr.io/k8s-staging-cri-tools/test-image-latest";
/// An image by tag, which runs as a container.
pub const TAGGED: &str = "gcr.io/k8s-staging-cri-tools/test-image-tag:test";
/// An image for all kinds of references.
pub const ALL_REFERENCES: &str = "gcr.io/k8s-staging-cri-tools/test-image-tag:all";
/// Three different images.
pub const THREE: [&str; 3] = [
    "gcr.io/k8s-staging-cri-tools/test-image-1:latest",
    "gcr.io/k8s-staging-cri-tools/test-image-2:latest",
    "gcr.io/k8s-staging-cri-tools/test-image-3:latest",
];
/// One image under three tags.
pub const THREE_TAGS: [&str; 3] = [
    "gcr.io/k8s-staging-cri-tools/test-image-tags:1",
    "gcr.io/k8s-staging-cri-tools/test-image-tags:2",
    "gcr.io/k8s-staging-cri-tools/test-image-tags:3",
];
/// Images with their user, as (reference, uid, user name).
pub const USERS: [(&str, Option<i64>, &str); 4] = [
    ("gcr.io/k8s-staging-cri-tools/test-image-user-uid", Some(1002), ""),
    ("gcr.io/k8s-staging-cri-tools/test-image-user-username", None, "www-data"),
    ("gcr.io/k8s-staging-cri-tools/test-image-user-uid-group", Some(1003), ""),
    ("gcr.io/k8s-staging-cri-tools/test-image-user-username-group", None, "www-data"),
];
