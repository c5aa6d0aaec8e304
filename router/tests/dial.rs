//! Streams to shards, in every TLS mode, against a real server.

#[path = "../../topology/tests/support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use router::config::{ShardConfig, ShardTls, SslMode};
use router::dial::{DialError, dial};
use router::stream::Stream;
use server::TemporaryServer;
use tokio_postgres::NoTls;
use topology::ShardId;

const LIMIT: Duration = Duration::from_secs(10);

fn shard(host: &str, port: u16) -> ShardConfig {
    ShardConfig {
        id: ShardId(0),
        host: host.into(),
        port,
        weight: 1.0,
        patroni: None,
    }
}

/// What came of it, in a word.
async fn outcome(
    host: &str,
    server: &TemporaryServer,
    mode: SslMode,
    root: Option<&str>,
) -> &'static str {
    let root_certificate = root.map(|root| server.write_file("root.crt", root));
    let tls = ShardTls {
        mode,
        root_certificate,
    };
    match dial(&shard(host, server.port()), &tls, LIMIT).await {
        Ok(Stream::Tcp(_)) => "tcp",
        Ok(Stream::Unix(_)) => "unix",
        Ok(Stream::TlsClient(_)) => "tls",
        Ok(Stream::TlsServer(_)) => unreachable!("a shard is never a client"),
        Err(DialError::Tls { .. }) => "bad certificate",
        Err(DialError::TlsRefused { .. }) => "refused",
        Err(error) => panic!("{error}"),
    }
}

async fn run(server: &TemporaryServer, statements: &[&str]) {
    let parameters = server.parameters("postgres");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls)
        .await
        .expect("connects");
    tokio::spawn(connection);
    for statement in statements {
        client.batch_execute(statement).await.expect(statement);
    }
}

/// Makes the server show `certificate` from now on.
async fn use_certificate(server: &TemporaryServer, certificate: &str, key: &KeyPair) {
    let certificate = server.write_file("server.crt", certificate);
    let key = server.write_file("server.key", &key.serialize_pem());
    let set = |name: &str, path: &std::path::Path| {
        format!("ALTER SYSTEM SET {name} = '{}'", path.display())
    };
    let certificate = set("ssl_cert_file", &certificate);
    let key = set("ssl_key_file", &key);
    run(
        server,
        &[
            &certificate,
            &key,
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ],
    )
    .await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while outcome("localhost", server, SslMode::Require, None).await != "tls" {
        assert!(Instant::now() < deadline, "the server does not speak TLS");
        tokio::task::yield_now().await;
    }
}

/// An authority's certificate, and one that it signed for `name`.
fn signed(name: &str) -> (String, String, KeyPair) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(parameters, authority_key);
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (
        authority,
        parameters.signed_by(&key, &issuer).unwrap().pem(),
        key,
    )
}

#[tokio::test]
async fn modes_mean_what_libpq_means_by_them() {
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let server = TemporaryServer::shared();
    assert_eq!(outcome("localhost", &server, Disable, None).await, "tcp");
    assert_eq!(outcome("localhost", &server, Prefer, None).await, "tcp");
    assert_eq!(
        outcome("localhost", &server, Require, None).await,
        "refused"
    );

    let (authority, certificate, key) = signed("localhost");
    let (stranger, _, _) = signed("localhost");
    use_certificate(&server, &certificate, &key).await;
    for (host, mode, root, expected) in [
        ("localhost", Disable, None, "tcp"),
        ("localhost", Prefer, None, "tls"),
        ("localhost", Prefer, Some(&stranger), "tcp"),
        ("localhost", Require, None, "tls"),
        ("localhost", Require, Some(&authority), "tls"),
        ("localhost", Require, Some(&stranger), "bad certificate"),
        ("localhost", VerifyCa, Some(&authority), "tls"),
        ("127.0.0.1", VerifyCa, Some(&authority), "tls"),
        ("localhost", VerifyCa, Some(&stranger), "bad certificate"),
        ("localhost", VerifyFull, Some(&authority), "tls"),
        ("127.0.0.1", VerifyFull, Some(&authority), "bad certificate"),
    ] {
        let root = root.map(String::as_str);
        let came = outcome(host, &server, mode, root).await;
        assert_eq!(came, expected, "{host} {mode:?} {}", root.is_some());
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_root_is_taken() {
    use SslMode::{VerifyCa, VerifyFull};
    let server = TemporaryServer::start(&[]);
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = parameters.self_signed(&key).unwrap().pem();
    use_certificate(&server, &own, &key).await;
    let (localhost, address) = ("localhost", "127.0.0.1");
    assert_eq!(
        outcome(localhost, &server, VerifyFull, Some(&own)).await,
        "tls"
    );
    assert_eq!(outcome(address, &server, VerifyCa, Some(&own)).await, "tls");
    let refused = outcome(address, &server, VerifyFull, Some(&own)).await;
    assert_eq!(refused, "bad certificate");
}

#[tokio::test]
async fn a_directory_is_a_unix_socket_in_every_mode() {
    let server = TemporaryServer::shared();
    let directory = server.directory().to_str().expect("UTF-8");
    let came = outcome(directory, &server, SslMode::VerifyFull, None).await;
    assert_eq!(came, "unix");
}

#[tokio::test]
async fn who_does_not_answer_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shard = shard("127.0.0.1", silent.local_addr().unwrap().port());
    let tls = ShardTls {
        mode: SslMode::Require,
        root_certificate: None,
    };
    let limit = Duration::from_millis(100);
    let error = dial(&shard, &tls, limit).await.expect_err("nobody answers");
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}
