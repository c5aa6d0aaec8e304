//! The handshake as clients meet it: libpq's psql, tokio-postgres, and bytes by hand.

mod by_hand;
mod server;

use std::process::Output;
use std::time::Duration;

use router::config::{ClientAuth, ClientTlsMode};
use server::{Server, Settings};
use tokio::process::Command;

fn over_tls(mode: ClientTlsMode) -> Settings {
    Settings {
        tls: mode,
        ..Settings::default()
    }
}

/// Runs psql as `user` with further parts of a connection string.
async fn psql(server: &Server, user: &str, password: &str, more: &str) -> Output {
    let port = server.address.port();
    let root = server.root_certificate();
    let to = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname=shop \
         sslrootcert={} {more}",
        root.display()
    );
    Command::new("psql")
        .args(["-XAtq", "-c", "who", &to])
        .env("PGPASSWORD", password)
        .output()
        .await
        .unwrap()
}

/// What psql printed; the log-in must work.
async fn answer(server: &Server, user: &str, more: &str) -> String {
    let output = psql(server, user, "secret", more).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What psql complained of; the log-in must fail.
async fn refusal(server: &Server, user: &str, password: &str, more: &str) -> String {
    let output = psql(server, user, password, more).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn psql_logs_in_by_scram() {
    let server = Server::start(Settings::default());
    let answer = answer(&server, "ada", "sslmode=prefer").await;
    assert!(
        answer.starts_with("ada shop plain 3.0 Scram(..) ["),
        "{answer}"
    );
    assert!(
        answer.contains(r#"("application_name", "psql")"#),
        "{answer}"
    );
}

#[tokio::test]
async fn psql_logs_in_through_the_unix_socket() {
    let server = Server::start(over_tls(ClientTlsMode::Require));
    let directory = server.directory.path().display().to_string();
    let to = format!("host={directory} hostaddr=");
    let answer = answer(&server, "ada", &to).await;
    assert!(answer.starts_with("ada shop plain"), "{answer}");
}

#[tokio::test]
async fn psql_binds_the_channel_over_tls() {
    let server = Server::start(over_tls(ClientTlsMode::Allow));
    for more in [
        "sslmode=verify-full channel_binding=require",
        "sslmode=require channel_binding=prefer",
        "sslmode=require channel_binding=disable",
    ] {
        let answer = answer(&server, "ada", more).await;
        assert!(answer.starts_with("ada shop tls 3.0 Scram(..)"), "{answer}");
    }
}

#[tokio::test]
async fn without_tls_a_client_that_needs_the_channel_bound_leaves() {
    let server = Server::start(Settings::default());
    let refusal = refusal(&server, "ada", "secret", "channel_binding=require").await;
    assert!(refusal.contains("channel binding"), "{refusal}");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_role_look_alike() {
    let server = Server::start(Settings::default());
    for user in ["ada", "nobody", "expired", "bare", "old"] {
        let refusal = refusal(&server, user, "wrong", "").await;
        let expected = format!("FATAL:  password authentication failed for user \"{user}\"");
        assert!(refusal.contains(&expected), "{refusal}");
    }
    for user in ["nobody", "expired", "bare"] {
        let refusal = refusal(&server, user, "secret", "").await;
        assert!(
            refusal.contains("password authentication failed"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn a_role_that_may_not_log_in_is_told_so_once_it_has_proved_itself() {
    let server = Server::start(Settings::default());
    let refusal = refusal(&server, "nologin", "secret", "").await;
    assert!(
        refusal.contains("FATAL:  role \"nologin\" is not permitted to log in"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_role_with_an_md5_password_logs_in_by_md5() {
    let server = Server::start(Settings::default());
    let answer = answer(&server, "old", "").await;
    assert!(answer.starts_with("old shop plain 3.0 Md5(..)"), "{answer}");
}

#[tokio::test]
async fn when_roles_cannot_be_looked_up_the_client_is_told() {
    let server = Server::start(Settings::default());
    let refusal = refusal(&server, "unreachable", "secret", "").await;
    assert!(
        refusal.contains("FATAL:  the home shard is down"),
        "{refusal}"
    );
}

#[tokio::test]
async fn where_tls_is_required_a_plain_connection_is_refused() {
    let server = Server::start(over_tls(ClientTlsMode::Require));
    let refusal = refusal(&server, "ada", "secret", "sslmode=disable").await;
    assert!(
        refusal.contains("connection without encryption is not accepted"),
        "{refusal}"
    );
    let answer = answer(&server, "ada", "sslmode=allow").await;
    assert!(answer.starts_with("ada shop tls"), "{answer}");
}

#[tokio::test]
async fn where_an_authority_is_named_a_client_shows_a_certificate() {
    let settings = Settings {
        client_certificates: true,
        ..over_tls(ClientTlsMode::Require)
    };
    let server = Server::start(settings);
    let refusal = refusal(&server, "ada", "secret", "sslmode=require sslcert=/none").await;
    assert!(refusal.contains("certificate required"), "{refusal}");
    let path = |name: &str| server.directory.path().join(name).display().to_string();
    let with = format!(
        "sslcert={} sslkey={}",
        path("client.crt"),
        path("client.key")
    );
    let answer = answer(&server, "ada", &format!("sslmode=verify-full {with}")).await;
    assert!(answer.starts_with("ada shop tls 3.0 Scram(..)"), "{answer}");
}

#[tokio::test]
async fn a_look_up_that_takes_too_long_is_a_timeout() {
    let timeout = Duration::from_secs(1);
    let server = Server::start(Settings {
        timeout,
        ..Settings::default()
    });
    let refusal = refusal(&server, "silent", "secret", "").await;
    assert!(
        refusal.contains("FATAL:  canceling authentication due to timeout"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_trusted_client_shows_nothing() {
    let server = Server::start(Settings {
        auth: ClientAuth::Trust,
        ..Settings::default()
    });
    let answer = answer(&server, "anybody", "").await;
    assert!(
        answer.starts_with("anybody shop plain 3.0 None"),
        "{answer}"
    );
}

#[tokio::test]
async fn settings_in_options_arrive_before_the_others() {
    let server = Server::start(Settings::default());
    let more = r"options='-c geqo=off --work-mem=4MB -cmy.text=a\\ b'";
    let answer = answer(&server, "ada", more).await;
    let settings = r#"[("geqo", "off"), ("work_mem", "4MB"), ("my.text", "a b"), "#;
    assert!(answer.contains(settings), "{answer}");
}

async fn connect(server: &Server) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(server.address.port())
        .user("ada")
        .password("secret");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn beyond_the_limit_clients_are_refused_and_cancels_are_not() {
    let server = Server::start(Settings {
        max_clients: 1,
        ..Settings::default()
    });
    let client = connect(&server).await.unwrap();
    let error = connect(&server).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.message()),
        ("53300", "sorry, too many clients already")
    );
    assert_eq!(error.severity(), "FATAL");
    cancel_a_statement(&client).await;

    drop(client);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while connect(&server).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the seat is not free again"
        );
    }
}

async fn cancel_a_statement(client: &tokio_postgres::Client) {
    let token = client.cancel_token();
    let statement = client.simple_query("sleep");
    let cancel = async {
        // Until the statement runs, a cancel finds nothing, as with PostgreSQL.
        loop {
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let error =
        tokio::select! { outcome = statement => outcome.unwrap_err(), () = cancel => return };
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
}

#[tokio::test]
async fn sessions_that_ended_leave_no_key_behind() {
    let server = Server::start(Settings::default());
    for _ in 0..3 {
        drop(connect(&server).await.unwrap());
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !server.registry.is_empty() || server.seats.taken() > 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            server.registry
        );
        tokio::task::yield_now().await;
    }
}
