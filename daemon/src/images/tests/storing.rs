// SPDX-License-Identifier: Apache-2.0

use super::*;

#[tokio::test]
async fn a_container_keeps_its_layers_over_removal_and_restart() {
    let registry = RegistryProcess::start(LogIn::Nobody).await;
    registry.push("app", "1", &TestImage::small("held")).await;
    let mut room = Room::new();
    let id = room.pull(&registry.name("app:1")).await.unwrap();
    let container = ContainerId::new("c1").unwrap();
    room.images.hold(&container, &id).await.unwrap();
    let layers = room.layers();
    room.images.remove(id.as_str()).await.unwrap().unwrap();
    assert_eq!(room.layers(), layers);
    room.reopen();
    assert_eq!(room.layers(), layers);
    assert_eq!(room.images.holders(), std::slice::from_ref(&container));
    // The layers serve a new pull of the same image.
    room.pull(&registry.name("app:1")).await.unwrap();
    room.images.remove(id.as_str()).await.unwrap().unwrap();
    room.images.release(&container).await.unwrap();
    room.images.release(&container).await.unwrap();
    assert_eq!(room.layers(), Vec::<String>::new());
    let error = room.images.hold(&container, &id).await.unwrap_err();
    assert!(matches!(error, ImageError::NotStored { .. }), "{error}");
    room.assert_clean().await;
}

#[tokio::test]
async fn removing_what_is_not_here_is_no_error() {
    let room = Room::new();
    assert_eq!(room.images.remove(&"0".repeat(64)).await.unwrap(), None);
    assert_eq!(room.images.remove("busybox").await.unwrap(), None);
    assert!(room.images.remove("bad name").await.is_err());
    assert_eq!(room.images.list(Some("busybox")).unwrap(), []);
}
