//! The annotated `oskol.toml` is held true here, and messages are kept exact.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::file::ConfigFile;
use super::*;

const ANNOTATED: &str = include_str!("../../../oskol.toml");

/// The annotated file with its commented-out values in force.
fn uncommented() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
        _ => line,
    };
    ANNOTATED
        .lines()
        .map(uncomment)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The examples of the annotated file (`# key = ...` under `# [[...]]`).
fn examples() -> String {
    let lines = ANNOTATED.lines().filter_map(|line| line.strip_prefix("# "));
    lines
        .filter(|line| line.starts_with("[[") || is_assignment(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_assignment(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    key.len() < line.len()
        && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && !line.ends_with('.')
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load_path(file.path(), environment)
}

fn load_path(path: &Path, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Config::load_from(Some(path), owned.into_iter())
}

fn wrong(text: &str) -> String {
    load(text, &[]).unwrap_err().to_string()
}

#[test]
fn the_annotated_file_documents_every_value_with_its_default() {
    let documented: toml::Table = toml::from_str(&uncommented()).unwrap();
    let mut defaults = toml::Table::try_from(ConfigFile::default()).unwrap();
    defaults.remove("tables");
    defaults["cluster"].as_table_mut().unwrap().remove("shards");
    assert_eq!(documented, defaults);
}

#[test]
fn the_annotated_file_loads_as_it_is() {
    let config = load(ANNOTATED, &[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_examples_of_the_annotated_file_load() {
    let examples = examples().replacen("password = \"secret\"", "", 1);
    let config = load(&examples, &[]).unwrap();
    assert_eq!(config.cluster.shards.all().len(), 1);
    assert_eq!(config.tables[0].key.as_deref(), Some("user_id"));
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        ("OSKOL_POOL__SIZE", "30"),
        ("OSKOL_CLUSTER__SHARDS", "a:5433, [::1]:5434"),
        ("OSKOL_LISTEN__ADDRESSES", "127.0.0.1:1,[::1]:2"),
        ("OSKOL_POOL__CHECKOUT_TIMEOUT", "250ms"),
        ("OSKOL_ADMIN__ADDRESS", ""),
        ("OSKOL_DATA", "not configuration"),
        ("PATH", "/bin"),
    ];
    let config = load("[pool]\nsize = 5\n", &environment).unwrap();
    assert_eq!(config.pool.size, 30);
    assert_eq!(config.pool.checkout_timeout, Duration::from_millis(250));
    assert_eq!(config.listen.addresses.len(), 2);
    assert_eq!(config.admin.address, None);
    let shards = config.cluster.shards.all();
    let shards: Vec<_> = shards
        .iter()
        .map(|s| (s.id.0, s.host.as_str(), s.port))
        .collect();
    assert_eq!(shards, [(0, "a", 5433), (1, "::1", 5434)]);
}

#[test]
fn a_variable_that_is_not_known_is_not_blamed_on_the_file() {
    let of_environment = load("[pool]\nsize = 5\n", &[("OSKOL_POOL__SIZES", "30")]);
    let message = of_environment.unwrap_err().to_string();
    assert!(message.starts_with("the environment: "), "{message}");
    let of_file = load("[pool]\nsizes = 5\n", &[("OSKOL_POOL__SIZE", "30")]);
    let message = of_file.unwrap_err().to_string();
    assert!(!message.starts_with("the environment: "), "{message}");
}

#[test]
fn a_message_names_file_key_fault_and_what_is_allowed() {
    let message = wrong("[pool]\nmode = \"statement\"\ncheckout_timeout = 5\nsize = 0\n");
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    assert!(lines[0].contains(
        ".toml: pool.mode = \"statement\" is not known; allowed: \"transaction\", \"session\""
    ));
    assert!(
        lines[1].contains("pool.size = 0 is out of range; allowed: 1 to 10000"),
        "{message}"
    );
    assert!(
        lines[2]
            .contains("pool.checkout_timeout = \"5\" is not a duration; allowed: a whole number")
    );
}

#[test]
fn an_unknown_key_is_an_error() {
    let message = wrong("[pool]\nsise = 5\n");
    assert!(
        message.contains("sise") && message.contains(".toml"),
        "{message}"
    );
    let message = load("", &[("OSKOL_POOL__SISE", "5")])
        .unwrap_err()
        .to_string();
    assert!(message.contains("sise"), "{message}");
}

#[test]
fn a_wrong_type_names_its_key() {
    let message = wrong("[pool]\nsize = \"many\"\n");
    assert!(message.contains("pool.size"), "{message}");
    let message = wrong("[[cluster.shards]]\nid = 1\nhost = \"a\"\nport = 70000\n");
    assert!(message.contains("port"), "{message}");
}

#[test]
fn a_missing_file_says_so() {
    let message = load_path(Path::new("/nonexistent/oskol.toml"), &[])
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "/nonexistent/oskol.toml: cannot be read: No such file or directory (os error 2); allowed: a readable TOML file"
    );
}

#[test]
fn shards_must_differ_and_home_must_be_one_of_them() {
    let shard = |id| format!("[[cluster.shards]]\nid = {id}\nhost = \"h\"\n");
    let message = wrong(&format!(
        "[cluster]\nhome = \"7\"\n{}{}",
        shard(1),
        shard(1)
    ));
    assert!(
        message.contains("cluster.shards (id 1) is there twice"),
        "{message}"
    );
    assert!(
        message.contains("cluster.home = \"7\" is no shard's id"),
        "{message}"
    );
    let config = load(&format!("{}{}", shard(4), shard(2)), &[]).unwrap();
    assert_eq!(config.cluster.home, ShardId(2));
    assert!(config.require_shards().is_ok());
    assert!(Config::default().require_shards().is_err());
}

#[test]
fn a_sharded_table_needs_a_key_and_others_none() {
    let message = wrong(
        "[[tables]]\nname = \"a\"\nplacement = \"sharded\"\n[[tables]]\nname = \"b\"\nplacement = \"local\"\nkey = \"x\"\n",
    );
    assert!(
        message.contains("tables (a) is sharded without key"),
        "{message}"
    );
    assert!(
        message.contains("tables (b) has a key but is not sharded"),
        "{message}"
    );
}

#[test]
fn a_password_comes_from_its_file_and_is_never_printed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"s3cret \n").unwrap();
    let config = load(
        &format!("[cluster]\npassword_file = {:?}\n", file.path()),
        &[],
    )
    .unwrap();
    assert_eq!(config.cluster.password.as_ref().unwrap().0, "s3cret ");
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn tls_needs_its_files() {
    let message = wrong("[tls]\nmode = \"require\"\ncertificate = \"/nonexistent.pem\"\n");
    assert!(
        message.contains("tls.certificate = \"/nonexistent.pem\" cannot be read"),
        "{message}"
    );
    assert!(message.contains("tls.key is empty"), "{message}");
}
