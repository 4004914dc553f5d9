//! Tables that are printed by a test and compared with a file. `UPDATE_GOLDEN=1` rewrites the file instead.

use std::path::Path;

/// Compares the text between the marks of `section` in a page of the documentation.
pub(crate) fn compare_section(page: &str, section: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let written = std::fs::read_to_string(&path).expect("the page is there");
    let (begin, end) = (
        format!("<!-- {section}: begin -->\n"),
        format!("<!-- {section}: end -->"),
    );
    let (before, rest) = written.split_once(&begin).expect("the section begins");
    let (expected, after) = rest.split_once(&end).expect("the section ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = format!("{before}{begin}{text}{end}{after}");
        std::fs::write(&path, page).expect("the documentation can be written");
        return;
    }
    assert_eq!(
        text, expected,
        "docs/{page} is out of date; UPDATE_GOLDEN=1 rewrites it"
    );
}

/// Compares a table with `tests/golden/<name>`.
pub(crate) fn compare(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table).expect("the folder of the golden tables can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, expected, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
}
