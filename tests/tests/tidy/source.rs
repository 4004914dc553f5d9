//! A Rust file, taken apart: code without comments and literals, comments without code, and which lines are its tests.
//!
//! It knows as much of Rust's syntax as that takes: comments, literals, braces, `#[cfg(test)]`.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// One file. All three texts have the same length and the same lines, so that a place in one is a place in all.
pub(crate) struct Source {
    /// From the top of the workspace, with `/`.
    pub(crate) path: String,
    /// As it is in the file.
    pub(crate) text: String,
    /// Comments and literals are blanks.
    pub(crate) code: String,
    /// Everything but comments is blanks.
    pub(crate) comments: String,
    tests: Tests,
}

/// The part of a file that only tests see.
enum Tests {
    /// The whole file.
    All,
    /// These bytes of it.
    Items(Vec<Range<usize>>),
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let tests = if is_test_file(path) {
            Tests::All
        } else {
            Tests::Items(test_items(&code))
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            comments,
            tests,
        }
    }

    /// The line, counted from 1, of a place in the text.
    pub(crate) fn line_of(&self, place: usize) -> usize {
        self.text[..place].matches('\n').count() + 1
    }

    /// Is this place in a test module or in a file of tests?
    pub(crate) fn is_test(&self, place: usize) -> bool {
        match &self.tests {
            Tests::All => true,
            Tests::Items(items) => items.iter().any(|item| item.contains(&place)),
        }
    }

    /// Is the whole file there for tests or examples only?
    pub(crate) fn is_test_file(&self) -> bool {
        matches!(self.tests, Tests::All)
    }

    /// Where a piece of code stands, every time.
    pub(crate) fn places<'s>(&'s self, piece: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code.match_indices(piece).map(|(place, _)| place)
    }

    /// The words of the code (identifiers and keywords), with their places.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// Is the file at this path, or below it?
    pub(crate) fn is_below(&self, path: &str) -> bool {
        self.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(['/', '.']) || rest.is_empty())
    }
}

/// Every Rust file of the workspace, in the order of their paths.
pub(crate) fn read_all(top: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["crates", "tests", "examples"] {
        read_folder(&top.join(folder), folder, &mut sources);
    }
    let outside: BTreeSet<String> = sources.iter().flat_map(test_modules_in_other_files).collect();
    for source in &mut sources {
        if outside.iter().any(|module| source.is_below(module)) {
            source.tests = Tests::All;
        }
    }
    sources
}

fn read_folder(folder: &Path, path: &str, sources: &mut Vec<Source>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut entries: Vec<_> = entries
        .map(|entry| entry.expect("an entry of a folder that was opened").path())
        .collect();
    entries.sort();
    for entry in entries {
        let name = entry
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = format!("{path}/{name}");
        if entry.is_dir() && name != "target" {
            read_folder(&entry, &path, sources);
        } else if name.ends_with(".rs") {
            let text =
                fs::read_to_string(&entry).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
            sources.push(Source::new(&path, &text));
        }
    }
}

/// Files outside of `crates/*/src` are there for tests, examples and benchmarks.
fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() != Some("crates") || parts.nth(1) != Some("src")
}

/// The paths, without ending, of the modules that a file declares with `#[cfg(test)] mod name;`.
fn test_modules_in_other_files(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let home = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    };
    let Tests::Items(items) = &source.tests else {
        return Vec::new();
    };
    let declarations = items.iter().map(|item| &source.code[item.clone()]);
    let bodiless = declarations.filter(|item| !item.contains('{'));
    bodiless
        .filter_map(|item| words(item).skip_while(|(_, word)| *word != "mod").nth(1))
        .map(|(_, name)| format!("{home}/{name}"))
        .collect()
}

/// The items behind `#[cfg(test)]`, from the attribute to the closing brace or semicolon.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let marks = code
        .match_indices("#[cfg(test)]")
        .chain(code.match_indices("#[cfg(all(test"));
    marks.map(|(start, _)| start..end_of_item(code, start)).collect()
}

/// Where the item that begins here ends: behind its body, or behind its semicolon.
pub(crate) fn end_of_item(code: &str, start: usize) -> usize {
    let mut nesting = 0_usize;
    let mut braces = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => nesting += 1,
            b')' | b']' => nesting = nesting.saturating_sub(1),
            b'{' => braces += 1,
            b'}' if braces <= 1 => return offset + 1,
            b'}' => braces -= 1,
            b';' if nesting == 0 && braces == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The identifiers and keywords of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(is_part)?;
        let end = text[start..]
            .find(|c| !is_part(c))
            .map_or(text.len(), |length| start + length);
        from = end;
        Some((start, &text[start..end]))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Code,
    Comment,
    Literal,
}

