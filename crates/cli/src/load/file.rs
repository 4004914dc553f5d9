//! Opening the input: is it a file that can be resumed, is it still the same file, and where does it go on?

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, FINGERPRINT_BYTES, Fingerprint};
use super::lines::Position;
use crate::failure::Failure;

/// What is to be loaded.
#[derive(Debug)]
pub(crate) enum Input {
    /// A regular file: it has a cursor.
    File(InputFile),
    /// Standard input, a pipe or a device: it is read once, and there is nothing to resume from.
    Stream(File),
    /// Standard input by the name `-`.
    Standard,
}

/// A regular file.
#[derive(Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    file: File,
    /// Its size when it was opened.
    pub(crate) size: u64,
}

/// A file that is ready to be read from where an earlier run stopped.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// The file, standing at `position`.
    pub(crate) file: File,
    /// Where it goes on.
    pub(crate) position: Position,
    /// The fingerprint to commit from now on.
    pub(crate) fingerprint: Fingerprint,
}

impl Input {
    /// Opens what the command line names, without reading it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::Standard);
        }
        let unreadable = |error: io::Error| {
            let next = match error.kind() {
                io::ErrorKind::NotFound => "correct the path",
                io::ErrorKind::PermissionDenied => "give this user the right to read it",
                _ => "look at the file",
            };
            Failure::failed(
                format!("the file {} cannot be opened: {error}", path.display()),
                next,
            )
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::failed(
                format!("{} is a directory, not a file", path.display()),
                "name one file; start one load per file",
            ));
        }
        if !metadata.is_file() {
            return Ok(Self::Stream(file));
        }
        Ok(Self::File(InputFile {
            path: path.to_owned(),
            file,
            size: metadata.len(),
        }))
    }
}

impl InputFile {
    /// Makes sure that the file is the one that `cursor` was written for, and goes to where it points.
    pub(crate) fn resume(self, cursor: Option<Cursor>) -> Result<Resumed, Failure> {
        let path = self.path.clone();
        let size = self.size;
        self.find(cursor).map_err(|trouble| trouble.told(&path, size))
    }

    fn find(mut self, cursor: Option<Cursor>) -> Result<Resumed, Trouble> {
        let beginning = self.beginning(FINGERPRINT_BYTES)?;
        let fingerprint = Fingerprint::of(&beginning);
        let Some(cursor) = cursor else {
            self.file.seek(SeekFrom::Start(0))?;
            return Ok(Resumed {
                file: self.file,
                position: Position::default(),
                fingerprint,
            });
        };
        let hashed = usize::try_from(cursor.fingerprint.length)
            .ok()
            .and_then(|length| beginning.get(..length));
        if hashed.map(Fingerprint::of) != Some(cursor.fingerprint) {
            return Err(Trouble::AnotherFile);
        }
        if self.size < cursor.next.byte {
            return Err(Trouble::Shrunk {
                loaded: cursor.next.byte,
            });
        }
        let position = self.line_start(cursor.next)?;
        Ok(Resumed {
            file: self.file,
            position,
            fingerprint,
        })
    }

