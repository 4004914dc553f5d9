//! Snappy in the framing of snappy-java: a magic header, then blocks behind their lengths (W-12).

use super::DecompressError;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version of the framing, and the oldest version that can read it.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK_LEN: usize = 32 * 1024;

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_LEN)];
    let mut stream = Vec::with_capacity(MAGIC.len() + VERSIONS.len() + records.len() / 2);
    stream.extend_from_slice(&MAGIC);
    stream.extend_from_slice(&VERSIONS);
    for input in records.chunks(BLOCK_LEN) {
        let len = encoder
            .compress(input, &mut block)
            .expect("a block has room for the worst case");
        let prefix = u32::try_from(len).expect("a compressed block of 32 KiB is shorter than 4 GiB");
        stream.extend_from_slice(&prefix.to_be_bytes());
        stream.extend_from_slice(&block[..len]);
    }
    stream
}

/// Expands a stream of blocks; also one raw block without framing, which other clients write.
pub(super) fn decompress(stored: &[u8], max_len: usize) -> Result<Vec<u8>, DecompressError> {
    let mut records = Vec::new();
    let Some(framed) = stored.strip_prefix(&MAGIC) else {
        expand_block(stored, max_len, &mut records)?;
        return Ok(records);
    };
    let mut rest = framed.get(VERSIONS.len()..).ok_or_else(cut_off)?;
    while !rest.is_empty() {
        let (prefix, blocks) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        let block = blocks.get(..len).ok_or_else(cut_off)?;
        expand_block(block, max_len, &mut records)?;
        rest = &blocks[len..];
    }
    Ok(records)
}

/// Appends an expanded block, after its declared length has been found to fit.
fn expand_block(block: &[u8], max_len: usize, records: &mut Vec<u8>) -> Result<(), DecompressError> {
    let len = snap::raw::decompress_len(block).map_err(DecompressError::malformed)?;
    if len > max_len - records.len() {
        return Err(DecompressError::TooLarge(max_len));
    }
    let start = records.len();
    records.resize(start + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut records[start..]);
    records.truncate(start + written.map_err(DecompressError::malformed)?);
    Ok(())
}

fn cut_off() -> DecompressError {
    DecompressError::Malformed("a snappy stream ends within a block".to_owned())
}
