//! The text of a properties file, as Java reads it: `key=value`, `key: value` or `key value`, comments, lines that go on after a backslash, and escapes.

use super::ConfigError;

/// The settings of a properties text, in their order.
pub(super) fn settings(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    logical_lines(text)
        .into_iter()
        .map(|(number, line)| {
            setting(&line).ok_or(ConfigError::Line {
                line: number,
                text: line,
            })
        })
        .collect()
}

/// The lines that say something, each with the number of its first line. A line that ends in an odd number of backslashes goes on in the next one, without
/// the white space at its beginning.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if !goes_on && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let ends_open = backslashes % 2 == 1;
        let part = if ends_open { &line[..line.len() - 1] } else { line };
        match found.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(part),
            None => found.push((index + 1, part.to_owned())),
        }
        goes_on = ends_open;
    }
    found
}

/// Key and value of a line; nothing when there is no key, no value, or an escape that is none.
fn setting(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let ends_key = |letter: char| {
        let ends = !escaped && (matches!(letter, '=' | ':') || letter.is_whitespace());
        escaped = !escaped && letter == '\\';
        ends
    };
    let end = line.find(ends_key)?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let key = unescaped(key)?;
    (!key.is_empty()).then_some((key, unescaped(value.trim())?))
}

fn unescaped(text: &str) -> Option<String> {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        plain.push(match letters.next()? {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'u' => {
                let digits: String = letters.by_ref().take(4).collect();
                let is_number = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let number = u32::from_str_radix(&digits, 16).ok().filter(|_| is_number)?;
                char::from_u32(number)?
            }
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::settings;

    fn read(text: &str) -> Vec<(String, String)> {
        settings(text).expect("legal lines")
    }

    #[test]
    fn a_setting_is_separated_by_an_equals_sign_a_colon_or_a_space() {
        let expected = vec![("linger.ms".to_owned(), "5".to_owned())];
        for line in [
            "linger.ms=5",
            "linger.ms: 5",
            "  linger.ms 5",
            "linger.ms = 5 \r\n",
            "linger.ms\t=5",
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn a_comment_and_an_empty_line_say_nothing() {
        assert_eq!(read("# one\n\n   ! two\n"), Vec::new());
    }

    #[test]
    fn a_line_goes_on_after_a_backslash() {
        let read = read("sasl.jaas.config=a required \\\n    user=\"x\" \\\n    # no comment\nacks=all\n");
        let jaas = "a required user=\"x\" # no comment";
        assert_eq!(
            read,
            [
                ("sasl.jaas.config".to_owned(), jaas.to_owned()),
                ("acks".to_owned(), "all".to_owned())
            ]
        );
    }

    #[test]
    fn escapes_are_read_as_java_reads_them() {
        assert_eq!(
            read(r"client.id=a\u00e9\\b\=c"),
            [("client.id".to_owned(), r"aé\b=c".to_owned())]
        );
    }

    #[test]
    fn a_line_that_is_no_setting_is_named_by_its_number() {
        for (text, number) in [
            ("acks=all\nnonsense\n", 2),
            ("=5", 1),
            (r"a=\u12", 1),
            ("\n\na=\\u+123", 3),
        ] {
            let error = settings(text).expect_err("not a setting").to_string();
            assert!(error.starts_with(&format!("line {number} of")), "{error}");
        }
    }
}