    fn beginning(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Goes to `position`. When the last loaded line had no line end and the file has grown since, its line end is stepped over;
    /// if the line itself was continued, there is no right place to go on.
    fn line_start(&mut self, mut position: Position) -> Result<Position, Trouble> {
        let Some(last) = position.byte.checked_sub(1) else {
            self.file.seek(SeekFrom::Start(0))?;
            return Ok(position);
        };
        self.file.seek(SeekFrom::Start(last))?;
        let mut around = Vec::with_capacity(2);
        (&mut self.file).take(2).read_to_end(&mut around)?;
        match around[..] {
            [b'\n', ..] | [_] | [] => {}
            [_, b'\n', ..] => position.byte += 1,
            [_, _, ..] => return Err(Trouble::LastLineContinued { line: position.line }),
        }
        self.file.seek(SeekFrom::Start(position.byte))?;
        Ok(position)
    }
}

/// Why a file cannot be resumed.
#[derive(Debug)]
enum Trouble {
    Unreadable(io::Error),
    AnotherFile,
    Shrunk { loaded: u64 },
    LastLineContinued { line: u64 },
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Trouble {
    fn told(self, path: &Path, size: u64) -> Failure {
        const NEXT: &str =
            "give this file its own --transactional-id, or say --restart to load it from its first line";
        let path = path.display();
        match self {
            Self::Unreadable(error) => Failure::failed(
                format!("the file {path} cannot be read: {error}"),
                "look at the file and its disk",
            ),
            Self::AnotherFile => Failure::failed(
                format!(
                    "{path} is not the file that earlier runs with this transactional id have loaded: its beginning is different"
                ),
                NEXT,
            ),
            Self::Shrunk { loaded } => Failure::failed(
                format!(
                    "{path} has {size} bytes, but {loaded} were already loaded under this transactional id: it was cut or replaced"
                ),
                NEXT,
            ),
            Self::LastLineContinued { line } => Failure::failed(
                format!(
                    "line {line} of {path} had no line end when it was loaded, and has been continued since"
                ),
                "put the line back and what is new on a line of its own, or say --restart to load the file from its first line",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file of its own for each test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn holding(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kommit-file-{}-{name}", std::process::id()));
            File::create(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .expect("the scratch file is written");
            Self(path)
        }

        fn resume(&self, cursor: Option<Cursor>) -> Result<Resumed, Failure> {
            let Input::File(file) = Input::open(&self.0).expect("it is there") else {
                panic!("a regular file")
            };
            file.resume(cursor)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn cursor(beginning: &str, byte: u64, line: u64) -> Cursor {
        Cursor {
            next: Position { byte, line },
            fingerprint: Fingerprint::of(beginning.as_bytes()),
        }
    }

    #[test]
    fn a_file_that_has_grown_is_the_same_file() {
        let scratch = Scratch::holding("grown", "a\nb\nc\n");
        let mut resumed = scratch
            .resume(Some(cursor("a\nb\n", 4, 2)))
            .expect("the same file");
        let mut rest = String::new();
        resumed.file.read_to_string(&mut rest).expect("readable");
        assert_eq!(
            (resumed.position, rest.as_str()),
            (Position { byte: 4, line: 2 }, "c\n")
        );
        assert_eq!(
            resumed.fingerprint,
            Fingerprint::of(b"a\nb\nc\n"),
            "the fingerprint grows with the file"
        );
    }

    #[test]
    fn another_file_is_refused_and_restart_is_named() {
        let scratch = Scratch::holding("another", "x\nb\n");
        let failure = scratch
            .resume(Some(cursor("a\nb\n", 4, 2)))
            .expect_err("another file");
        assert!(
            failure.what.contains("not the file") && failure.next.contains("--restart"),
            "{failure}"
        );
        let shorter = scratch
            .resume(Some(cursor("x\nb\nc\n", 4, 2)))
            .expect_err("a shorter file");
        assert!(shorter.what.contains("not the file"), "{shorter}");
    }

    #[test]
    fn a_file_that_lost_loaded_lines_is_refused() {
        let scratch = Scratch::holding("cut", "a\nb\n");
        let failure = scratch.resume(Some(cursor("a\n", 9, 4))).expect_err("it was cut");
        assert!(failure.what.contains("has 4 bytes, but 9"), "{failure}");
    }

    #[test]
    fn the_line_end_that_came_after_the_last_line_is_not_an_empty_line() {
        let scratch = Scratch::holding("line-end", "a\nb\nc\n");
        let resumed = scratch.resume(Some(cursor("a\nb", 3, 2))).expect("the same file");
        assert_eq!(resumed.position, Position { byte: 4, line: 2 });
    }

    #[test]
    fn a_last_line_that_was_continued_is_refused() {
        let scratch = Scratch::holding("continued", "a\nbc\n");
        let failure = scratch
            .resume(Some(cursor("a\nb", 3, 2)))
            .expect_err("the line was loaded as 'b'");
        assert!(failure.what.contains("line 2"), "{failure}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure = Input::open(Path::new("/no/such/file")).expect_err("it is not there");
        assert!(failure.what.contains("/no/such/file"), "{failure}");
        assert!(
            Input::open(&std::env::temp_dir())
                .expect_err("a directory")
                .what
                .contains("directory")
        );
    }
}
