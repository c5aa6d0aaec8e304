//! Joining a cluster and leaving it.

use std::process::{Command, Output};

use serde_json::json;

use crate::process::{Agent, Options, directory, secret};
use crate::router::Router;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn options(directory: &std::path::Path, router: &Router) -> Options {
    let token = secret(directory, "token", TOKEN);
    Options::new(directory).with(&[
        "--router",
        &router.url,
        "--token-file",
        token.to_str().unwrap(),
        "--host",
        "shard.example",
        "--database",
        "social",
        "--weight",
        "2.5",
    ])
}

#[test]
fn a_server_announces_itself_until_a_router_takes_it() {
    let directory = directory();
    let router = Router::start(&[
        (503, "the home shard does not answer"),
        (401, "another token"),
        (200, r#"{"shard_id": 7}"#),
    ]);
    let mut agent = Agent::ready(&options(directory.path(), &router));
    let page = agent.eventually("it has joined", |page| page["cluster"]["state"] == "joined");
    assert_eq!(page["cluster"]["shard"], 7);
    let seen = router.seen();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        assert_eq!(request.line, "POST /shards");
        assert_eq!(request.authorization, format!("Bearer {TOKEN}"));
        let expected = json!({
            "name": "shard", "host": "shard.example", "port": agent.port, "database": "social", "weight": 2.5
        });
        assert_eq!(request.body, expected);
    }
    let log = agent.log();
    assert!(log.contains("the home shard does not answer"), "{log}");
    assert!(
        !log.contains(TOKEN) && !log.contains("correct horse"),
        "{log}"
    );
    let metrics = agent.page("/metrics").unwrap().1;
    assert!(metrics.contains("oskol_shard_joined 1\n"), "{metrics}");
}

#[test]
fn a_server_that_nobody_takes_goes_on_serving_and_tells_why() {
    let directory = directory();
    let router = Router::start(&[(409, "shard \"shard\" is another server")]);
    let mut agent = Agent::ready(&options(directory.path(), &router));
    let page = agent.eventually("it was refused", |page| !page["cluster"]["fault"].is_null());
    assert_eq!(page["status"], "ok");
    assert_eq!(page["cluster"]["state"], "joining");
    let fault = page["cluster"]["fault"].as_str().unwrap();
    assert!(
        fault.contains("409") && fault.contains("is another server"),
        "{fault}"
    );
    assert_eq!(agent.sql("select 42"), "42");
}

#[test]
fn a_server_that_has_left_does_not_join_again_by_itself() {
    let directory = directory();
    let router = Router::start(&[
        (200, r#"{"shard_id": 7}"#),
        (202, "12 buckets are left"),
        (200, "removed"),
    ]);
    let options = options(directory.path(), &router);
    let mut agent = Agent::ready(&options);
    agent.eventually("it has joined", |page| page["cluster"]["state"] == "joined");
    let left = leave(&agent, &router, directory.path());
    let said = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.status.success(), "{left:?}");
    assert!(
        said.contains("12 buckets are left") && said.contains("shard 7 has left"),
        "{said}"
    );
    let lines: Vec<String> = router
        .seen()
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert_eq!(
        lines,
        ["POST /shards", "DELETE /shards/7", "DELETE /shards/7"]
    );
    agent.eventually("the agent knows", |page| page["cluster"]["state"] == "left");
    assert!(agent.stop().success());

    let mut agent = Agent::ready(&options);
    agent.eventually("it stays out", |page| page["cluster"]["state"] == "left");
    assert!(agent.stop().success());
    assert_eq!(router.seen().len(), 3);

    let mut agent = Agent::ready(&options.with(&["--rejoin"]));
    agent.eventually("it was told to", |page| page["cluster"]["state"] != "left");
    agent.eventually("it asks", |_| router.seen().len() > 3);
}

#[test]
fn a_router_that_does_not_let_go_is_told_and_the_server_stays_a_member() {
    let directory = directory();
    let router = Router::start(&[
        (200, r#"{"shard_id": 0}"#),
        (409, "shard 0 is the home shard"),
    ]);
    let mut agent = Agent::ready(&options(directory.path(), &router));
    agent.eventually("it has joined", |page| page["cluster"]["state"] == "joined");
    let left = leave(&agent, &router, directory.path());
    assert!(!left.status.success());
    let said = String::from_utf8_lossy(&left.stderr);
    assert!(said.contains("is the home shard"), "{said}");
    agent.eventually("it is a member", |page| {
        page["cluster"]["state"] == "joined"
    });
}

#[test]
fn servers_with_the_same_password_and_token_have_the_same_verifier() {
    let verifier = "select rolpassword from pg_authid where rolname = 'postgres'";
    let router = Router::start(&[(503, "later")]);
    let made: Vec<String> = (0..2)
        .map(|_| {
            let directory = directory();
            Agent::ready(&options(directory.path(), &router)).sql(verifier)
        })
        .collect();
    assert!(made[0].starts_with("SCRAM-SHA-256$"), "{made:?}");
    assert_eq!(made[0], made[1]);
}

fn leave(agent: &Agent, router: &Router, directory: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shard-node"));
    command
        .args(["leave", "--router", &router.url, "--timeout", "60"])
        .arg("--token-file")
        .arg(directory.join("token"))
        .args(["--url", &format!("http://{}", agent.health.authority)]);
    command.output().unwrap()
}
