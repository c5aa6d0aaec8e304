//! Log-ins and cancels of the router at a real PostgreSQL, and at servers that misbehave.

mod postgres;

use std::time::Duration;

use bytes::BytesMut;
use postgres::{LIMIT, PASSWORD, Postgres, keys};
use router::backend::login::{Credentials, LoggedIn, LoginError, login};
use router::cancel;
use router::config::{Secret, SslMode};
use router::scram::binding::tls_server_end_point;
use router::scram::client::ScramClientError;
use router::stream::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::backend::{DataRow, ErrorResponse, write};
use wire::frontend;

fn password() -> Credentials {
    Credentials::Password(Secret(PASSWORD.to_owned()))
}

async fn log_in(
    stream: &mut Stream,
    user: &str,
    credentials: &Credentials,
) -> Result<LoggedIn, LoginError> {
    let parameters = [("application_name", "oskol test"), ("DateStyle", "German")];
    login(stream, user, "postgres", &parameters, credentials, LIMIT).await
}

/// Runs a statement; its first value, or the SQLSTATE of its error.
async fn ask(stream: &mut Stream, sql: &str) -> Result<String, String> {
    let mut out = BytesMut::new();
    frontend::write::query(&mut out, sql.as_bytes());
    stream.send(&out).await.unwrap();
    let (mut received, mut answer) = (BytesMut::new(), Ok(String::new()));
    loop {
        let found = wire::header::peek(&received, 1 << 20).unwrap();
        let Some(found) = found.filter(|found| received.len() >= found.length) else {
            assert_ne!(stream.receive(&mut received).await.unwrap(), 0);
            continue;
        };
        let message = received.split_to(found.length);
        match found.tag {
            b'D' => answer = Ok(first_value(&message[5..])),
            b'E' => {
                answer = Err(ErrorResponse::parse(&message[5..])
                    .unwrap()
                    .sqlstate()
                    .into())
            }
            b'Z' => return answer,
            _ => {}
        }
    }
}

