//! The data directory of a broker: one file, in which the pieces that the core gives away stand one behind the other.
//!
//! Each piece is preceded by its length and its checksum. When the process ends within a write, the last piece is cut: the next
//! start drops it, and nobody had an answer that depends on it. What is written survives the end of the process, and not that of
//! the machine: as Kafka's own default, nothing is forced to the disk but a rewritten file.
//!
//! The newest broker on a directory has it: one that finds the file changed by another one stops.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kommit_protocol::batch::records_crc;
use kommit_protocol::time::Now;

use crate::config::BrokerConfig;
use crate::core::BrokerCore;
use crate::durable::Recovery;

const FILE: &str = "kommit.log";
const NEW_FILE: &str = "kommit.log.new";
/// What the file begins with: its name, and the number of its layout.
const HEAD: &[u8; 8] = b"kommit\0\x01";
/// Length and checksum of a piece.
const PIECE_HEAD: usize = 8;
/// Below this a file is not rewritten.
const SMALLEST_REWRITE: u64 = 64 * 1024 * 1024;

/// The file, open at its end.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    file: File,
    length: u64,
    /// At which length the file is written anew, without what was replaced or deleted.
    rewrite_at: u64,
}

impl Directory {
    /// Opens the directory, which is created when it is not there, and reads back the broker that it holds.
    pub(super) fn open(path: &Path, config: BrokerConfig, now: Now) -> io::Result<(Self, BrokerCore)> {
        fs::create_dir_all(path)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(FILE))?;
        let mut recovery = Recovery::new(config);
        let length = read_back(&mut file, &mut recovery)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        let directory = Self {
            path: path.to_owned(),
            file,
            length,
            rewrite_at: SMALLEST_REWRITE,
        };
        Ok((directory, recovery.finish(now)))
    }

    /// Writes what the last turn changed.
    pub(super) fn save(&mut self, core: &mut BrokerCore) -> io::Result<()> {
        let piece = core.take_unsaved();
        if piece.is_empty() {
            return Ok(());
        }
        if self.file.metadata()?.len() != self.length {
            return Err(io::Error::other("another broker uses the data directory"));
        }
        let framed = framed(&piece)?;
        self.file.write_all(&framed)?;
        self.length += framed.len() as u64;
        if self.length >= self.rewrite_at {
            self.rewrite(core)?;
        }
        Ok(())
    }

    /// Writes the file anew from what the broker knows, and only then takes the place of the old one.
    fn rewrite(&mut self, core: &BrokerCore) -> io::Result<()> {
        let new_path = self.path.join(NEW_FILE);
        let mut writer = BufWriter::new(File::create(&new_path)?);
        writer.write_all(HEAD)?;
        for piece in core.pieces() {
            writer.write_all(&framed(&piece)?)?;
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&new_path, self.path.join(FILE))?;
        self.length = file.stream_position()?;
        self.rewrite_at = SMALLEST_REWRITE.max(self.length.saturating_mul(2));
        let old = std::mem::replace(&mut self.file, file);
        // A broker that still has the old file sees that it is not its own any more.
        old.set_len(0)
    }
}

/// Feeds every whole piece to the recovery. Returns where the last of them ends.
fn read_back(file: &mut File, recovery: &mut Recovery) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length < HEAD.len() as u64 {
        file.write_all(HEAD)?;
        return Ok(HEAD.len() as u64);
    }
    let mut reader = BufReader::new(file);
    let mut head = [0; HEAD.len()];
    reader.read_exact(&mut head)?;
    if head != *HEAD {
        return Err(damaged(0, "this is no log of this program"));
    }
    let mut whole = HEAD.len() as u64;
    while length - whole >= PIECE_HEAD as u64 {
        let (size, checksum) = read_head(&mut reader)?;
        let end = whole + (PIECE_HEAD as u64) + u64::from(size);
        if end > length {
            break;
        }
        let mut piece = vec![0; size as usize];
        reader.read_exact(&mut piece)?;
        if records_crc(&piece) != checksum {
            return Err(damaged(whole, "a checksum is wrong"));
        }
        recovery
            .read(Bytes::from(piece))
            .map_err(|error| damaged(whole, &error.to_string()))?;
        whole = end;
    }
    if whole < length {
        tracing::warn!(
            bytes = length - whole,
            "an unfinished write at the end of the log is dropped"
        );
    }
    Ok(whole)
}

fn read_head(reader: &mut impl Read) -> io::Result<(u32, u32)> {
    let (mut size, mut checksum) = ([0; 4], [0; 4]);
    reader.read_exact(&mut size)?;
    reader.read_exact(&mut checksum)?;
    Ok((u32::from_be_bytes(size), u32::from_be_bytes(checksum)))
}

fn framed(piece: &Bytes) -> io::Result<Vec<u8>> {
    let size = u32::try_from(piece.len()).map_err(|_| io::Error::other("a turn changed more than 4 GiB"))?;
    let mut framed = Vec::with_capacity(PIECE_HEAD + piece.len());
    framed.extend_from_slice(&size.to_be_bytes());
    framed.extend_from_slice(&records_crc(piece).to_be_bytes());
    framed.extend_from_slice(piece);
    Ok(framed)
}

fn damaged(at: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} at byte {at}: {what}"))
}

#[cfg(test)]
mod tests {
    use kommit_protocol::time::Instant;
    use kommit_protocol::units::Timestamp;

    use super::*;

    const NOW: Now = Now {
        instant: Instant::ORIGIN,
        wall: Timestamp(0),
    };

    fn opened(path: &Path) -> (Directory, BrokerCore) {
        let config = BrokerConfig {
            data_directory: Some(path.to_owned()),
            ..BrokerConfig::default()
        };
        Directory::open(path, config, NOW).expect("a directory of this program")
    }

    /// A file that has grown beyond its bound is written anew, without what is not there any more, and says the same.
    #[test]
    fn a_file_is_rewritten_when_it_has_grown() {
        let path = std::env::temp_dir().join(format!("kommit-directory-{}", std::process::id()));
        let (mut directory, mut core) = opened(&path);
        for _ in 0..100 {
            core.create_topic("a", 40).expect("new");
            directory.save(&mut core).expect("it can be written");
            core.delete_topic("a").expect("it exists");
            directory.save(&mut core).expect("it can be written");
        }
        let kept = core.create_topic("b", 1).expect("new");
        let grown = directory.length;
        directory.rewrite_at = grown;
        directory.save(&mut core).expect("it can be written");
        assert!(
            directory.length < 1_000 && grown > 20_000,
            "{grown} {}",
            directory.length
        );
        core.create_topic("c", 1).expect("new");
        directory.save(&mut core).expect("it can be written");
        drop(directory);

        let (_, again) = opened(&path);
        assert_eq!(again.topic_id("a"), None);
        assert_eq!(again.topic_id("b"), Some(kept));
        assert!(again.topic_id("c").is_some());
        fs::remove_dir_all(&path).expect("it is this test's own");
    }
}
