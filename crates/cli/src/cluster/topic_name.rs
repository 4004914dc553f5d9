//! Which names a topic may have (B-16), checked before any broker is asked.

/// The longest name, in characters.
const MAX_LENGTH: usize = 249;

/// The name, if it is legal; else the rule that it breaks.
pub(crate) fn topic_name(name: &str) -> Result<String, String> {
    let rule = "a topic's name has 1 to 249 letters, digits, dots, underscores and dashes";
    if name.is_empty() {
        return Err(format!("the name is empty; {rule}"));
    }
    if matches!(name, "." | "..") {
        return Err(format!(
            "'{name}' is not a legal name; {rule}, and more than dots"
        ));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!(
            "the name has {} characters; {rule}",
            name.chars().count()
        ));
    }
    let illegal = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'));
    illegal.map_or_else(
        || Ok(name.to_owned()),
        |c| Err(format!("'{c}' is not allowed in '{name}'; {rule}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-16: the same names that a broker refuses.
    #[test]
    fn illegal_names_are_refused_with_the_rule() {
        for name in ["", ".", "..", "a b", "a/b", "ü", &"x".repeat(250)] {
            let reason = topic_name(name).expect_err(name);
            assert!(reason.contains("letters, digits"), "{reason}");
        }
        for name in ["a", "...", "a.b_c-9", &"x".repeat(249)] {
            assert_eq!(topic_name(name).as_deref(), Ok(name));
        }
    }
}
