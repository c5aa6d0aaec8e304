//! A client that keeps a server connection (LISTEN, temporary tables, pool mode session) hears what
//! that server says while nobody asks: notifications, notices, its end.

use std::future::poll_fn;
use std::task::Poll;

use bytes::BytesMut;
use wire::backend::tag;

use super::fault::Fault;
use super::state::Session;
use crate::backend::{ServerError, poll_read};

/// Bytes of one read from the client.
const READ_BYTES: usize = 8 * 1024;

/// What came first.
enum Woken {
    Client(std::io::Result<usize>),
    /// Position in `held`.
    Server(usize, std::io::Result<()>),
    Stop,
}

impl Session {
    /// Waits for the client, and passes on meanwhile what the held connections say.
    pub(super) async fn wait_for_client_or_held(
        &mut self,
        inbuf: &mut BytesMut,
    ) -> Result<(), Fault> {
        inbuf.reserve(READ_BYTES);
        let shared = std::rc::Rc::clone(&self.shared);
        loop {
            self.pass_on_held()?;
            self.flush().await?;
            let stopped = shared.stop.notified();
            tokio::pin!(stopped);
            let woken = poll_fn(|cx| {
                if let Poll::Ready(read) = poll_read(&mut self.client, cx, inbuf) {
                    return Poll::Ready(Woken::Client(read));
                }
                for (position, server) in self.held.iter_mut().enumerate() {
                    if let Poll::Ready(result) = server.poll_exchange(cx) {
                        return Poll::Ready(Woken::Server(position, result));
                    }
                }
                if std::future::Future::poll(stopped.as_mut(), cx).is_ready() {
                    return Poll::Ready(Woken::Stop);
                }
                Poll::Pending
            })
            .await;
            match woken {
                Woken::Client(Ok(0)) => {
                    return Err(Fault::ClientGone(std::io::ErrorKind::UnexpectedEof.into()));
                }
                Woken::Client(result) => return Ok(result.map(|_| ())?),
                Woken::Server(_, Ok(())) => {}
                Woken::Server(position, Err(error)) => self.held_is_lost(position, error).await?,
                Woken::Stop => self.asked_to_stop()?,
            }
        }
    }

    /// Whole messages of held connections go to the client.
    fn pass_on_held(&mut self) -> Result<(), Fault> {
        for server in &mut self.held {
            while let Some(header) = server.peek()? {
                if server.inbuf.len() < header.length {
                    break;
                }
                let message = server.inbuf.split_to(header.length);
                match header.tag {
                    tag::PARAMETER_STATUS => {
                        server.note(header.tag, &message[5..], &self.worker.parameters);
                        self.out.extend_from_slice(&message);
                    }
                    tag::NOTIFICATION_RESPONSE | tag::NOTICE_RESPONSE | tag::ERROR_RESPONSE => {
                        self.out.extend_from_slice(&message);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The server has closed a held connection. What the client kept there is gone: as on a direct
    /// connection, its session ends. One that only pool mode session kept is let go.
    async fn held_is_lost(&mut self, position: usize, error: std::io::Error) -> Result<(), Fault> {
        self.pass_on_held()?;
        let mut server = self.held.swap_remove(position);
        server.broken = true;
        let lost = ServerError::Lost(server.shard, error);
        self.worker.pools.give_back(server);
        if !self.pinned {
            return Ok(());
        }
        self.flush().await?;
        Err(Fault::ClientGone(std::io::Error::other(lost)))
    }
}
