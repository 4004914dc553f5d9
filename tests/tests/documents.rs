//! What the documents claim and a machine can check: the tests that they name exist, and the index of the decisions is complete.
//!
//! Whether a test shows what the page says is for a reader to judge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders in which tests live, below the top of the workspace.
const CODE: [&str; 2] = ["crates", "tests"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed
        .map(|entry| entry.expect("an entry that can be read").path())
        .collect();
    paths.sort();
    paths
}

/// The names of all functions in the Rust files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for path in entries(folder) {
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            let declared = text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
            names.extend(declared);
        }
    }
}

fn all_functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in CODE {
        functions(&top().join(folder), &mut names);
    }
    assert!(names.len() > 1_000, "only {} functions found", names.len());
    names
}

/// The pages of the decisions: name and text.
fn decisions() -> Vec<(String, String)> {
    let is_page = |name: &str| name.ends_with(".md") && name != "README.md";
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        is_page(&name).then(|| (name, read(&path)))
    };
    entries(&top().join("docs/decisions"))
        .into_iter()
        .filter_map(named)
        .collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_decision_names_tests_that_exist() {
    let functions = all_functions();
    for (name, text) in decisions() {
        let shown = text.split_once("**Shown by.**");
        let (_, tests) = shown.unwrap_or_else(|| panic!("{name} does not say what shows it"));
        assert!(quoted(tests).count() > 0, "{name} names no test");
        for test in quoted(tests) {
            assert!(
                functions.contains(test),
                "{name} names a test that does not exist: {test}"
            );
        }
    }
}

#[test]
fn the_index_of_the_decisions_lists_every_page_with_its_title() {
    let index = read(&top().join("docs/decisions/README.md"));
    let pages = decisions();
    for (name, text) in &pages {
        let heading = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let (number, title) = heading
            .and_then(|heading| heading.split_once(": "))
            .unwrap_or_else(|| panic!("{name} has no title"));
        let row = format!("| [{number}]({name}) | {title} |");
        assert!(index.contains(&row), "the index lacks this row: {row}");
    }
    let rows = index.lines().filter(|line| line.starts_with("| [")).count();
    assert_eq!(rows, pages.len(), "a row of the index is about no page");
}

/// The names of drills in the specification of the hazards: `` Drill `name` ``, also several, also with alternatives in braces.
fn specified_drills() -> BTreeSet<String> {
    let specification = read(&top().join("docs/spec/hazards.md"));
    let (_, list) = specification
        .split_once("## Hazard list")
        .expect("the list of hazards");
    let (list, _) = list.split_once("\n## ").expect("a section behind it");
    let mentions = list.split("Drill ").skip(1);
    mentions
        .flat_map(|mention| quoted(mention.split('.').next().unwrap_or_default()))
        .flat_map(alternatives)
        .collect()
}

/// `a_{b,c}` as `a_b` and `a_c`.
fn alternatives(name: &str) -> Vec<String> {
    let parts = name
        .split_once('{')
        .and_then(|(head, rest)| Some((head, rest.strip_suffix('}')?)));
    match parts {
        Some((head, choices)) => choices
            .split(',')
            .map(|choice| format!("{head}{choice}"))
            .collect(),
        None => vec![name.to_owned()],
    }
}

#[test]
fn every_drill_of_the_specification_is_in_the_table_of_hazards_or_explained() {
    let page = read(&top().join("docs/hazards.md"));
    let named: BTreeSet<&str> = quoted(&page).collect();
    let drills = specified_drills();
    assert!(
        drills.len() > 30,
        "only {} drills found: {drills:?}",
        drills.len()
    );
    for drill in drills {
        assert!(
            named.contains(drill.as_str()),
            "docs/hazards.md lacks the drill {drill}"
        );
    }
}

#[test]
fn every_drill_in_the_table_of_hazards_exists() {
    let functions = all_functions();
    let page = read(&top().join("docs/hazards.md"));
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| H")).collect();
    assert_eq!(rows.len(), 30, "one row for each hazard");
    for row in rows {
        let drills = row.rsplit(" | ").next().unwrap_or_default();
        for drill in quoted(drills) {
            assert!(functions.contains(drill), "this drill does not exist: {drill}");
        }
    }
}
