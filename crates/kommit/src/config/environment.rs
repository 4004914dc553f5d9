//! Settings from environment variables: `KOMMIT_LINGER_MS=5` is `linger.ms = 5`. The variables are an argument; nobody here reads those of the process.

use super::{ConfigError, hint};

/// The key of a variable that begins with the prefix and an underscore: the rest in small letters, with a dot for each underscore. Nothing for other variables.
///
/// # Errors
///
/// A variable with the prefix that is no key: a setting with a slip of the pen must not be passed over.
pub(super) fn key_of(prefix: &str, variable: &str) -> Result<Option<String>, ConfigError> {
    let rest = variable.strip_prefix(prefix.trim_end_matches('_'));
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix('_')) else {
        return Ok(None);
    };
    let small = rest.to_ascii_lowercase();
    // Few keys of librdkafka have an underscore of their own.
    let mut candidates = [small.replace('_', "."), small].into_iter();
    let dotted = candidates.clone().next().unwrap_or_default();
    match candidates.find(|name| hint::is_known(name)) {
        Some(name) => Ok(Some(name)),
        None => Err(ConfigError::Variable {
            variable: variable.to_owned(),
            problem: hint::unknown(&dotted).to_string(),
        }),
    }
}
