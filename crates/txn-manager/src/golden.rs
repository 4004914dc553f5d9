//! Tables that are printed by a test and compared with a file. `UPDATE_GOLDEN=1` rewrites the file instead.

use std::path::Path;

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
