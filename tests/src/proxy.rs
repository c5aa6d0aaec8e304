//! A TCP proxy in front of a shard, on a thread of its own, that loses bytes of one direction or resets connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToShard,
    ToRouter,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Grows at each reset; a connection lives within one generation.
    generation: u64,
    lost: Option<Direction>,
    /// Only of this process's connections.
    of: Option<u32>,
}

/// Dropped, it closes its connections and ends.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// In front of a server's port of 127.0.0.1.
    pub fn start(server: u16) -> Proxy {
        let (state, watched) = watch::channel(State::default());
        let (give, given) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime for the proxy");
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let listener = listener.expect("a free port");
                let port = listener.local_addr().expect("it is bound").port();
                // Who asked is waiting for this.
                let _ = give.send(port);
                serve(listener, server, watched).await;
            });
        });
        let port = given.recv().expect("the thread sends once");
        Proxy { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on bytes of this direction are lost, on connections new and old, until [`Proxy::heal`].
    pub fn lose(&self, direction: Direction) {
        self.state.send_modify(|state| state.lost = Some(direction));
    }

    /// As [`Proxy::lose`], of the connections of one process only.
    pub fn lose_of(&self, process: u32, direction: Direction) {
        self.state.send_modify(|state| {
            (state.lost, state.of) = (Some(direction), Some(process));
        });
    }

    /// Resets all connections, of which some may have lost bytes; new ones are whole again.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.generation += 1;
            (state.lost, state.of) = (None, None);
        });
    }
}

async fn serve(listener: TcpListener, server: u16, mut watched: watch::Receiver<State>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                tokio::spawn(connection(client, server, watched.clone()));
            },
            changed = watched.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Until one side closes, or all are reset.
async fn connection(client: TcpStream, server: u16, mut watched: watch::Receiver<State>) {
    let generation = watched.borrow_and_update().generation;
    let from = client.peer_addr().map_or(0, |address| address.port());
    // A server that does not run: the client sees its connection closed.
    let Ok(server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await
    else {
        return;
    };
    for stream in [&client, &server] {
        // Closed means reset, at once.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_zero_linger();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, Direction::ToShard, from, watched.clone()) => {}
        () = copy(from_server, to_client, Direction::ToRouter, from, watched.clone()) => {}
        _ = watched.wait_for(|state| state.generation != generation) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    client: u16,
    state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    // Whose connection it is does not change, and finding out takes long where many processes run.
    let mut known: Option<(u32, bool)> = None;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *state.borrow();
        let is_of = |process| match known {
            Some((asked, is_of)) if asked == process => is_of,
            _ => known.insert((process, has_port(process, client))).1,
        };
        let is_lost = now.lost == Some(direction) && now.of.is_none_or(is_of);
        if !is_lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Whether a process has a TCP connection from this port of 127.0.0.1.
fn has_port(process: u32, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!("0100007F:{port:04X}");
    let socket = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str())).then(|| format!("socket:[{}]", fields[9]))
    });
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    let links = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    socket.is_some_and(|socket| {
        links
            .into_iter()
            .any(|link| link.as_os_str() == socket.as_str())
    })
}
