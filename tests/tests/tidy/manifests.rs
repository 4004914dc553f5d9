//! The law of dependencies, read off the manifests: arrows point only downward in the table of crates.

use std::fs;
use std::path::Path;

use crate::rules::Breaches;
use crate::tables::{BUILT_FROM_C, CLIENT, JUDGE, ROOMS, Room};

/// A line of a manifest that names a dependency.
struct Dependency<'t> {
    line: usize,
    package: &'t str,
    is_for_tests: bool,
}

/// Checks the manifest of every crate in a folder.
pub(crate) fn check_all(crates: &Path, breaches: &mut Breaches) {
    let entries =
        fs::read_dir(crates).unwrap_or_else(|error| panic!("cannot read {}: {error}", crates.display()));
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry of a folder that was opened")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert!(names.len() >= ROOMS.len(), "crates are missing: {names:?}");
    for name in names {
        let manifest = crates.join(&name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", manifest.display()));
        check(&name, &text, breaches);
    }
}

/// Checks one manifest.
pub(crate) fn check(crate_name: &str, text: &str, breaches: &mut Breaches) {
    let Some(room) = ROOMS.iter().find(|room| room.name == crate_name) else {
        breaches.add(
            format_args!("crates/{crate_name}/Cargo.toml"),
            "law",
            "this crate is not in the table of crates",
        );
        return;
    };
    for dependency in dependencies(text) {
        if let Some(what) = breach(room, &dependency) {
            breaches.add(
                format_args!("crates/{crate_name}/Cargo.toml:{}", dependency.line),
                "law",
                what,
            );
        }
    }
}

fn breach(room: &Room, dependency: &Dependency<'_>) -> Option<String> {
    let Dependency {
        package,
        is_for_tests,
        ..
    } = *dependency;
    let name = room.name;
    if is_for_tests {
        let is_unfair = name == JUDGE && CLIENT.contains(&package);
        return is_unfair.then(|| {
            format!("{name} judges the client and must not depend on {package}, not even in tests")
        });
    }
    if (package == "kommit" || package.starts_with("kommit-")) && !room.below.contains(&package) {
        return Some(format!("{name} must not depend on {package}"));
    }
    if (package == "tokio" && room.tokio.is_none())
        || (package == "async-trait" && room.async_trait.is_none())
    {
        return Some(format!("{package} is not for {name}"));
    }
    BUILT_FROM_C
        .contains(&package)
        .then(|| format!("{package} is built from C"))
}

/// The dependencies of a manifest, by the names of their packages.
fn dependencies(text: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if let Some(name) = line_text.strip_prefix('[') {
            section = name.trim_end_matches(']');
            if let Some((_, package)) = section.split_once("dependencies.") {
                found.push(Dependency {
                    line: index + 1,
                    package,
                    is_for_tests: section.contains("dev-"),
                });
            }
            continue;
        }
        let is_list = section.ends_with("dependencies");
        let key = line_text
            .split(['=', '.', ' '])
            .next()
            .filter(|key| !key.is_empty() && !key.starts_with('#'));
        if let (true, Some(key)) = (is_list, key) {
            let package = renamed(line_text).unwrap_or(key);
            found.push(Dependency {
                line: index + 1,
                package,
                is_for_tests: section.contains("dev-"),
            });
        }
    }
    found
}

/// The value of `package = "…"` in a line.
fn renamed(line: &str) -> Option<&str> {
    let (_, value) = line.split_once("package")?;
    value
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .strip_prefix('"')?
        .split('"')
        .next()
}
