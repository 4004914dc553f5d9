//! The numbers of the specification, as its pages define them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// A requirement (`S-26`), a hazard (`H01`) or a rule against hazards (`R1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    group: Group,
    number: u32,
}

/// In the order of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Sender,
    Transaction,
    Accumulator,
    Wire,
    Network,
    Facade,
    Configuration,
    Metric,
    Broker,
    Hazard,
    Rule,
}

const GROUPS: &[(char, Group)] = &[
    ('S', Group::Sender),
    ('T', Group::Transaction),
    ('A', Group::Accumulator),
    ('W', Group::Wire),
    ('N', Group::Network),
    ('P', Group::Facade),
    ('C', Group::Configuration),
    ('K', Group::Metric),
    ('B', Group::Broker),
    ('H', Group::Hazard),
    ('R', Group::Rule),
];

impl Number {
    /// The numbers between this one and `end` of the same group.
    pub(crate) fn up_to(self, end: Self) -> impl Iterator<Item = Self> {
        let between = if self.group == end.group {
            self.number + 1..end.number
        } else {
            0..0
        };
        between.map(move |number| Self { number, ..self })
    }

    /// Reads `S-26`, `H01` or `R1`, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letter = text.chars().next()?;
        let (_, group) = GROUPS.iter().find(|(known, _)| *known == letter)?;
        let rest = &text[letter.len_utf8()..];
        let digits = match group {
            Group::Hazard => rest.get(..2).filter(|_| rest.len() == 2)?,
            Group::Rule => rest,
            _ => rest.strip_prefix('-')?,
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_number)?;
        Some(Self {
            group: *group,
            number,
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = GROUPS
            .iter()
            .find(|(_, group)| *group == self.group)
            .map_or('?', |(letter, _)| *letter);
        match self.group {
            Group::Hazard => write!(f, "{letter}{:02}", self.number),
            Group::Rule => write!(f, "{letter}{}", self.number),
            _ => write!(f, "{letter}-{}", self.number),
        }
    }
}

/// Every number that the pages define: in bold at its requirement, or in the first column of a table.
pub(crate) fn specified(folder: &Path) -> BTreeSet<Number> {
    ["producer.md", "broker.md", "hazards.md"]
        .iter()
        .flat_map(|page| {
            let text = fs::read_to_string(folder.join(page)).expect("the specification is in docs/spec");
            text.lines().filter_map(defined).collect::<Vec<_>>()
        })
        .collect()
}

fn defined(line: &str) -> Option<Number> {
    let line = line.trim_start_matches("- ").trim_start_matches("* ");
    if let Some(bold) = line.strip_prefix("**") {
        return Number::parse(bold.split(['*', ' ']).next()?);
    }
    let cell = line.strip_prefix("| ")?.split(' ').next()?;
    Number::parse(cell)
}

/// A definition is recognised in each of its forms, and a mention is not one.
#[test]
fn numbers_are_found_where_they_are_defined() {
    let number = |line| defined(line).map(|number| number.to_string());
    assert_eq!(number("- **S-26** If the TM has"), Some("S-26".to_owned()));
    assert_eq!(number("| C-4 | acks | string |"), Some("C-4".to_owned()));
    assert_eq!(number("* **R1 Three-valued fate.** Every"), Some("R1".to_owned()));
    assert_eq!(number("**H01 Delayed EndTxn**"), Some("H01".to_owned()));
    assert_eq!(number("as S-26 says"), None);
    assert_eq!(number("| Target | Allowed from |"), None);
}
