//! Both halves against each other and against the vector of RFC 7677, section 3.

use super::client::{self, Proof, ScramClientError};
use super::server::{self, Binding, Expected, ScramError};
use super::verifier::Verifier;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier() -> Verifier {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Verifier::derive("pencil", &salt, 4096)
}

fn expected() -> Expected {
    Expected::of(verifier())
}

#[test]
fn the_client_speaks_the_vector_of_rfc_7677() {
    let nonce = CLIENT_NONCE.to_owned();
    let (first, started) = client::start(
        Proof::Password("pencil"),
        client::Binding::Impossible,
        "user",
        nonce,
    );
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (last, answered) = started.answer(SERVER_FIRST.as_bytes()).unwrap();
    assert_eq!(last, CLIENT_FINAL);
    assert_eq!(answered.verify(SERVER_FINAL.as_bytes()), Ok(()));
}

#[test]
fn the_server_speaks_the_vector_of_rfc_7677() {
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let (reply, pending) =
        server::start(expected(), Binding::Impossible, first, SERVER_NONCE).unwrap();
    assert_eq!(reply, SERVER_FIRST);
    let proved = pending.finish(CLIENT_FINAL.as_bytes()).unwrap();
    assert_eq!(proved.message, SERVER_FINAL);
}

/// Runs both halves; the server's keys when the client is let in.
fn exchange(
    expected: Expected,
    proof: Proof<'_>,
    binding: client::Binding,
    server_binding: Binding<'_>,
) -> Result<super::ScramKeys, ScramError> {
    let (first, started) = client::start(proof, binding, "", super::nonce());
    let (reply, pending) =
        server::start(expected, server_binding, first.as_bytes(), &super::nonce())?;
    let (last, answered) = started.answer(reply.as_bytes()).unwrap();
    let proved = pending.finish(last.as_bytes())?;
    answered.verify(proved.message.as_bytes()).unwrap();
    Ok(proved.keys)
}

#[test]
fn the_keys_of_one_exchange_open_the_next() {
    let plain = || client::Binding::Impossible;
    let keys = exchange(
        expected(),
        Proof::Password("pencil"),
        plain(),
        Binding::Impossible,
    )
    .unwrap();
    let again = exchange(expected(), Proof::Keys(&keys), plain(), Binding::Impossible).unwrap();
    assert_eq!(keys, again);
    assert_eq!(format!("{keys:?}"), "ScramKeys(..)");
}

#[test]
fn a_wrong_password_is_refused() {
    let outcome = exchange(
        expected(),
        Proof::Password("pencils"),
        client::Binding::Impossible,
        Binding::Impossible,
    );
    assert_eq!(outcome, Err(ScramError::WrongProof));
}

#[test]
fn an_unknown_role_gets_the_same_salt_each_time_and_never_in() {
    let salt = |user: &str, secret: u8| {
        let mock = Expected::mock(user, &[secret; 32]);
        let first = b"n,,n=,r=abc";
        let (reply, _) = server::start(mock, Binding::Impossible, first, "").unwrap();
        reply
    };
    assert_eq!(salt("ada", 1), salt("ada", 1));
    assert_ne!(salt("ada", 1), salt("bob", 1));
    assert_ne!(salt("ada", 1), salt("ada", 2));
    let outcome = exchange(
        Expected::mock("ada", &[1; 32]),
        Proof::Password(""),
        client::Binding::Impossible,
        Binding::Impossible,
    );
    assert_eq!(outcome, Err(ScramError::WrongProof));
}

#[test]
fn channel_binding_holds_on_the_same_certificate_only() {
    let chosen = |hash: &[u8]| client::Binding::Chosen(hash.to_vec());
    let run = |ours: &[u8], theirs: &[u8]| {
        exchange(
            expected(),
            Proof::Password("pencil"),
            chosen(ours),
            Binding::Chosen(theirs),
        )
    };
    assert!(run(b"certificate", b"certificate").is_ok());
    assert_eq!(
        run(b"certificate", b"another"),
        Err(ScramError::BindingMismatch)
    );
}

