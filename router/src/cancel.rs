//! Cancel requests: from a client's key to its session's worker, and from there to the shards.
//!
//! Owns the keys that clients were told. A statement costs nothing here: the registry is touched
//! when a session starts, ends or is cancelled; what a session runs where, only its worker knows.
//! Must never know a statement.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;

use crate::stream::Stream;
use crate::worker::{SessionId, WorkerHandle, WorkerMessage};

/// What a client must show to cancel: sent to it as BackendKeyData.
#[derive(Clone, Copy)]
pub struct BackendKey {
    /// Unique among the sessions of this process; 1 ..= i32::MAX, as tools print it signed.
    pub process_id: u32,
    pub secret: [u8; 4],
}

impl std::fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendKey({}, ..)", self.process_id)
    }
}

/// All sessions that can be cancelled.
#[derive(Debug)]
pub struct CancelRegistry {
    workers: Vec<WorkerHandle>,
    sessions: Mutex<Sessions>,
}

#[derive(Debug)]
struct Sessions {
    last: u32,
    by_process_id: FxHashMap<u32, Entry>,
}

/// Where a session lives; 8 bytes, so that many idle clients cost little.
struct Entry {
    secret: [u8; 4],
    worker: u16,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry(worker {})", self.worker)
    }
}

/// A session's registration; ends when dropped.
#[derive(Debug)]
pub struct CancelHandle {
    registry: Arc<CancelRegistry>,
    key: BackendKey,
}

impl CancelHandle {
    pub fn key(&self) -> BackendKey {
        self.key
    }

    pub fn session(&self) -> SessionId {
        SessionId(self.key.process_id)
    }
}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        self.registry
            .sessions()
            .by_process_id
            .remove(&self.key.process_id);
    }
}

impl CancelRegistry {
    /// `workers` in the order of the numbers that sessions register with.
    pub fn new(workers: Vec<WorkerHandle>) -> Arc<Self> {
        // Begins anywhere: keys of another router behind the same address should not exist here.
        let last = rand::random_range(0..i32::MAX as u32);
        let sessions = Sessions {
            last,
            by_process_id: FxHashMap::default(),
        };
        Arc::new(Self {
            workers,
            sessions: Mutex::new(sessions),
        })
    }

    /// A new session on worker number `worker`.
    pub fn register(self: &Arc<Self>, worker: usize) -> CancelHandle {
        // There are as many workers as threads: far fewer than 65,536.
        let worker = u16::try_from(worker).unwrap_or(u16::MAX);
        let secret = rand::random();
        let mut sessions = self.sessions();
        let process_id = sessions.free_process_id();
        sessions
            .by_process_id
            .insert(process_id, Entry { secret, worker });
        drop(sessions);
        let key = BackendKey { process_id, secret };
        CancelHandle {
            registry: Arc::clone(self),
            key,
        }
    }

    /// Has the session of that key cancel what it runs, and waits until its shards were told. True
    /// when there is such a session; the client is told nothing either way.
    pub async fn cancel(&self, process_id: u32, secret: &[u8]) -> bool {
        let Some(worker) = self.worker_of(process_id, secret) else {
            return false;
        };
        let (delivered, done) = oneshot::channel();
        let message = WorkerMessage::Cancel {
            session: SessionId(process_id),
            delivered,
        };
        let sent = self
            .workers
            .get(worker)
            .is_some_and(|worker| worker.send(message).is_ok());
        // Dropped is done as well: the session has ended.
        let _ = done.await;
        sent
    }

    /// Number of sessions registered.
    pub fn len(&self) -> usize {
        self.sessions().by_process_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn worker_of(&self, process_id: u32, secret: &[u8]) -> Option<usize> {
        let sessions = self.sessions();
        let entry = sessions.by_process_id.get(&process_id)?;
        bool::from(entry.secret.ct_eq(secret)).then_some(usize::from(entry.worker))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // No code that holds the lock can leave the map half changed.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// The next number that no session has; there are fewer sessions than numbers.
    fn free_process_id(&mut self) -> u32 {
        loop {
            self.last = self.last % (i32::MAX as u32) + 1;
            if !self.by_process_id.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

/// Sends CancelRequest over a fresh `stream` and waits until the server closes it.
///
/// PostgreSQL closes after it has signalled the backend, and a backend takes a pending signal before
/// it starts on its next message. So whoever keeps the server connection until this returns can be
/// sure that the cancel hits nothing later.
pub async fn deliver(
    mut stream: Stream,
    process_id: u32,
    secret: &[u8],
    limit: Duration,
) -> io::Result<()> {
    let mut request = BytesMut::new();
    wire::frontend::write::cancel_request(&mut request, process_id, secret);
    let exchange = async {
        stream.send(&request).await?;
        until_closed(&mut stream).await
    };
    tokio::time::timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A server that closes without ceremony (TLS without close_notify, RST) has closed as well.
async fn until_closed(stream: &mut Stream) -> io::Result<()> {
    let mut ignored = BytesMut::with_capacity(64);
    loop {
        match stream.receive(&mut ignored).await {
            Ok(0) => return Ok(()),
            Ok(_) => ignored.clear(),
            Err(error) if is_close(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(workers: usize) -> (Arc<CancelRegistry>, Vec<crate::worker::WorkerInbox>) {
        let (handles, inboxes) = (0..workers).map(|_| WorkerHandle::new()).unzip();
        (CancelRegistry::new(handles), inboxes)
    }

    #[tokio::test]
    async fn a_cancel_reaches_the_worker_of_its_session() {
        let (registry, mut inboxes) = registry(3);
        let handle = registry.register(2);
        let key = handle.key();
        let cancel = registry.cancel(key.process_id, &key.secret);
        let worker = async {
            match inboxes[2].recv().await.unwrap() {
                WorkerMessage::Cancel { session, .. } => session,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(tokio::join!(cancel, worker), (true, handle.session()));
        assert!(inboxes[0].try_recv().is_err());
    }

    #[tokio::test]
    async fn a_wrong_secret_cancels_nothing() {
        let (registry, mut inboxes) = registry(1);
        let key = registry.register(0).key();
        let handle = registry.register(0);
        let mut wrong = handle.key().secret;
        wrong[3] ^= 1;
        assert!(!registry.cancel(handle.key().process_id, &wrong).await);
        assert!(!registry.cancel(handle.key().process_id, &[]).await);
        // Its handle is gone.
        assert!(!registry.cancel(key.process_id, &key.secret).await);
        assert!(inboxes[0].try_recv().is_err());
    }

    #[test]
    fn process_ids_are_positive_and_not_given_twice() {
        let (registry, _inboxes) = registry(1);
        registry.sessions().last = i32::MAX as u32 - 2;
        let handles: Vec<_> = (0..4).map(|_| registry.register(0)).collect();
        let ids: Vec<_> = handles
            .iter()
            .map(|handle| handle.key().process_id)
            .collect();
        assert_eq!(ids, [i32::MAX as u32 - 1, i32::MAX as u32, 1, 2]);
        registry.sessions().last = i32::MAX as u32 - 1;
        assert_eq!(registry.register(0).key().process_id, 3);
        assert_eq!(registry.len(), 4);
    }

    #[test]
    fn a_registration_is_small() {
        assert!(size_of::<(u32, Entry)>() <= 12);
        assert!(size_of::<CancelHandle>() <= 16);
    }
}
