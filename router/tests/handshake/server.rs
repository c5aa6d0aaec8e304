//! A router's front on a free port, with a session that answers one kind of query: enough for real
//! clients to log in, ask and cancel.

use std::collections::HashMap;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use router::cancel::CancelRegistry;
use router::config::{ClientAuth, ClientTls, ClientTlsMode, ListenConfig};
use router::error::RouterError;
use router::handshake::{
    Accepted, HandshakeContext, Handshaken, RoleSecret, RoleSecrets, ServerTls, accept,
    new_mock_secret,
};
use router::listen;
use router::scram::build_verifier;
use router::seats::Seats;
use router::shutdown::{Stopper, shutdown};
use router::worker::{NewClient, SessionId, WorkerHandle, WorkerInbox, WorkerMessage};
use tokio::sync::oneshot;
use wire::backend::{Report, Severity, TransactionStatus, write};

/// Roles by name.
struct Roles(HashMap<&'static str, RoleSecret>);

impl RoleSecrets for Roles {
    fn role_secret<'a>(
        &'a self,
        user: &'a str,
    ) -> BoxFuture<'a, Result<Option<RoleSecret>, RouterError>> {
        async move {
            match user {
                "silent" => std::future::pending().await,
                "unreachable" => Err(RouterError::new("57P03", "the home shard is down")),
                user => Ok(self.0.get(user).cloned()),
            }
        }
        .boxed()
    }
}

fn roles() -> Roles {
    let role = |password: &str| RoleSecret {
        password: Some(password.to_owned()),
        can_login: true,
        valid_until: None,
    };
    let ada = role(&build_verifier("secret"));
    let past = Some(SystemTime::now() - Duration::from_secs(1));
    // 'md5' || md5('secret' || 'old')
    let md5 = "md57cb133e596658708079ed4cfaaf64462";
    Roles(HashMap::from([
        (
            "nologin",
            RoleSecret {
                can_login: false,
                ..ada.clone()
            },
        ),
        (
            "expired",
            RoleSecret {
                valid_until: past,
                ..ada.clone()
            },
        ),
        (
            "bare",
            RoleSecret {
                password: None,
                ..ada.clone()
            },
        ),
        ("ada", ada),
        ("old", role(md5)),
    ]))
}

#[derive(Clone)]
pub struct Settings {
    pub auth: ClientAuth,
    pub tls: ClientTlsMode,
    pub timeout: Duration,
    pub max_clients: usize,
    /// Ask clients for a certificate, signed by `client-authority.crt`.
    pub client_certificates: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: ClientAuth::ScramSha256,
            tls: ClientTlsMode::Disable,
            timeout: Duration::from_secs(30),
            max_clients: 100,
            client_certificates: false,
        }
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub directory: tempfile::TempDir,
    pub registry: Arc<CancelRegistry>,
    pub seats: Arc<Seats>,
    _stopper: Stopper,
}

impl Server {
    /// Starts listener and worker on the runtime of the test.
    pub fn start(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tls = certificates(&directory, &settings);
        let config = ListenConfig {
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            unix_socket_directory: Some(directory.path().to_owned()),
            workers: 1,
            max_clients: settings.max_clients,
            handshake_timeout: settings.timeout,
            max_message_bytes: 1 << 20,
        };
        let (worker, inbox) = WorkerHandle::new();
        let context = Arc::new(HandshakeContext {
            auth: settings.auth,
            tls: ServerTls::load(&tls).unwrap(),
            timeout: settings.timeout,
            secrets: Arc::new(roles()),
            cancels: CancelRegistry::new(vec![worker.clone()]),
            seats: Seats::new(settings.max_clients),
            mock_secret: new_mock_secret(),
        });
        let (registry, seats) = (Arc::clone(&context.cancels), Arc::clone(&context.seats));
        let listeners = listen::bind(&config).unwrap();
        let address = listeners.addresses()[0];
        let (stopper, stop) = shutdown();
        tokio::spawn(async move { listeners.serve(&[worker], stop).await });
        tokio::spawn(work(inbox, context));
        Self {
            address,
            directory,
            registry,
            seats,
            _stopper: stopper,
        }
    }

    pub fn root_certificate(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }
}

/// A certificate for localhost that signs itself; and one for a client, signed by an authority.
fn certificates(directory: &tempfile::TempDir, settings: &Settings) -> ClientTls {
    let path = |name: &str| directory.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(path("server.key"), made.signing_key.serialize_pem()).unwrap();
    if settings.client_certificates {
        client_certificate(directory.path());
    }
    ClientTls {
        mode: settings.tls,
        certificate: Some(path("server.crt")),
        key: Some(path("server.key")),
        client_authority: settings
            .client_certificates
            .then(|| path("client-authority.crt")),
    }
}

