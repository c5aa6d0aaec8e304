//! Real drivers, each against plain PostgreSQL first and then through the router to four shards.
//!
//! The programs are in `clients/`; see its README.md.

use std::process::Command;

use tests::Cluster;
use tests::toolchain::{Missing, directory, node_packages, python, skip, succeed, target, tool};

/// Runs the program on the oracle and on the cluster, in databases of its own.
fn run(name: &str, command: Result<Command, Missing>) {
    let mut command = match command {
        Ok(command) => command,
        Err(missing) => return skip(name, &missing),
    };
    let database = Cluster::shared().database(name);
    succeed(command.env("CLIENT_TEST_URL", database.oracle_url()));
    let through_router = command.env("CLIENT_TEST_URL", database.url());
    succeed(through_router.env("OSKOL", "1"));
}

#[test]
fn psycopg_works_through_the_router() {
    run("psycopg", psycopg());
}

fn psycopg() -> Result<Command, Missing> {
    let client = directory().join("clients/psycopg");
    let mut command = Command::new(python(&client.join("requirements.txt"))?);
    command.arg(client.join("client.py"));
    Ok(command)
}

#[test]
fn tokio_postgres_works_through_the_router() {
    let program = env!("CARGO_BIN_EXE_client-tokio-postgres");
    run("tokio_postgres", Ok(Command::new(program)));
}

#[test]
fn sqlx_works_through_the_router() {
    run("sqlx", sqlx());
}

/// Built apart from the workspace, which does not need sqlx.
fn sqlx() -> Result<Command, Missing> {
    let built = target().join("clients");
    let mut cargo = Command::new(tool("cargo", "rustup")?);
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(directory().join("clients/sqlx/Cargo.toml"));
    succeed(cargo.env("CARGO_TARGET_DIR", &built));
    Ok(Command::new(built.join("debug/client-sqlx")))
}

#[test]
fn node_postgres_works_through_the_router() {
    run("node_postgres", node_postgres());
}

fn node_postgres() -> Result<Command, Missing> {
    let client = directory().join("clients/node");
    let mut command = Command::new(tool("node", "Debian: nodejs")?);
    let packages = node_packages(&client.join("package.json"))?;
    command.arg(client.join("client.js"));
    command.env("NODE_MODULES_ROOT", packages);
    Ok(command)
}

#[test]
fn pgx_works_through_the_router() {
    run("pgx", pgx());
}

fn pgx() -> Result<Command, Missing> {
    let program = target().join("clients/pgx");
    let mut go = Command::new(tool("go", "Debian: golang-go, 1.23 or newer")?);
    go.args(["build", "-o"]).arg(&program).arg(".");
    succeed(go.current_dir(directory().join("clients/pgx")));
    Ok(Command::new(program))
}

#[test]
fn pgjdbc_works_through_the_router() {
    run("pgjdbc", pgjdbc());
}

fn pgjdbc() -> Result<Command, Missing> {
    tool("javac", "Debian: default-jdk-headless")?;
    let mut command = Command::new(tool("mvn", "Debian: maven")?);
    let output = target().join("clients/pgjdbc");
    command.args(["-q", "-B", "compile", "exec:java"]);
    command.arg(format!("-Doutput.directory={}", output.display()));
    command.current_dir(directory().join("clients/pgjdbc"));
    Ok(command)
}
