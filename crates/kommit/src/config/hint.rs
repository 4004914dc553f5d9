//! What somebody probably meant by a key that nobody knows.

use super::keys::{self, Key};
use super::{ConfigError, foreign, librdkafka};

/// The most letters that may be wrong in a key for which another one is suggested.
const WRONG_LETTERS: usize = 3;

/// The error of an unknown key, with the nearest known one.
pub(super) fn unknown(name: &str) -> ConfigError {
    ConfigError::UnknownKey {
        key: name.to_owned(),
        hint: hint(name),
    }
}

/// Whether any table has a key of this name.
pub(super) fn is_known(name: &str) -> bool {
    Key::named(name).is_some() || librdkafka::translation(name).is_some() || foreign::foreign(name).is_some()
}

fn hint(name: &str) -> String {
    let spelled = name.replace(['_', '-'], ".").to_ascii_lowercase();
    if is_known(&spelled) {
        return format!(": did you mean {spelled}?");
    }
    let own = keys::rows().map(|row| row.name);
    let all = own.clone().chain(librdkafka::names()).chain(foreign::names());
    let near = all.map(|known| (distance(&spelled, known), known)).min();
    let begins = |known: &&str| known.starts_with(&*spelled) || spelled.starts_with(known);
    match near {
        Some((wrong, known)) if wrong <= WRONG_LETTERS => format!(": did you mean {known}?"),
        _ => match own.clone().find(begins).filter(|_| !spelled.is_empty()) {
            Some(known) => format!(": did you mean {known}?"),
            None => format!(": the keys are {}", own.collect::<Vec<_>>().join(", ")),
        },
    }
}

/// How many letters must be put in, taken out or exchanged to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..other.len() {
            let exchanged = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
