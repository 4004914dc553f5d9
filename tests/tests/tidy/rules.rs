//! The rules over one file, each a function from a source to its breaches.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;

use crate::source::{Source, end_of_item, words};
use crate::tables::{
    BANNERS, BEFORE_NAMES, CLOCK_READERS, CLOCKS, FORBIDDEN_CODE, FORBIDDEN_COMMENTS, FORBIDDEN_WORDS,
    HAZARDS_AND_RULES, LONGEST_FILE, LONGEST_FUNCTION, LONGEST_TEST_FILE, NAMING, NUMBERED, Place, ROOMS,
};

/// What has been found, one line each.
#[derive(Default)]
pub(crate) struct Breaches {
    lines: Vec<String>,
}

impl Breaches {
    pub(crate) fn add(&mut self, place: impl Display, rule: &str, what: impl Display) {
        self.lines.push(format!("{place}: {rule}: {what}"));
    }

    fn add_in(&mut self, source: &Source, place: usize, rule: &str, what: impl Display) {
        self.add(
            format_args!("{}:{}", source.path, source.line_of(place)),
            rule,
            what,
        );
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Fails with every line, when there is one.
    pub(crate) fn report(self) {
        assert!(
            self.lines.is_empty(),
            "{} breaches of the house's rules:\n{}\n",
            self.lines.len(),
            self.lines.join("\n")
        );
    }
}

/// tokio and async-trait only where the table of crates says so; tests are free.
pub(crate) fn rooms(source: &Source, breaches: &mut Breaches) {
    let Some(room) = ROOMS
        .iter()
        .find(|room| source.path.starts_with(&format!("crates/{}/src/", room.name)))
    else {
        return;
    };
    for (library, allowed) in [("tokio", room.tokio), ("async_trait", room.async_trait)] {
        if allowed.is_some_and(|part| source.is_below(&format!("crates/{}/{part}", room.name))) {
            continue;
        }
        for (place, _) in source
            .words()
            .filter(|(place, word)| *word == library && !source.is_test(*place))
        {
            let where_then = allowed.unwrap_or("no file");
            breaches.add_in(
                source,
                place,
                "room",
                format_args!("{library} belongs to {where_then} of {}", room.name),
            );
        }
    }
}

/// Time is an argument: only the listed files read a clock.
pub(crate) fn clocks(source: &Source, breaches: &mut Breaches) {
    if CLOCK_READERS.iter().any(|(path, _)| source.is_below(path)) {
        return;
    }
    for clock in CLOCKS {
        for place in source.places(clock) {
            breaches.add_in(source, place, "clock", clock);
        }
    }
}

/// Files and functions that a reader can hold in mind.
pub(crate) fn sizes(source: &Source, breaches: &mut Breaches) {
    let starts = std::iter::once(0).chain(source.text.match_indices('\n').map(|(place, _)| place + 1));
    let lines = starts
        .filter(|start| *start < source.text.len() && (source.is_test_file() || !source.is_test(*start)));
    let (count, limit) = (
        lines.count(),
        if source.is_test_file() {
            LONGEST_TEST_FILE
        } else {
            LONGEST_FILE
        },
    );
    if count > limit {
        breaches.add(
            &source.path,
            "file",
            format_args!("{count} lines, {limit} is the limit"),
        );
    }
    for (place, word) in source.words() {
        if source.code[..place].ends_with("fn ") {
            let lines = source.code[place..end_of_item(&source.code, place)]
                .matches('\n')
                .count()
                + 1;
            if lines > LONGEST_FUNCTION {
                breaches.add_in(
                    source,
                    place,
                    "function",
                    format_args!("`{word}` has {lines} lines"),
                );
            }
        }
    }
}

/// Names without words that say nothing.
pub(crate) fn names(source: &Source, breaches: &mut Breaches) {
    let mut is_name_next = false;
    for (place, word) in source.words() {
        if is_name_next && !BEFORE_NAMES.contains(&word) {
            for (forbidden, advice) in forbidden_words(word) {
                let what = format_args!("`{word}` has the word {forbidden}: {advice}");
                breaches.add_in(source, place, "name", what);
            }
        }
        is_name_next = NAMING.contains(&word) || (is_name_next && BEFORE_NAMES.contains(&word));
    }
}

fn forbidden_words(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = parts_of(name);
    let stands = move |word: &str, place: Place| match place {
        Place::Anywhere => parts.iter().any(|part| part == word),
        Place::First => parts.len() > 1 && parts.first().is_some_and(|part| part == word),
        Place::Last => parts.len() > 1 && parts.last().is_some_and(|part| part == word),
    };
    FORBIDDEN_WORDS
        .iter()
        .filter(move |(word, place, _)| stands(word, *place))
        .map(|(word, _, advice)| (*word, *advice))
}

/// The words of `snake_case` and `CamelCase` names, in lower case.
fn parts_of(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut before = '_';
    for character in name.chars() {
        let starts = before == '_' || (character.is_uppercase() && before.is_lowercase());
        match parts.last_mut() {
            Some(part) if !starts && character != '_' => part.extend(character.to_lowercase()),
            _ if character != '_' => parts.push(character.to_lowercase().collect()),
            _ => {}
        }
        before = character;
    }
    parts
}

/// Nothing unfinished, switched off or shouted.
pub(crate) fn texts(source: &Source, breaches: &mut Breaches) {
    for (piece, why) in FORBIDDEN_CODE {
        for place in source.places(piece) {
            breaches.add_in(source, place, "code", format_args!("`{piece}`: {why}"));
        }
    }
    for (piece, why) in FORBIDDEN_COMMENTS {
        for (place, _) in source.comments.match_indices(piece) {
            breaches.add_in(source, place, "comment", format_args!("{piece}: {why}"));
        }
    }
    let mut start = 0;
    for line in source.comments.split_inclusive('\n') {
        let comment = line
            .trim_start()
            .strip_prefix("//")
            .unwrap_or_default()
            .trim_start();
        if BANNERS.iter().any(|banner| comment.starts_with(banner)) {
            breaches.add_in(
                source,
                start,
                "comment",
                "a banner: a module or a function makes the better border",
            );
        }
        start += line.len();
    }
}

/// An error is read by people who do not have the specification at hand.
pub(crate) fn error_texts(source: &Source, breaches: &mut Breaches) {
    for place in source.places("#[error(") {
        let end = place + source.code[place..].find(']').unwrap_or(0);
        for number in requirement_numbers(&source.text[place..end]) {
            breaches.add_in(source, place, "error text", format_args!("names {number}"));
        }
    }
}

/// What a comment refers to can be looked up.
pub(crate) fn requirements(known: &BTreeSet<String>, source: &Source, breaches: &mut Breaches) {
    let mut start = 0;
    for line in source.comments.split_inclusive('\n') {
        for number in requirement_numbers(line).filter(|number| !known.contains(number)) {
            breaches.add_in(
                source,
                start,
                "requirement",
                format_args!("{number} is not in docs/spec"),
            );
        }
        start += line.len();
    }
}

/// The requirements that the specification defines: in bold, or as the first cell of a table's row.
pub(crate) fn specified(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut known = BTreeSet::new();
    for entry in entries {
        let path = entry.expect("an entry of a folder that was opened").path();
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let bold = text.split("**").skip(1).step_by(2);
        let cells = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
            .map(|(cell, _)| cell);
        for start in bold.chain(cells) {
            known.extend(
                requirement_numbers(start)
                    .take(1)
                    .filter(|number| start.starts_with(number.as_str())),
            );
        }
    }
    known
}

/// The requirements that a text names: `S-26`, `H01`, `R11`. A number 0 is a partition's, as in `T-0`.
fn requirement_numbers(text: &str) -> impl Iterator<Item = String> {
    let found = words(text).filter_map(move |(place, word)| {
        let (letter, digits) = word.split_at_checked(1)?;
        let behind = &text[place + word.len()..];
        if NUMBERED.contains(letter) && digits.is_empty() && !text[..place].ends_with('-') {
            let (_, number) = words(behind.strip_prefix('-')?)
                .next()
                .filter(|(start, _)| *start == 0)?;
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse() != Ok(0_u32);
            return is_number.then(|| format!("{letter}-{number}"));
        }
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_numbered = match letter {
            "H" => digits.len() == 2,
            _ => matches!(digits.len(), 1 | 2),
        };
        (HAZARDS_AND_RULES.contains(letter) && is_number && is_numbered).then(|| word.to_owned())
    });
    found.collect::<Vec<_>>().into_iter()
}