/// Splits a text into its code and its comments, both with blanks where something else is.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = bytes.to_vec();
    let mut place = 0;
    while place < bytes.len() {
        let in_word = place > 0 && is_word(bytes[place - 1]);
        let (piece, length) = first_piece(&bytes[place..], in_word);
        let range = place..place + length;
        if piece != Piece::Code {
            blank(&mut code[range.clone()]);
        }
        if piece != Piece::Comment {
            blank(&mut comments[range.clone()]);
        }
        place = range.end;
    }
    let again = |bytes| String::from_utf8(bytes).expect("only whole characters are blanked");
    (again(code), again(comments))
}

/// What a text begins with, and how many bytes of it belong together.
fn first_piece(rest: &[u8], in_word: bool) -> (Piece, usize) {
    if rest.starts_with(b"//") {
        return (
            Piece::Comment,
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        );
    }
    if rest.starts_with(b"/*") {
        return (Piece::Comment, block_comment(rest));
    }
    let prefix = if in_word { 0 } else { literal_prefix(rest) };
    let literal = match &rest[prefix..] {
        [b'"', ..] if rest[..prefix].ends_with(b"r") => raw_string(&rest[prefix..], 0),
        [b'"', ..] => quoted(&rest[prefix..], b'"'),
        [b'#', ..] if rest[..prefix].ends_with(b"r") => {
            let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
            let opens = rest.get(prefix + hashes) == Some(&b'"');
            if opens {
                hashes + raw_string(&rest[prefix + hashes..], hashes)
            } else {
                0
            }
        }
        [b'\'', b'\\', ..] => quoted(&rest[prefix..], b'\''),
        [b'\'', next, after @ ..] => {
            let width = match next {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if after.get(width - 1) == Some(&b'\'') {
                width + 2
            } else {
                0
            }
        }
        _ => 0,
    };
    if literal == 0 {
        (Piece::Code, 1)
    } else {
        (Piece::Literal, prefix + literal)
    }
}

/// The length of `b`, `c`, `r`, `br` or `cr` before a quote.
fn literal_prefix(rest: &[u8]) -> usize {
    let length = rest
        .iter()
        .take(2)
        .take_while(|byte| matches!(byte, b'b' | b'c' | b'r'))
        .count();
    if matches!(rest.get(length), Some(b'"' | b'#' | b'\'')) {
        length
    } else {
        0
    }
}

/// The length of a literal with escapes, with its quotes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut place = 1;
    while place < rest.len() {
        match rest[place] {
            b'\\' => place += 2,
            byte if byte == quote => return place + 1,
            _ => place += 1,
        }
    }
    rest.len()
}

/// The length of a raw string from its first quote to its last number sign.
fn raw_string(rest: &[u8], hashes: usize) -> usize {
    let end: Vec<u8> = [b'"']
        .into_iter()
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let behind = rest[1..].windows(end.len()).position(|window| window == end);
    behind.map_or(rest.len(), |place| 1 + place + end.len())
}

/// The length of a block comment with those inside it.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while place < rest.len() {
        if rest[place..].starts_with(b"/*") {
            depth += 1;
            place += 2;
        } else if rest[place..].starts_with(b"*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            place += 1;
        }
    }
    rest.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let text = r##"let a = "x // \" }"; // say "so"
let b = r#"/* " "#; /* a /* b */ { */ let c: &'a str = f('{', '\'', 'ä', b'"');
"##;
    let (code, comments) = split(text);
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        squeezed(&code),
        "let a = ; let b = ; let c: &'a str = f( , , , );"
    );
    assert_eq!(squeezed(&comments), "// say \"so\" /* a /* b */ { */");
    assert_eq!((code.len(), comments.len()), (text.len(), text.len()));
}

#[test]
fn a_test_module_is_found_inside_a_file_and_beside_it() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { c() }\n}\nfn d() {}\n#[cfg(test)]\nmod scenes;\n";
    let source = Source::new("crates/sender/src/core/mod.rs", text);
    let is_test = |piece: &str| source.is_test(text.find(piece).expect("a piece of the text"));
    assert_eq!(["fn a", "fn b", "fn d"].map(is_test), [false, true, false]);
    assert_eq!(
        test_modules_in_other_files(&source),
        ["crates/sender/src/core/scenes"]
    );
    assert!(Source::new("tests/src/lib.rs", "").is_test_file());
}