#[test]
fn a_client_that_was_not_shown_plus_is_a_downgrade() {
    let run = |server_binding| {
        exchange(
            expected(),
            Proof::Password("pencil"),
            client::Binding::NotOffered,
            server_binding,
        )
    };
    assert_eq!(run(Binding::Declined), Err(ScramError::Downgrade));
    assert!(run(Binding::Impossible).is_ok());
}

#[test]
fn malformed_first_messages_are_named() {
    let refuse = |message: &[u8], binding: Binding<'_>| {
        server::start(expected(), binding, message, SERVER_NONCE).unwrap_err()
    };
    let none = Binding::Impossible;
    assert_eq!(
        refuse(b"", none),
        ScramError::Malformed("The message is empty.".into())
    );
    assert_eq!(
        refuse(b"n,a=x,n=,r=a", none),
        ScramError::AuthorizationIdentity
    );
    assert_eq!(refuse(b"n,,m=x,n=,r=a", none), ScramError::Extension);
    assert_eq!(refuse(b"n,,n=,r=a\x01", none), ScramError::Nonce);
    let tls_unique = b"p=tls-unique,,n=,r=a";
    assert_eq!(
        refuse(tls_unique, Binding::Chosen(b"")),
        ScramError::BindingType("tls-unique".into())
    );
    for message in [
        &b"x,,n=,r=a"[..],
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"\xff\xff",
        b"p=tls-server-end-point,,n=,r=a",
        b"n,,n=,r=a,=",
    ] {
        assert!(
            matches!(refuse(message, none), ScramError::Malformed(_)),
            "{message:?}"
        );
    }
    assert!(matches!(
        refuse(b"n,,n=,r=a", Binding::Chosen(b"")),
        ScramError::Malformed(_)
    ));
}

#[test]
fn malformed_final_messages_are_named() {
    let refuse = |message: &str| {
        let first = b"n,,n=,r=rOprNGfwEbeRWgbNEkqO";
        let (_, pending) =
            server::start(expected(), Binding::Impossible, first, SERVER_NONCE).unwrap();
        pending.finish(message.as_bytes()).unwrap_err()
    };
    let proof = STANDARD.encode([0; 32]);
    assert_eq!(
        refuse(&format!("c=eSws,r=a,p={proof}")),
        ScramError::BindingAttribute
    );
    assert_eq!(
        refuse(&format!("c=biws,r=a,p={proof}")),
        ScramError::NonceMismatch
    );
    for message in [
        "c=biws,r=a",
        "c=biws,r=a,p=QQ==",
        "",
        "c=biws",
        &format!("c=biws,r=a,p={proof},x=1"),
    ] {
        assert!(
            matches!(refuse(message), ScramError::Malformed(_)),
            "{message}"
        );
    }
}

#[test]
fn a_server_that_does_not_know_the_verifier_is_found_out() {
    let start = || {
        let nonce = CLIENT_NONCE.to_owned();
        client::start(
            Proof::Password("pencil"),
            client::Binding::Impossible,
            "user",
            nonce,
        )
        .1
    };
    let (_, answered) = start().answer(SERVER_FIRST.as_bytes()).unwrap();
    let forged = format!("v={}", STANDARD.encode([0; 32]));
    assert_eq!(
        answered.verify(forged.as_bytes()),
        Err(ScramClientError::ServerSignature)
    );
    assert_eq!(
        start().answer(b"r=other,s=QQ==,i=1").err(),
        Some(ScramClientError::Nonce)
    );
    let slow = SERVER_FIRST.replace("i=4096", "i=4000000000");
    assert_eq!(
        start().answer(slow.as_bytes()).err(),
        Some(ScramClientError::Iterations(4_000_000_000))
    );
}

#[test]
fn keys_of_another_verifier_are_not_sent() {
    let keys = exchange(
        expected(),
        Proof::Password("pencil"),
        client::Binding::Impossible,
        Binding::Impossible,
    )
    .unwrap();
    let nonce = CLIENT_NONCE.to_owned();
    let (_, started) = client::start(Proof::Keys(&keys), client::Binding::Impossible, "", nonce);
    let other = SERVER_FIRST.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "QQ==");
    assert_eq!(
        started.answer(other.as_bytes()).err(),
        Some(ScramClientError::OtherVerifier)
    );
}
