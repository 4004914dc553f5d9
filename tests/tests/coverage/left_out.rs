//! Requirements that no test shows, because the code does not have them, and why.

/// Number and reason.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "T-1",
        "a list of settings; what each does is in the numbers that follow",
    ),
    (
        "T-2",
        "a list of the manager's parts; what each does is in the numbers that follow",
    ),
    (
        "T-59",
        "an answer is handed over once, and is not there to be overwritten",
    ),
    (
        "T-65",
        "a batch in flight has its stamp, and its partition joined before: the types allow no other",
    ),
    ("T-67", "a partition has its entry from its first record on"),
    (
        "T-69",
        "offsets were for brokers that forget producers, and proved nothing (H13)",
    ),
    ("P-17", "the gate is asked before the append (decision 0005)"),
    (
        "H24",
        "the application rewinds its own consumer; examples/pipeline.rs shows how, and the real suites run it",
    ),
    (
        "T-3",
        "a list of the parts of the manager; the compiler knows them",
    ),
    ("T-5", "one owner: nothing is shared, so nothing is locked"),
    (
        "T-35",
        "an answer is handed over, not waited for; one that nobody took is kept by the producer (T-39)",
    ),
    ("T-110", "two-phase commit: no request of the baseline carries it"),
    (
        "A-3",
        "what belongs to the sender is owned by it; the compiler sees to the rest",
    ),
    (
        "A-55",
        "closing consumes the open batch, so it cannot happen twice",
    ),
    (
        "A-57",
        "a closed batch has no way to set a stamp; stamping consumes it",
    ),
    (
        "A-62",
        "a batch that was renumbered is another value, not one with a mark",
    ),
    ("A-93", "no callbacks: deliveries are futures (decision 0026)"),
    (
        "W-15",
        "batches count their own offsets, and only the marker writes control records",
    ),
    (
        "N-17",
        "canonical names serve Kerberos, which is not there; the configuration refuses the value",
    ),
    (
        "P-1",
        "a list of the steps of construction; what each does is in the numbers that follow",
    ),
    ("P-5", "no plug-ins (decision 0026)"),
    ("P-22", "no callbacks (decision 0026)"),
    ("P-23", "no interceptors (decision 0026)"),
    (
        "P-37",
        "no callbacks: nothing of the application runs in the sender (decision 0026)",
    ),
    ("P-40", "telemetry is not there yet"),
    (
        "P-43",
        "no plug-ins (decision 0026); metrics end with the producer",
    ),
    (
        "P-44",
        "no callbacks: nothing of the application runs in the sender (decision 0026)",
    ),
    ("P-48", "no plug-ins (decision 0026)"),
    ("P-49", "no plug-ins (decision 0026)"),
    ("P-50", "telemetry is not there yet"),
    ("P-52", "two-phase commit: no request of the baseline carries it"),
    (
        "K-24",
        "bookkeeping of a metrics registry that is not there: a snapshot has a fixed set of values",
    ),
    (
        "S-2",
        "what tasks share travels as commands; the compiler sees to the rest",
    ),
    ("S-4", "the task owns the core, so there cannot be a second one"),
    (
        "S-10",
        "an unfinished transaction can be aborted: what would refuse it, another call under way or a fatal error, leaves none unfinished",
    ),
    ("S-12", "two-phase commit: no request of the baseline carries it"),
    ("S-22", "security is not there yet"),
    ("S-37", "nothing polls: a turn waits once"),
    (
        "S-57",
        "a request that timed out costs its connection, so both cases ask for metadata",
    ),
    ("T-27", "two-phase commit: no request of the baseline carries it"),
    ("T-37", "a rule of the October 2024 snapshot only"),
    (
        "N-26",
        "no part of this producer gives up a connection that it did not find wanting",
    ),
    (
        "N-70",
        "an answer tells epochs as leader hints only (N-77); nobody else sees one",
    ),
    (
        "N-71",
        "a batch goes by the snapshot (N-73); nobody asks whether a partition is current",
    ),
    ("N-78", "security is not there yet"),
    ("N-79", "security is not there yet"),
    ("N-80", "security is not there yet"),
    ("N-81", "security is not there yet"),
    ("N-82", "security is not there yet"),
    ("N-83", "security is not there yet"),
    ("N-84", "security is not there yet"),
    ("N-85", "security is not there yet"),
    ("N-86", "security is not there yet"),
    ("N-87", "security is not there yet"),
    ("N-88", "security is not there yet"),
    ("N-89", "telemetry is not there yet"),
    ("K-19", "security is not there yet"),
    ("K-25", "security is not there yet"),
    (
        "B-57",
        "two-phase commit: no request that the broker serves carries it",
    ),
];