fn client_certificate(directory: &Path) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(parameters, authority_key);
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["ada".to_owned()]).unwrap();
    let client = client.signed_by(&key, &issuer).unwrap();
    let key_path = directory.join("client.key");
    std::fs::write(directory.join("client-authority.crt"), authority.pem()).unwrap();
    std::fs::write(directory.join("client.crt"), client.pem()).unwrap();
    std::fs::write(&key_path, key.serialize_pem()).unwrap();
    // libpq refuses a key that others may read.
    std::fs::set_permissions(key_path, Permissions::from_mode(0o600)).unwrap();
}

type Running = Arc<Mutex<HashMap<SessionId, oneshot::Sender<()>>>>;

async fn work(mut inbox: WorkerInbox, context: Arc<HandshakeContext>) {
    let running = Running::default();
    while let Some(message) = inbox.recv().await {
        match message {
            WorkerMessage::NewClient(client) => {
                tokio::spawn(serve(client, Arc::clone(&context), Arc::clone(&running)));
            }
            WorkerMessage::Cancel { session, delivered } => {
                if let Some(cancel) = running.lock().unwrap().remove(&session) {
                    let _ = cancel.send(());
                }
                let _ = delivered.send(());
            }
            WorkerMessage::CloseIdle { .. }
            | WorkerMessage::Report(_)
            | WorkerMessage::Drained { .. }
            | WorkerMessage::Stalled(_)
            | WorkerMessage::BreakDeadlock(_)
            | WorkerMessage::Shutdown => {}
        }
    }
}

async fn serve(client: NewClient, context: Arc<HandshakeContext>, running: Running) {
    let NewClient {
        socket,
        peer,
        place: _place,
    } = client;
    let stream = socket.into_stream().unwrap();
    if let Ok(Accepted::Session(client)) = accept(stream, peer, &context).await {
        // A client may go at any time.
        let _ = session(*client, &context, &running).await;
    }
}

async fn session(
    mut client: Handshaken,
    context: &HandshakeContext,
    running: &Running,
) -> std::io::Result<()> {
    let handle = context.cancels.register(0);
    let mut out = BytesMut::new();
    for (name, value) in [("server_version", "15.0"), ("client_encoding", "UTF8")] {
        write::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    let key = handle.key();
    write::backend_key_data(&mut out, key.process_id, &key.secret);
    loop {
        write::ready_for_query(&mut out, TransactionStatus::Idle);
        client.stream.send(&out).await?;
        out.clear();
        let Some(text) = query(&mut client).await? else {
            return Ok(());
        };
        match text.starts_with("sleep") {
            true => until_cancelled(&mut out, handle.session(), running).await,
            false => answer(&mut out, &client),
        }
    }
}

async fn query(client: &mut Handshaken) -> std::io::Result<Option<String>> {
    loop {
        let found = wire::header::peek(&client.received, 1 << 20).unwrap();
        if let Some(found) = found.filter(|found| client.received.len() >= found.length) {
            let message = client.received.split_to(found.length);
            let text = String::from_utf8_lossy(&message[5..]).into_owned();
            return Ok((found.tag == b'Q').then_some(text));
        }
        if client.stream.receive(&mut client.received).await? == 0 {
            return Ok(None);
        }
    }
}

async fn until_cancelled(out: &mut BytesMut, session: SessionId, running: &Running) {
    let (cancel, cancelled) = oneshot::channel();
    running.lock().unwrap().insert(session, cancel);
    cancelled.await.unwrap();
    let message = "canceling statement due to user request";
    let report = Report {
        severity: Severity::Error,
        sqlstate: "57014",
        message,
        ..Report::default()
    };
    write::error_response(out, &report);
}

/// One row of text: who the client is and what it set.
fn answer(out: &mut BytesMut, client: &Handshaken) {
    let tls = if client.stream.is_tls() {
        "tls"
    } else {
        "plain"
    };
    let Handshaken {
        user,
        database,
        parameters,
        credentials,
        protocol_minor,
        ..
    } = client;
    let row = format!("{user} {database} {tls} 3.{protocol_minor} {credentials:?} {parameters:?}");
    let field = wire::backend::Field {
        name: b"answer",
        table_oid: 0,
        column: 0,
        type_oid: 25,
        type_size: -1,
        type_modifier: -1,
        format: wire::Format::Text,
    };
    write::row_description(out, [field]);
    write::data_row(out, [Some(row.as_bytes())]);
    write::command_complete(out, b"SELECT 1");
}
