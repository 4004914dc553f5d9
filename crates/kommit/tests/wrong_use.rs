//! Wrong use of a transaction does not compile.

/// P-6, P-19, P-28 … P-31: a send after the close, a close beside a send, a second begin, also beside one behind a commit, a send beside a commit, a send or an end after the end, and an abort of a commit in doubt are not programs.
#[test]
fn wrong_transactions_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/wrong_use/*.rs");
}
