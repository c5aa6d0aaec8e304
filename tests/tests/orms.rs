//! The programs behind the guides of ORMs (docs/sqlalchemy.md, docs/diesel.md), each on one PostgreSQL and then
//! through the router to four shards; see ../orms/README.md.

use std::process::Command;
use std::sync::OnceLock;

use tests::toolchain::{Missing, directory, python, skip, succeed, target, tool};
use tests::{Cluster, ClusterOptions, block_on};

/// One for all programs; each has a database of its own.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let rules = std::fs::read_to_string(directory().join("orms/oskol.toml"));
        Cluster::start_with(ClusterOptions {
            config: rules.expect("the programs' rules"),
            ..ClusterOptions::default()
        })
    })
}

fn run(name: &str, command: Result<Command, Missing>) {
    let mut command = match command {
        Ok(command) => command,
        Err(missing) => return skip(name, &missing),
    };
    let database = cluster().database(name);
    succeed(command.env("CLIENT_TEST_URL", database.oracle_url()));
    succeed(command.env("CLIENT_TEST_URL", database.url()));
    for table in ["users", "posts"] {
        let rows = block_on(database.rows_by_shard(table));
        assert!(
            rows.iter().all(|&count| count > 0),
            "{table} by shard: {rows:?}"
        );
    }
}

#[test]
fn sqlalchemy_works_through_the_router() {
    let program = directory().join("orms/sqlalchemy");
    let command = python(&program.join("requirements.txt")).map(|python| {
        let mut command = Command::new(python);
        command.arg("client.py").current_dir(&program);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    });
    run("sqlalchemy", command);
}

#[test]
fn diesel_works_through_the_router() {
    run("diesel", diesel());
}

/// Built apart from the workspace, which does not need Diesel.
fn diesel() -> Result<Command, Missing> {
    let built = target().join("clients");
    let mut cargo = Command::new(tool("cargo", "rustup")?);
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(directory().join("orms/diesel/Cargo.toml"));
    succeed(cargo.env("CARGO_TARGET_DIR", &built));
    Ok(Command::new(built.join("debug/orm-diesel")))
}