fn first_value(row: &[u8]) -> String {
    let value = DataRow::parse(row).unwrap().iter().next().unwrap().unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

async fn is_in(stream: &mut Stream, user: &str, credentials: &Credentials) {
    let logged_in = log_in(stream, user, credentials).await.unwrap();
    assert_eq!(ask(stream, "select session_user").await.unwrap(), user);
    let process_id = ask(stream, "select pg_backend_pid()").await.unwrap();
    assert_eq!(logged_in.process_id.to_string(), process_id);
    assert_eq!((logged_in.secret.len(), logged_in.leftover.len()), (4, 0));
    let value = |name: &str| {
        logged_in
            .parameters
            .iter()
            .find(|(n, _)| n == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(value("application_name"), "oskol test");
    assert_eq!(value("DateStyle"), "German, DMY");
    assert!(value("server_version").starts_with(|c: char| c.is_ascii_digit()));
}

#[tokio::test]
async fn a_password_is_proved_by_scram() {
    let postgres = Postgres::get();
    for user in ["plain", "built"] {
        is_in(
            &mut postgres.dial(SslMode::Disable).await,
            user,
            &password(),
        )
        .await;
        is_in(&mut postgres.dial_unix().await, user, &password()).await;
    }
}

#[tokio::test]
async fn over_tls_the_proof_is_bound_to_the_channel() {
    let postgres = Postgres::get();
    let mut stream = postgres.dial(SslMode::Require).await;
    assert!(
        stream
            .peer_certificate()
            .and_then(tls_server_end_point)
            .is_some()
    );
    is_in(&mut stream, "bound", &password()).await;
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(ask(&mut stream, sql).await.unwrap(), "t");
    let keys = Credentials::Scram(postgres.keys());
    is_in(&mut postgres.dial(SslMode::Require).await, "bound", &keys).await;
}

#[tokio::test]
async fn keys_revealed_by_a_client_log_in_like_its_password() {
    let postgres = Postgres::get();
    let keys = Credentials::Scram(postgres.keys());
    is_in(&mut postgres.dial(SslMode::Disable).await, "built", &keys).await;
}

#[tokio::test]
async fn keys_of_another_verifier_say_what_is_wrong() {
    let postgres = Postgres::get();
    let keys = Credentials::Scram(postgres.keys());
    let error = log_in(&mut postgres.dial(SslMode::Disable).await, "plain", &keys)
        .await
        .unwrap_err();
    assert!(
        matches!(error, LoginError::Scram(ScramClientError::OtherVerifier)),
        "{error}"
    );
    let told = error.to_router_error("plain");
    assert_eq!(told.sqlstate, "28000");
    assert!(
        told.hint
            .unwrap()
            .contains("same pg_authid.rolpassword on every shard")
    );
}

#[tokio::test]
async fn md5_and_trust_log_in_as_well() {
    let postgres = Postgres::get();
    is_in(
        &mut postgres.dial(SslMode::Disable).await,
        "old",
        &password(),
    )
    .await;
    let mut admin = postgres.dial(SslMode::Disable).await;
    is_in(&mut admin, "trusted", &Credentials::None).await;
    let stored = md5_of("old");
    is_in(
        &mut postgres.dial(SslMode::Disable).await,
        "old",
        &Credentials::Md5(stored),
    )
    .await;
}

/// What `pg_authid` holds under method md5: the answer to a salt, without the salt's round.
fn md5_of(user: &str) -> Secret {
    use md5::{Digest as _, Md5};
    let digest = Md5::digest(format!("{PASSWORD}{user}"));
    Secret(
        digest
            .iter()
            .fold("md5".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    )
}

#[tokio::test]
async fn a_password_in_clear_needs_tls_or_a_unix_socket() {
    let postgres = Postgres::get();
    is_in(&mut postgres.dial_unix().await, "clear", &password()).await;
    is_in(
        &mut postgres.dial(SslMode::Require).await,
        "clear",
        &password(),
    )
    .await;
    let mut plain = postgres.dial(SslMode::Disable).await;
    let error = log_in(&mut plain, "clear", &password()).await.unwrap_err();
    assert!(matches!(error, LoginError::ClearPassword), "{error}");
}

#[tokio::test]
async fn a_refusal_is_handed_on_as_it_is() {
    let postgres = Postgres::get();
    for (user, database, sqlstate) in [
        ("plain", "postgres", "28P01"),
        ("nobody", "postgres", "28P01"),
        ("trusted", "none", "3D000"),
    ] {
        let mut stream = postgres.dial(SslMode::Disable).await;
        let wrong = Credentials::Password(Secret("wrong".to_owned()));
        let outcome = login(&mut stream, user, database, &[], &wrong, LIMIT).await;
        let Err(LoginError::Refused(message)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(message[0], b'E');
        let error = ErrorResponse::parse(&message[5..]).unwrap();
        assert_eq!((error.sqlstate(), error.is_fatal()), (sqlstate, true));
    }
}

#[tokio::test]
async fn what_the_credentials_cannot_give_is_named() {
    let postgres = Postgres::get();
    for (user, credentials) in [
        ("plain", Credentials::None),
        ("plain", Credentials::Md5(md5_of("plain"))),
        ("old", Credentials::Scram(keys(&postgres.verifier))),
    ] {
        let mut stream = postgres.dial(SslMode::Disable).await;
        let error = log_in(&mut stream, user, &credentials).await.unwrap_err();
        assert!(matches!(error, LoginError::Method(_)), "{error}");
        assert!(
            !format!("{error:?} {credentials:?}").contains("md5"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_delivered_cancel_hits_the_running_statement_and_no_later_one() {
    let postgres = Postgres::get();
    for mode in [SslMode::Disable, SslMode::Require] {
        let mut stream = postgres.dial(mode).await;
        let key = log_in(&mut stream, "built", &password()).await.unwrap();
        let cancel = async {
            wait_until_sleeping(&postgres, key.process_id).await;
            let stream = postgres.dial(mode).await;
            cancel::deliver(stream, key.process_id, &key.secret, LIMIT)
                .await
                .unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&mut stream, "select pg_sleep(60)"), cancel);
        assert_eq!(answer, Err("57014".to_owned()));
        for _ in 0..50 {
            let late = postgres.dial(mode).await;
            cancel::deliver(late, key.process_id, &key.secret, LIMIT)
                .await
                .unwrap();
            assert_eq!(ask(&mut stream, "select 1").await, Ok("1".to_owned()));
        }
    }
}

async fn wait_until_sleeping(postgres: &Postgres, process_id: u32) {
    let mut watcher = postgres.dial(SslMode::Disable).await;
    log_in(&mut watcher, "built", &password()).await.unwrap();
    let sql =
        format!("select coalesce(wait_event, '') from pg_stat_activity where pid = {process_id}");
    let deadline = tokio::time::Instant::now() + LIMIT;
    while ask(&mut watcher, &sql).await != Ok("PgSleep".to_owned()) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the statement does not run"
        );
    }
}

/// A server that reads the startup packet and whatever else, and says `answers` one by one.
async fn misbehaving(answers: Vec<BytesMut>) -> Stream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            stream.write_all(&answer).await.unwrap();
        }
        // Says nothing more until the client goes.
        while stream
            .read(&mut [0; 4096])
            .await
            .is_ok_and(|count| count > 0)
        {}
    });
    Stream::Tcp(TcpStream::connect(address).await.unwrap())
}

fn said(writes: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    writes(&mut out);
    out
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let mut stream = misbehaving(vec![]).await;
    let limit = Duration::from_millis(100);
    let outcome = login(&mut stream, "ada", "ada", &[], &password(), limit).await;
    assert!(
        matches!(outcome, Err(LoginError::TimedOut(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_server_that_skips_its_own_proof_is_not_trusted() {
    let sasl = said(|out| write::authentication_sasl(out, [&b"SCRAM-SHA-256"[..]]));
    let ok = said(write::authentication_ok);
    let outcome = log_in(
        &mut misbehaving(vec![sasl.clone(), ok]).await,
        "ada",
        &password(),
    )
    .await;
    assert!(
        matches!(outcome, Err(LoginError::Unexpected(b'R'))),
        "{outcome:?}"
    );
    let reply = said(|out| write::authentication_sasl_continue(out, b"r=mine,s=QQ==,i=4096"));
    let outcome = log_in(
        &mut misbehaving(vec![sasl, reply]).await,
        "ada",
        &password(),
    )
    .await;
    assert!(
        matches!(outcome, Err(LoginError::Scram(ScramClientError::Nonce))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nonsense_from_a_server_is_an_error() {
    for (nonsense, expected) in [
        (
            BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..]),
            "broke the protocol",
        ),
        (
            said(|out| write::ready_for_query(out, Default::default())),
            "type 0x5a",
        ),
        (
            said(|out| write::authentication_sasl(out, [&b"OAUTHBEARER"[..]])),
            "SASL mechanism",
        ),
    ] {
        let error = log_in(&mut misbehaving(vec![nonsense]).await, "ada", &password()).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}
