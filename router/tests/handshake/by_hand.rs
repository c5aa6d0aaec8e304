//! What no well-behaved client does, and what new ones will.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use router::config::{ClientAuth, ClientTlsMode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::backend::{Authentication, ErrorResponse, NegotiateProtocolVersion};
use wire::frontend::write;

use crate::over_tls;
use crate::server::{Server, Settings};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

fn startup(minor: u16, pairs: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    write::startup(
        &mut out,
        minor,
        pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    );
    out
}

async fn dial(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// All that comes until the server closes.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all).await {
        Ok(_) => all,
        // Closed with bytes of ours unread.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
        Err(error) => panic!("{error}"),
    }
}

/// SQLSTATE and text of the one message that `bytes` must be: a FATAL error.
fn fatal(bytes: &[u8]) -> (String, String) {
    let header = wire::header::peek(bytes, 1 << 16)
        .unwrap()
        .expect("no answer");
    assert_eq!((header.tag, header.length), (b'E', bytes.len()));
    let error = ErrorResponse::parse(header.body(bytes).unwrap()).unwrap();
    assert!(error.is_fatal());
    (error.sqlstate().to_owned(), error.message().into_owned())
}

async fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let tag = stream.read_u8().await.unwrap();
    let length = stream.read_u32().await.unwrap() as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.unwrap();
    (tag, body)
}

/// The answer to one packet, which must be FATAL.
async fn refusal(server: &Server, packet: &[u8]) -> (String, String) {
    fatal(&rest(dial(server, packet).await).await)
}

#[tokio::test]
async fn bytes_smuggled_ahead_of_tls_are_refused() {
    let server = Server::start(over_tls(ClientTlsMode::Allow));
    for (request, name) in [
        (SSL_REQUEST, "SSL request"),
        (GSS_REQUEST, "GSSAPI encryption request"),
    ] {
        let packet = [&request[..], &startup(0, &[("user", "ada")])].concat();
        let (sqlstate, text) = refusal(&server, &packet).await;
        assert_eq!(sqlstate, "08P01");
        assert_eq!(text, format!("received unencrypted data after {name}"));
    }
}

