//! A Django project of plain models: migrated, filled and tested, on plain PostgreSQL and through the router.

use std::path::Path;
use std::process::Command;

use tests::toolchain::{directory, python, skip, succeed};
use tests::{Cluster, ClusterOptions, block_on};

/// The project's models, by table.
const TABLES: [&str; 4] = ["social_user", "social_post", "social_follow", "social_like"];

#[test]
fn a_django_project_works_through_the_router() {
    let project = directory().join("django");
    let python = match python(&project.join("requirements.txt")) {
        Ok(python) => python,
        Err(missing) => return skip("django", &missing),
    };
    let rules = std::fs::read_to_string(project.join("oskol.toml")).expect("the project's rules");
    let cluster = Cluster::start_with(ClusterOptions {
        config: rules,
        ..ClusterOptions::default()
    });
    let database = cluster.database("django");
    let manage = |url: &str, arguments: &[&str]| manage(&python, &project, url, arguments);

    let oracle = database.oracle_url();
    manage(&oracle, &["migrate"]);
    manage(&oracle, &["test", "social", "--no-input"]);

    let url = database.url();
    manage(&url, &["migrate"]);
    manage(&url, &["fill", "--users", "200"]);
    let expected = [200, 600, 200, 200];
    for (table, expected) in TABLES.into_iter().zip(expected) {
        let rows = block_on(database.rows_by_shard(table));
        assert!(
            rows.iter().all(|&count| count > 0),
            "{table} by shard: {rows:?}"
        );
        assert_eq!(
            rows.iter().sum::<i64>(),
            expected,
            "{table} by shard: {rows:?}"
        );
    }
    // Nothing is left to migrate: Django reads back what it wrote.
    manage(&url, &["migrate", "--check"]);
    manage(&url, &["makemigrations", "--check", "--dry-run"]);
    manage(&url, &["migrate", "social", "0001"]);
    manage(&url, &["migrate"]);
    let boss = [
        "createsuperuser",
        "--no-input",
        "--handle",
        "boss",
        "--email",
    ];
    manage(&url, &[&boss[..], &["boss@example.com"]].concat());
    manage(&url, &["test", "social", "--no-input"]);
}

#[test]
fn djangos_own_applications_have_all_their_constraints_enforced() {
    let project = directory().join("django");
    let python = match python(&project.join("requirements.txt")) {
        Ok(python) => python,
        Err(missing) => return skip("django", &missing),
    };
    let rules = std::fs::read_to_string(project.join("enforced.toml")).expect("the rules");
    let cluster = Cluster::start_with(ClusterOptions {
        config: rules,
        ..ClusterOptions::default()
    });
    let database = cluster.database("enforced");
    for url in [database.oracle_url(), database.url()] {
        let manage = |arguments: &[&str]| {
            let settings = ("DJANGO_SETTINGS_MODULE", "project.enforced");
            manage_with(&python, &project, &url, arguments, &[settings]);
        };
        manage(&["migrate"]);
        manage(&["migrate", "--check"]);
        manage(&["test", "enforced", "--no-input"]);
    }
}

fn manage(python: &Path, project: &Path, url: &str, arguments: &[&str]) {
    manage_with(python, project, url, arguments, &[]);
}

fn manage_with(
    python: &Path,
    project: &Path,
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) {
    let mut command = Command::new(python);
    command
        .arg("manage.py")
        .args(arguments)
        .current_dir(project);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(environment.iter().copied());
    succeed(command.env("CLIENT_TEST_URL", url));
}
