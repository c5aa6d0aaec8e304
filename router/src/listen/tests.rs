use super::*;
use crate::worker::{WorkerInbox, WorkerMessage};
use tokio::net::{TcpStream, UnixStream};

fn config(directory: Option<&std::path::Path>) -> ListenConfig {
    ListenConfig {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        unix_socket_directory: directory.map(Into::into),
        workers: 2,
        max_clients: 10,
        handshake_timeout: Duration::from_secs(10),
        max_message_bytes: 1 << 20,
    }
}

fn workers(count: usize) -> (Vec<WorkerHandle>, Vec<WorkerInbox>) {
    (0..count).map(|_| WorkerHandle::new()).unzip()
}

async fn client(inbox: &mut WorkerInbox) -> crate::worker::NewClient {
    match inbox.recv().await.unwrap() {
        WorkerMessage::NewClient(client) => client,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn connections_are_spread_over_the_workers() {
    let listeners = bind(&config(None)).unwrap();
    let address = listeners.addresses()[0];
    let (handles, mut inboxes) = workers(2);
    let (stop, shutdown) = crate::shutdown::shutdown();
    let clients = async {
        let _first = TcpStream::connect(address).await.unwrap();
        let first = client(&mut inboxes[0]).await;
        let _second = TcpStream::connect(address).await.unwrap();
        let _second_place = client(&mut inboxes[1]).await;
        drop(first);
        assert_eq!((handles[0].connections(), handles[1].connections()), (0, 1));
        let _third = TcpStream::connect(address).await.unwrap();
        let third = client(&mut inboxes[0]).await;
        assert!(third.socket.into_stream().is_ok());
        stop.stop();
    };
    tokio::join!(listeners.serve(&handles, shutdown), clients);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_is_served_and_its_file_removed() {
    let directory = tempfile::tempdir().unwrap();
    let listeners = bind(&config(Some(directory.path()))).unwrap();
    let path = directory
        .path()
        .join(format!(".s.PGSQL.{}", listeners.addresses()[0].port()));
    let (handles, mut inboxes) = workers(1);
    let (stop, shutdown) = crate::shutdown::shutdown();
    let clients = async {
        let _stream = UnixStream::connect(&path).await.unwrap();
        assert_eq!(client(&mut inboxes[0]).await.peer, Peer::Unix);
        drop(stop);
    };
    tokio::join!(listeners.serve(&handles, shutdown), clients);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".s.PGSQL.1");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = UnixSocket::bind(directory.path(), 1).unwrap();
    let taken = UnixSocket::bind(directory.path(), 1).unwrap_err();
    assert!(matches!(taken, ListenError::Unix { .. }));
    assert!(path.exists());
    drop(live);
    assert!(!path.exists());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = bind(&config(None)).unwrap();
    let taken = ListenConfig {
        addresses: first.addresses(),
        ..config(None)
    };
    let error = bind(&taken).unwrap_err().to_string();
    assert!(error.contains(&first.addresses()[0].to_string()), "{error}");
}

#[tokio::test]
async fn connections_beyond_all_bounds_are_closed() {
    let listeners = bind(&ListenConfig {
        max_clients: 0,
        ..config(None)
    })
    .unwrap();
    let address = listeners.addresses()[0];
    let (handles, mut inboxes) = workers(1);
    let (stop, shutdown) = crate::shutdown::shutdown();
    let clients = async {
        let mut kept = Vec::new();
        for _ in 0..SPARE_CONNECTIONS {
            kept.push((
                TcpStream::connect(address).await.unwrap(),
                client(&mut inboxes[0]).await,
            ));
        }
        let surplus = TcpStream::connect(address).await.unwrap();
        surplus.readable().await.unwrap();
        assert!(!matches!(surplus.try_read(&mut [0]), Ok(1..)));
        assert!(inboxes[0].try_recv().is_err());
        stop.stop();
    };
    tokio::join!(listeners.serve(&handles, shutdown), clients);
}
