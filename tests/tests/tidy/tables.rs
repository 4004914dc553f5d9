//! The rules as tables. To change a rule, change its row and say why in the commit.

/// One crate of `docs/architecture.md`, "Crates": what it may depend on, and where it may know tokio.
pub(crate) struct Room {
    /// Its folder in `crates/`.
    pub(crate) name: &'static str,
    /// The packages of this workspace below it.
    pub(crate) below: &'static [&'static str],
    /// The part of its sources that may use tokio: a file or a folder, with `src` for all of it.
    pub(crate) tokio: Option<&'static str>,
    /// The part of its sources that may use async-trait.
    pub(crate) async_trait: Option<&'static str>,
}

const PROTOCOL: &str = "kommit-protocol";
const ACCUMULATOR: &str = "kommit-accumulator";
const TXN_MANAGER: &str = "kommit-txn-manager";
const NETWORK: &str = "kommit-network";
const SENDER: &str = "kommit-sender";
const FACADE: &str = "kommit";
const BROKER: &str = "kommit-broker";

#[rustfmt::skip]
pub(crate) const ROOMS: &[Room] = &[
    Room { name: "protocol",    below: &[],                                                     tokio: None,               async_trait: None },
    Room { name: "accumulator", below: &[PROTOCOL],                                             tokio: None,               async_trait: None },
    Room { name: "txn-manager", below: &[PROTOCOL],                                             tokio: None,               async_trait: None },
    Room { name: "network",     below: &[PROTOCOL],                                             tokio: Some("src/io"),     async_trait: Some("src/io") },
    Room { name: "sender",      below: &[PROTOCOL, ACCUMULATOR, TXN_MANAGER, NETWORK],          tokio: Some("src/driver"), async_trait: None },
    Room { name: "kommit",      below: &[PROTOCOL, ACCUMULATOR, TXN_MANAGER, NETWORK, SENDER],  tokio: Some("src"),        async_trait: None },
    Room { name: "broker",      below: &[PROTOCOL],                                             tokio: Some("src/server"), async_trait: None },
    Room { name: "cli",         below: &[PROTOCOL, FACADE, BROKER],                             tokio: Some("src"),        async_trait: None },
];

/// The independent judge shares nothing with the client, not even in its own tests.
pub(crate) const JUDGE: &str = "broker";
pub(crate) const CLIENT: &[&str] = &[ACCUMULATOR, TXN_MANAGER, NETWORK, SENDER, FACADE];

/// The default build has no C.
pub(crate) const BUILT_FROM_C: &[&str] = &[
    "zstd",
    "zstd-safe",
    "lz4",
    "lz4-sys",
    "openssl",
    "native-tls",
    "libz-sys",
    "aws-lc-rs",
    "rdkafka",
];

/// What reads the time or waits for it to pass.
pub(crate) const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now", "thread::sleep"];

/// Who may: a file or a folder, and why. Everybody else is given the time.
pub(crate) const CLOCK_READERS: &[(&str, &str)] = &[
    (
        "crates/sender/src/driver",
        "the clock that the core's time comes from",
    ),
    (
        "crates/broker/src/server",
        "the clock of the embedded broker's core",
    ),
    (
        "tests/src/compare/plain.rs",
        "what a real Kafka answers carries the time of the day",
    ),
    (
        "tests/tests/real_suites/stopwatch.rs",
        "the time of processes that are not ours",
    ),
    ("crates/cli/src", "rates, progress and measurements for a person"),
    ("benches", "measuring is what they are for"),
];

/// Lines of a source file without its test part. 500 is where to stop and think; this is where to stop.
pub(crate) const LONGEST_FILE: usize = 600;
/// Lines of a file with tests.
pub(crate) const LONGEST_TEST_FILE: usize = 600;
/// Lines of a function, from `fn` to its last brace.
pub(crate) const LONGEST_FUNCTION: usize = 70;

/// Where in a name a word is forbidden.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Anywhere,
    First,
    Last,
}

/// Words that do not say what a thing is.
pub(crate) const FORBIDDEN_WORDS: &[(&str, Place, &str)] = &[
    ("maybe", Place::Anywhere, "say on what it depends"),
    ("helper", Place::Anywhere, "say what it does"),
    ("helpers", Place::Anywhere, "say what they do"),
    ("util", Place::Anywhere, "say what it is for"),
    ("utils", Place::Anywhere, "say what they are for"),
    ("misc", Place::Anywhere, "sort it"),
    ("flag", Place::Anywhere, "an enum has names for both"),
    ("flags", Place::Anywhere, "an enum has names for both"),
    ("process", Place::First, "use the verb of Kafka's words"),
    ("get", Place::First, "name it after what it returns"),
    ("impl", Place::Last, "name it after how it differs"),
];

/// The words that a name follows.
pub(crate) const NAMING: &[&str] = &[
    "fn", "struct", "enum", "trait", "type", "const", "static", "mod", "let", "union",
];
/// Words between one of [`NAMING`] and the name.
pub(crate) const BEFORE_NAMES: &[&str] = &["mut", "ref", "fn", "async", "unsafe", "extern"];

/// What must not stand in code, outside of literals and comments.
pub(crate) const FORBIDDEN_CODE: &[(&str, &str)] = &[
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("dbg!(", "left over"),
    ("unsafe {", "no unsafe in our crates"),
    ("#[ignore", "a test that does not run proves nothing"),
];

/// What must not stand in comments.
pub(crate) const FORBIDDEN_COMMENTS: &[(&str, &str)] = &[
    ("TODO", "do it, or say in the documentation what is left out"),
    ("FIXME", "fix it, or say in the documentation what is left out"),
];

/// How a banner begins, behind the slashes of a plain comment.
pub(crate) const BANNERS: &[&str] = &["====", "----", "****", "####", "////", "~~~~", "────", "━━━━"];

/// The letters of the specification's requirements: `S-26`.
pub(crate) const NUMBERED: &str = "STAWNPCKBDEO";
/// The letters of its hazards and of the rules against them: `H01`, `R11`.
pub(crate) const HAZARDS_AND_RULES: &str = "HR";
