//! Each rule against a sample of what it must catch, and of what it must spare: a rule that catches nothing proves nothing.

use crate::manifests;
use crate::rules::{self, Breaches};
use crate::source::Source;

const CORE: &str = "crates/sender/src/core.rs";
const DRIVER: &str = "crates/sender/src/driver.rs";

/// What a rule says about one file with this text.
fn found(path: &str, text: &str, rule: impl Fn(&Source, &mut Breaches)) -> Vec<String> {
    let mut breaches = Breaches::default();
    rule(&Source::new(path, text), &mut breaches);
    breaches.into_lines()
}

fn in_manifest(crate_name: &str, text: &str) -> usize {
    let mut breaches = Breaches::default();
    manifests::check(crate_name, text, &mut breaches);
    breaches.into_lines().len()
}

#[test]
fn a_manifest_that_points_upward_is_a_breach() {
    let upward = "[dependencies]\nnet = { package = \"kommit-network\", path = \"../network\" }\n";
    assert_eq!(
        in_manifest(
            "accumulator",
            "[dependencies]\nkommit-protocol.workspace = true\nbytes = \"1\"\n"
        ),
        0
    );
    assert_eq!(
        in_manifest("accumulator", "[dependencies]\nkommit-network.workspace = true\n"),
        1
    );
    assert_eq!(in_manifest("accumulator", upward), 1);
    assert_eq!(
        in_manifest("accumulator", "[dependencies.kommit-network]\nworkspace = true\n"),
        1
    );
    assert_eq!(
        in_manifest("broker", "[dev-dependencies]\nkommit.workspace = true\n"),
        1
    );
    assert_eq!(
        in_manifest("sender", "[dev-dependencies]\nkommit-broker.workspace = true\n"),
        0
    );
    assert_eq!(
        in_manifest("attic", "[dependencies]\n"),
        1,
        "a crate that is not in the table"
    );
}

#[test]
fn a_manifest_with_a_library_that_belongs_elsewhere_is_a_breach() {
    assert_eq!(
        in_manifest("accumulator", "[dependencies]\ntokio.workspace = true\n"),
        1
    );
    assert_eq!(
        in_manifest("accumulator", "[dev-dependencies]\ntokio.workspace = true\n"),
        0
    );
    assert_eq!(
        in_manifest("kommit", "[dependencies]\nasync-trait.workspace = true\n"),
        1
    );
    assert_eq!(
        in_manifest("protocol", "[target.'cfg(unix)'.dependencies]\nzstd = \"0.13\"\n"),
        1
    );
}

#[test]
fn tokio_in_a_core_is_a_breach_and_in_the_driver_or_in_tests_it_is_not() {
    let tokio = "use tokio::sync::mpsc;\n";
    assert_eq!(
        found(CORE, tokio, rules::rooms),
        [format!("{CORE}:1: room: tokio belongs to src/driver of sender")]
    );
    assert_eq!(found(DRIVER, tokio, rules::rooms).len(), 0);
    assert_eq!(
        found("crates/sender/src/drivers.rs", tokio, rules::rooms).len(),
        1
    );
    assert_eq!(
        found(CORE, "// tokio drives this\nlet x = \"tokio\";\n", rules::rooms).len(),
        0
    );
    assert_eq!(
        found(
            CORE,
            "#[cfg(test)]\nmod tests {\n    use tokio::time;\n}\n",
            rules::rooms
        )
        .len(),
        0
    );
    assert_eq!(
        found(
            "crates/sender/src/driver.rs",
            "#[async_trait::async_trait]\n",
            rules::rooms
        )
        .len(),
        2
    );
}

#[test]
fn a_clock_outside_of_the_list_is_a_breach_even_in_a_test() {
    let clock = "\nlet now = Instant::now();\n";
    assert_eq!(
        found(CORE, clock, rules::clocks),
        [format!("{CORE}:2: clock: Instant::now")]
    );
    assert_eq!(found("tests/src/kafka/broker.rs", clock, rules::clocks).len(), 1);
    assert_eq!(found(DRIVER, clock, rules::clocks).len(), 0);
}

#[test]
fn a_function_or_a_file_that_is_too_long_is_a_breach_and_a_long_test_part_is_not() {
    let long = |lines| {
        format!(
            "fn long(a: [u8; 2]) {{\n{}}}\nfn short() {{}}\n",
            "    step();\n".repeat(lines)
        )
    };
    assert_eq!(
        found(CORE, &long(69), rules::sizes),
        [format!("{CORE}:1: function: `long` has 71 lines")]
    );
    assert_eq!(found(CORE, &long(68), rules::sizes).len(), 0);
    let many = "mod a;\n".repeat(601);
    assert_eq!(found(CORE, &many, rules::sizes).len(), 1);
    assert_eq!(found("tests/tests/a.rs", &many, rules::sizes).len(), 1);
    assert_eq!(
        found(
            CORE,
            &format!("mod a;\n#[cfg(test)]\nmod tests {{\n{many}}}\n"),
            rules::sizes
        )
        .len(),
        0
    );
}

#[test]
fn a_name_that_says_nothing_is_a_breach() {
    for name in [
        "maybe_send",
        "ParseHelper",
        "io_utils",
        "send_impl",
        "get_node",
        "process_answer",
        "dirty_flag",
    ] {
        let text = format!("fn {name}() {{}}\nlet mut {name} = 1;\npub const fn {name}() {{}}\n");
        assert_eq!(found(CORE, &text, rules::names).len(), 3, "{name}");
    }
    assert_eq!(
        found(
            CORE,
            "fn process() { let target = budget; x.get_mut(); }\n",
            rules::names
        )
        .len(),
        0
    );
}

#[test]
fn what_is_unfinished_ignored_or_shouted_is_a_breach_and_a_text_about_it_is_not() {
    for text in [
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "unsafe { x }",
        "#[ignore = \"slow\"]",
    ] {
        assert_eq!(found(CORE, &format!("{text}\n"), rules::texts).len(), 1, "{text}");
    }
    for text in ["// TODO: x", "/* FIXME */", "// ---- a ----", "    // ========"] {
        assert_eq!(found(CORE, &format!("{text}\n"), rules::texts).len(), 1, "{text}");
    }
    let spared = "/// | --- | never todo!(\nlet x = \"TODO // ====\";\n//! a ----> b\n";
    assert_eq!(found(CORE, spared, rules::texts), [""; 0]);
}

#[test]
fn an_error_text_with_a_requirement_number_is_a_breach() {
    let numbered = "#[error(\n    \"fenced, see T-64\"\n)]\nFenced,\n";
    assert_eq!(
        found(CORE, numbered, rules::error_texts),
        [format!("{CORE}:1: error text: names T-64")]
    );
    assert_eq!(
        found(
            CORE,
            "/// T-64\n#[error(\"fenced [{0}]\")]\nFenced,\n",
            rules::error_texts
        )
        .len(),
        0
    );
}

#[test]
fn a_requirement_that_nobody_wrote_down_is_a_breach() {
    let known = ["S-26", "H01"].map(str::to_owned).into();
    let rule = |source: &Source, breaches: &mut Breaches| rules::requirements(&known, source, breaches);
    let text = "/// S-26, S-9999 … H01, H99: UTF-8, T-0, a-1\nlet x = \"S-7777\";\n// A-5\n";
    let expected = [(1, "S-9999"), (1, "H99"), (3, "A-5")]
        .map(|(line, number)| format!("{CORE}:{line}: requirement: {number} is not in docs/spec"));
    assert_eq!(found(CORE, text, rule), expected);
}
