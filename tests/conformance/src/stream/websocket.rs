// SPDX-License-Identifier: Apache-2.0
//! `v5.channel.k8s.io`: each message is for the channel that its first byte names.

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest as _, http::HeaderValue, protocol::frame::coding::CloseCode,
};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Event, dial};

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A client of an exec or an attach.
pub struct Session(WebSocketStream<TcpStream>);

impl Session {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let (stream, host, path) = dial(url).await?;
        let mut request = format!("ws://{host}{path}").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        let (socket, answer) = client_async(request, stream)
            .await
            .with_context(|| format!("WebSocket upgrade of {url}"))?;
        let chosen = answer.headers().get("sec-websocket-protocol");
        let chosen = chosen.map(HeaderValue::as_bytes);
        ensure!(chosen == Some(PROTOCOL.as_bytes()), "expected {PROTOCOL}, came {chosen:?}");
        Ok(Self(socket))
    }

    async fn message(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = [&[channel], bytes].concat();
        Ok(self.0.send(Message::Binary(message.into())).await?)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.message(STDIN, bytes).await
    }

    pub(super) async fn end_stdin(&mut self) -> Result<()> {
        self.message(CLOSE, &[STDIN]).await
    }

    pub(super) async fn resize(&mut self, size: &[u8]) -> Result<()> {
        self.message(RESIZE, size).await
    }

    pub(super) async fn next(&mut self) -> Result<Event> {
        loop {
            let message = self.0.next().await.context("the connection broke")??;
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Close(Some(close)) if close.code == CloseCode::Normal => {
                    return Ok(Event::End);
                }
                Message::Ping(_) | Message::Pong(_) => continue,
                other => bail!("expected a binary message, came {other:?}"),
            };
            match bytes.split_first() {
                None | Some((_, [])) => {}
                Some((1, bytes)) => return Ok(Event::Stdout(bytes.to_vec())),
                Some((2, bytes)) => return Ok(Event::Stderr(bytes.to_vec())),
                Some((3, bytes)) => return Ok(Event::Error(bytes.to_vec())),
                Some((channel, _)) => bail!("a message came on channel {channel}"),
            }
        }
    }
}