#[tokio::test]
async fn each_kind_of_encryption_is_asked_for_once() {
    let server = Server::start(Settings::default());
    for (first, second) in [(GSS_REQUEST, SSL_REQUEST), (SSL_REQUEST, GSS_REQUEST)] {
        let mut stream = dial(&server, &first).await;
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
        stream.write_all(&second).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
        stream.write_all(&first).await.unwrap();
        let (sqlstate, text) = fatal(&rest(stream).await);
        assert_eq!(sqlstate, "0A000");
        assert!(
            text.starts_with("unsupported frontend protocol 1234.56"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn other_protocols_are_refused_by_version() {
    let server = Server::start(Settings::default());
    for version in [[0, 2, 0, 0], [0, 4, 0, 0]] {
        let (sqlstate, text) = refusal(&server, &[&[0, 0, 0, 8], &version[..]].concat()).await;
        assert_eq!(sqlstate, "0A000");
        assert!(text.starts_with("unsupported frontend protocol"), "{text}");
    }
}

#[tokio::test]
async fn a_newer_minor_version_and_unknown_options_are_negotiated_down() {
    let server = Server::start(Settings::default());
    for (minor, option) in [(9999, "user"), (0, "_pq_.test"), (2, "_pq_.test")] {
        let mut stream = dial(
            &server,
            &startup(minor, &[("user", "ada"), (option, "ada")]),
        )
        .await;
        let (tag, body) = message(&mut stream).await;
        assert_eq!(tag, b'v');
        let negotiated = NegotiateProtocolVersion::parse(&body).unwrap();
        assert_eq!(negotiated.newest, (3 << 16) | 2);
        let unknown: Vec<_> = negotiated.unrecognized.iter().collect();
        assert_eq!(unknown.contains(&&b"_pq_.test"[..]), option == "_pq_.test");
        assert_eq!(message(&mut stream).await.0, b'R');
    }
    let mut stream = dial(&server, &startup(2, &[("user", "ada")])).await;
    assert_eq!(message(&mut stream).await.0, b'R');
}

#[tokio::test]
async fn bad_startup_packets_are_refused_as_postgres_does() {
    let server = Server::start(Settings::default());
    let (sqlstate, text) = refusal(&server, &startup(0, &[("database", "d")])).await;
    assert_eq!(sqlstate, "28000");
    assert_eq!(text, "no PostgreSQL user name specified in startup packet");
    let replication = startup(0, &[("user", "ada"), ("replication", "database")]);
    assert_eq!(refusal(&server, &replication).await.0, "0A000");
    let options = startup(0, &[("user", "ada"), ("options", "--nonsense")]);
    assert_eq!(refusal(&server, &options).await.0, "42601");
    let unended = [0, 0, 0, 10, 0, 3, 0, 0, b'u', b's'];
    assert_eq!(refusal(&server, &unended).await.0, "08P01");
}

#[tokio::test]
async fn strangers_get_no_answer() {
    let server = Server::start(over_tls(ClientTlsMode::Allow));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 3, 0],
        &[0xff; 40],
        &[0, 0, 0x40, 0],
    ] {
        assert_eq!(rest(dial(&server, garbage).await).await, b"", "{garbage:?}");
    }
    // A TLS record that is no ClientHello: rustls answers with an alert, then the end.
    let answer = rest(dial(&server, &[0x16; 40]).await).await;
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_off() {
    let timeout = Duration::from_secs(1);
    let server = Server::start(Settings {
        timeout,
        ..over_tls(ClientTlsMode::Allow)
    });
    let packet = startup(0, &[("user", "ada")]);
    let silent = async { rest(dial(&server, &[]).await).await };
    let before_tls = async { rest(dial(&server, &SSL_REQUEST).await).await };
    let in_startup = async { rest(dial(&server, &packet[..9]).await).await };
    let in_scram = async { rest(dial(&server, &packet).await).await };
    let (silent, before_tls, in_startup, in_scram) =
        tokio::join!(silent, before_tls, in_startup, in_scram);
    assert_eq!(
        (silent, before_tls, in_startup),
        (vec![], b"S".to_vec(), vec![])
    );
    let offer = wire::header::peek(&in_scram, 1 << 16).unwrap().unwrap();
    assert_eq!(offer.tag, b'R');
    let told = fatal(&in_scram[offer.length..]);
    assert_eq!(
        told,
        (
            "57014".into(),
            "canceling authentication due to timeout".into()
        )
    );
}

/// Sends the startup packet, then `answer` to the request for SASL.
async fn answer_sasl(server: &Server, answer: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut stream = dial(server, &startup(0, &[("user", "ada")])).await;
    let (_, body) = message(&mut stream).await;
    let Authentication::Sasl { mechanisms } = Authentication::parse(&body).unwrap() else {
        panic!("{body:?}")
    };
    assert_eq!(mechanisms.iter().collect::<Vec<_>>(), [b"SCRAM-SHA-256"]);
    let mut out = BytesMut::new();
    answer(&mut out);
    stream.write_all(&out).await.unwrap();
    rest(stream).await
}

#[tokio::test]
async fn nonsense_during_authentication_is_refused() {
    let server = Server::start(Settings::default());
    let initial = |mechanism: &'static str, data: &'static [u8]| {
        move |out: &mut BytesMut| {
            write::sasl_initial_response(out, mechanism.as_bytes(), Some(data));
        }
    };
    let query = answer_sasl(&server, |out| write::query(out, b"select 1")).await;
    assert_eq!(
        fatal(&query),
        (
            "08P01".into(),
            "expected SASL response, got message type 81".into()
        )
    );
    let plus = answer_sasl(&server, initial("SCRAM-SHA-256-PLUS", b"n,,n=,r=a")).await;
    let text = "client selected an invalid SASL authentication mechanism";
    assert_eq!(fatal(&plus), ("08P01".into(), text.into()));
    let malformed = answer_sasl(&server, initial("SCRAM-SHA-256", b"nonsense")).await;
    assert_eq!(
        fatal(&malformed),
        ("08P01".into(), "malformed SCRAM message".into())
    );
    // Nobody's SASL message is that long.
    let long = answer_sasl(&server, |out| write::password(out, &[b'x'; 4096])).await;
    assert_eq!(long, b"");
}

#[tokio::test]
async fn what_a_trusted_client_sends_ahead_is_kept() {
    let server = Server::start(Settings {
        auth: ClientAuth::Trust,
        ..Settings::default()
    });
    let mut packet = startup(0, &[("user", "ada")]);
    write::query(&mut packet, b"who");
    write::terminate(&mut packet);
    let answer = rest(dial(&server, &packet).await).await;
    assert!(
        answer.windows(9).any(|part| part == b"ada ada p"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn tls_without_a_request_needs_the_protocol_named() {
    let server = Server::start(over_tls(ClientTlsMode::Allow));
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(server.root_certificate()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (protocols, first) in [(vec![b"postgresql".to_vec()], b'R'), (vec![], b'E')] {
        config.alpn_protocols = protocols;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
        let tcp = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = connector.connect(name, tcp).await.unwrap();
        tls.write_all(&startup(0, &[("user", "ada")]))
            .await
            .unwrap();
        assert_eq!(tls.read_u8().await.unwrap(), first);
    }
}

#[tokio::test]
async fn random_bytes_hurt_nobody() {
    let server = Server::start(Settings {
        timeout: Duration::from_secs(1),
        ..Settings::default()
    });
    for _ in 0..200 {
        let mut bytes: [u8; 64] = rand::random();
        // Half of them look like a startup packet at first.
        if bytes[63] & 1 == 0 {
            bytes[..8].copy_from_slice(&[0, 0, 0, 64, 0, 3, 0, 0]);
        }
        let mut stream = dial(&server, &bytes).await;
        // It may be reset already.
        let _ = stream.shutdown().await;
        rest(stream).await;
    }
    assert!(crate::answer(&server, "ada", "").await.starts_with("ada"));
}
