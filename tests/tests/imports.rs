//! Keeps the import direction that ARCHITECTURE.md draws: between crates, between the router's modules, and out of
//! the pure stages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of ours each may depend on. `bench` and `tests` may use any.
const CRATES: [(&str, &[&str]); 6] = [
    ("wire", &[]),
    ("topology", &[]),
    ("schema", &[]),
    ("shard-node", &[]),
    ("social-app", &[]),
    ("router", &["wire", "topology", "schema", "shard-node"]),
];

/// The pure stages, and the router's modules that each may import.
const STAGES: [(&str, &[&str]); 4] = [
    ("parse", &["error"]),
    ("plan", &["parse", "error", "config", "merge"]),
    ("route", &["plan", "parse", "error", "config"]),
    ("merge", &["plan", "error", "config"]),
];

/// What a pure stage never mentions: the world outside its arguments.
const IMPURE: [&str; 7] = [
    "tokio",
    "std::time",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "socket2",
];

/// Modules at the top: nobody imports them but those named.
const TOPS: [(&str, &[&str]); 5] = [
    ("cli", &[]),
    ("up", &["cli"]),
    ("signals", &["cli", "up"]),
    ("session", &["listen", "worker", "serve", "run"]),
    ("listen", &["serve", "run"]),
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("tests is a directory of the workspace")
        .to_owned()
}

/// Every module of the router's top level with the text of its code: no comments, no tests.
fn modules() -> BTreeMap<String, String> {
    let source = root().join("router/src");
    let mut modules = BTreeMap::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if !["lib", "main"].contains(&module) && !is_test(relative) {
            *modules.entry(module.to_owned()).or_default() +=
                code(&fs::read_to_string(&file).unwrap()).as_str();
        }
    }
    modules
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| {
        if path.is_dir() {
            rust_files(&path)
        } else {
            vec![path]
        }
    });
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn is_test(relative: &Path) -> bool {
    relative
        .iter()
        .any(|part| part == "tests" || part == "tests.rs")
}

/// Without comments, and without the tests at the end of the file.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The modules that code names after `crate::`, also within braces.
fn imports(code: &str) -> BTreeSet<String> {
    code.split("crate::")
        .skip(1)
        .flat_map(first_names)
        .collect()
}

fn first_names(after: &str) -> Vec<String> {
    let Some(inside) = after.strip_prefix('{') else {
        return vec![name(after)];
    };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&inside[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// Each module's imports of other modules of the router.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let names: BTreeSet<&String> = modules.keys().collect();
    let of = |module: &String, code: &String| {
        imports(code)
            .into_iter()
            .filter(|import| import != module && names.contains(import))
            .collect()
    };
    modules
        .iter()
        .map(|(module, code)| (module.clone(), of(module, code)))
        .collect()
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let ours: Vec<&str> = CRATES
        .iter()
        .map(|(name, _)| *name)
        .chain(["bench", "tests"])
        .collect();
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        for dependency in dependencies.filter(|dependency| ours.contains(dependency)) {
            assert!(
                allowed.contains(&dependency),
                "crate {name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn a_stage_imports_only_what_is_below_it() {
    let graph = graph();
    for (stage, allowed) in STAGES {
        for import in &graph[stage] {
            assert!(
                allowed.contains(&import.as_str()),
                "router: {stage} must not import {import}"
            );
        }
    }
}

#[test]
fn the_pure_stages_know_no_clock_no_socket_and_no_runtime() {
    let modules = modules();
    for (stage, _) in STAGES {
        for (number, line) in modules[stage].lines().enumerate() {
            let found = IMPURE.iter().find(|impure| line.contains(*impure));
            // A duration is a value, not a clock.
            assert!(
                found.is_none() || line.contains("std::time::Duration"),
                "router: {stage} is pure and must not use {}: line {number} of its code: {line}",
                found.unwrap()
            );
        }
    }
}

#[test]
fn the_conductor_and_what_is_above_it_are_imported_by_nobody_below() {
    let graph = graph();
    for (top, allowed) in TOPS {
        for (module, imports) in &graph {
            let fine = !imports.contains(top) || allowed.contains(&module.as_str());
            assert!(fine, "router: {module} must not import {top}");
        }
    }
}

#[test]
fn no_ring_of_imports_in_the_router() {
    let mut graph = graph();
    // Take away modules that import nothing that is left, until none goes: what stays is in a ring, or above one.
    while let Some(leaf) = graph
        .iter()
        .find(|(_, imports)| imports.is_empty())
        .map(|(module, _)| module.clone())
    {
        graph.remove(&leaf);
        for imports in graph.values_mut() {
            imports.remove(&leaf);
        }
    }
    assert!(
        graph.is_empty(),
        "modules in a ring of imports, or above one: {graph:#?}"
    );
}

#[test]
fn names_are_found_after_crate_and_within_braces() {
    let text = "use crate::error::Error;\nuse crate::{plan::{A, b::C}, route};\nlet x = crate::merge::fold();\n";
    let expected = ["error", "merge", "plan", "route"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}
