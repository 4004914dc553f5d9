//! A line as a record: with a separator, key and value.

/// How lines become records.
#[derive(Clone, Debug)]
pub(crate) enum LineFormat {
    /// The line is the value; there is no key.
    Value,
    /// What stands before the first separator is the key, what stands behind it the value.
    KeyAndValue(String),
}

/// A line in which the separator does not occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSeparator;

impl LineFormat {
    /// The format that the command line asks for.
    pub(crate) fn with_separator(separator: Option<String>) -> Self {
        separator.map_or(Self::Value, Self::KeyAndValue)
    }

    /// The key and value of a line.
    pub(crate) fn split<'l>(&self, line: &'l [u8]) -> Result<(Option<&'l [u8]>, &'l [u8]), NoSeparator> {
        let Self::KeyAndValue(separator) = self else {
            return Ok((None, line));
        };
        let place = line
            .windows(separator.len())
            .position(|window| window == separator.as_bytes())
            .ok_or(NoSeparator)?;
        Ok((Some(&line[..place]), &line[place + separator.len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let format = LineFormat::with_separator(Some("::".to_owned()));
        assert_eq!(format.split(b"k::v::w"), Ok((Some(&b"k"[..]), &b"v::w"[..])));
        assert_eq!(format.split(b"::"), Ok((Some(&b""[..]), &b""[..])));
        assert_eq!(format.split(b"k:v"), Err(NoSeparator));
        assert_eq!(format.split(b""), Err(NoSeparator));
    }

    #[test]
    fn without_separator_the_line_is_the_value() {
        assert_eq!(
            LineFormat::with_separator(None).split(b"k::v"),
            Ok((None, &b"k::v"[..]))
        );
    }
}
