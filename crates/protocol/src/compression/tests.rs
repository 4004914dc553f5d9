//! Streams there and back, and hostile ones. Test code only.

use allocation_counter::measure;

use super::*;
use crate::batch::{Attributes, BatchError, BatchView, HeaderFields, RecordFields, encode_batch, put_record};
use crate::sample::Random;

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn inputs() -> Vec<Vec<u8>> {
    let mut random = Random(8);
    let mut inputs = vec![Vec::new(), vec![7], vec![0; 200_000], b"abcabcabd".repeat(9_000)];
    inputs.extend([100, 32 * 1024, 32 * 1024 + 1, 70_000, 140_000].map(|len| random.bytes(len)));
    inputs
}

fn damaged(random: &mut Random, legal: &[u8]) -> Vec<u8> {
    let mut bytes = legal.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.next() as u8;
    }
    let kept = bytes.len() - random.below(4).min(bytes.len() as u64) as usize;
    bytes.truncate(if random.below(3) == 0 {
        random.below(kept as u64 + 1) as usize
    } else {
        kept
    });
    bytes
}

/// W-12: what is compressed comes back, at every size around the block sizes.
#[test]
fn a_stream_comes_back() {
    for codec in CODECS {
        for input in inputs() {
            let stream = Bytes::from(compress(codec, None, &input));
            let output = decompress(codec, &stream, input.len()).expect("our own stream");
            assert!(output == input, "{} bytes of {}", input.len(), codec.name());
        }
    }
}

/// C-19: each level of zstd is one that the decoder understands, whoever wrote that; a high one makes less of what repeats itself.
#[test]
fn every_level_of_zstd_comes_back() {
    let mut random = Random(19);
    let words: Vec<Vec<u8>> = (0..200).map(|_| random.bytes(11)).collect();
    let mut input = Vec::new();
    while input.len() < 30_000 {
        input.extend_from_slice(&words[random.below(200) as usize]);
        input.push(b'0' + random.below(10) as u8);
    }
    let size = |level| {
        let stream = Bytes::from(compress(Compression::Zstd, Some(level), &input));
        let output = decompress(Compression::Zstd, &stream, input.len()).expect("our own stream");
        assert!(output == input, "level {level}");
        stream.len()
    };
    let sizes: Vec<usize> = (1..=22).map(size).collect();
    assert!(sizes[18] < sizes[0], "{sizes:?}");
    assert!(size(-131_072) > sizes[18]);
}

/// Compressed records are never wrong, whatever they are: many shapes, through an encoder and a decoder of different origin.
#[test]
fn many_shapes_come_back_from_zstd() {
    let mut random = Random(22);
    for _shape in 0..300 {
        let alphabet = 1 + random.below(40);
        let longest = 1 + random.below(60) as usize;
        let mut input: Vec<u8> = Vec::new();
        for _piece in 0..random.below(400) {
            let length = 1 + random.below(longest as u64) as usize;
            if !input.is_empty() && random.below(2) == 0 {
                let from = random.below(input.len() as u64) as usize;
                let copied = input[from..input.len().min(from + length)].to_vec();
                input.extend_from_slice(&copied);
            } else {
                input.extend((0..length).map(|_| random.below(alphabet) as u8));
            }
        }
        let stream = Bytes::from(compress(Compression::Zstd, Some(3), &input));
        let output = decompress(Compression::Zstd, &stream, input.len()).expect("our own stream");
        assert!(output == input, "{} bytes of {alphabet} letters", input.len());
    }
}

/// A limit that is one byte too small is an error, and so is a claim that no codec can reach.
#[test]
fn expanding_stops_at_the_limit() {
    for codec in CODECS {
        let stream = Bytes::from(compress(codec, None, &vec![1; 100_000]));
        assert_eq!(
            decompress(codec, &stream, 99_999),
            Err(DecompressError::TooLarge(99_999)),
            "{}",
            codec.name()
        );
    }
    let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    let largest = claim.len() * LARGEST_RATIO;
    assert_eq!(
        decompress(Compression::Snappy, &claim, usize::MAX),
        Err(DecompressError::TooLarge(largest))
    );
}

/// W-12: the first bytes of each stream are those that the Java client writes.
#[test]
fn streams_begin_as_the_format_says() {
    let begins =
        |codec, prefix: &[u8]| assert!(compress(codec, None, b"records").starts_with(prefix), "{codec:?}");
    begins(Compression::Gzip, &[0x1f, 0x8b, 8]);
    begins(
        Compression::Snappy,
        &[
            0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
        ],
    );
    begins(Compression::Lz4, &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    begins(Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]);
}

/// W-13: a block of snappy without framing is read as well.
#[test]
fn a_raw_snappy_block_is_read() {
    let raw = snap::raw::Encoder::new()
        .compress_vec(b"no framing")
        .expect("a block");
    let output = decompress(Compression::Snappy, &Bytes::from(raw), 100);
    assert_eq!(output, Ok(Bytes::from_static(b"no framing")));
}

/// Damaged streams are errors or other bytes, never a panic and never more bytes than allowed.
#[test]
fn damaged_streams_end() {
    let mut random = Random(9);
    let input = [b"some text, some more text, ".repeat(40), random.bytes(300)].concat();
    for codec in CODECS {
        let legal = compress(codec, None, &input);
        for _ in 0..1_500 {
            let bytes = Bytes::from(damaged(&mut random, &legal));
            if let Ok(output) = decompress(codec, &bytes, 10_000) {
                assert!(output.len() <= 10_000);
            }
        }
    }
}

/// W-4: the records of a compressed batch are read like those of any other; the header and the count stay uncompressed.
#[test]
fn a_compressed_batch_gives_its_records() {
    let mut records = Vec::new();
    for offset_delta in 0..50 {
        let value = Some(&b"a value that repeats"[..]);
        put_record(
            &mut records,
            &RecordFields {
                offset_delta,
                timestamp_delta: 0,
                key: None,
                value,
                headers: &[],
            },
        );
    }
    for codec in CODECS {
        let fields = HeaderFields {
            attributes: Attributes::new(codec),
            last_offset_delta: 49,
            record_count: 50,
            ..HeaderFields::default()
        };
        let bytes = encode_batch(&fields, &compress(codec, None, &records));
        let batch = BatchView::parse(&bytes).expect("a legal batch");
        assert_eq!(batch.verify_crc(), Ok(()));
        let read = batch.records(records.len()).expect("the limit is exact");
        assert_eq!(read.filter_map(Result::ok).count(), 50, "{}", codec.name());
        let refused = batch.records(records.len() - 1).map(Iterator::count);
        let error = DecompressError::TooLarge(records.len() - 1);
        assert_eq!(
            refused,
            Err(BatchError::Decompression {
                codec: codec.name(),
                error
            })
        );
    }
}

/// Target F5: a bomb takes memory for what the caller allows and for a window, not for what it would become.
#[test]
fn a_bomb_takes_no_more_memory_than_allowed() {
    const LIMIT: usize = 256 << 10;
    for codec in CODECS {
        let bomb = Bytes::from(compress(codec, None, &vec![0; 16 << 20]));
        let counted = measure(|| {
            assert_eq!(
                decompress(codec, &bomb, LIMIT),
                Err(DecompressError::TooLarge(LIMIT))
            );
        });
        // Bytes that are read grow by doubling, and are there twice while they move; the largest window here is one of 2 MiB.
        let allowed = 16 * bomb.len() as u64 + 4 * LIMIT as u64 + (3 << 20);
        assert!(counted.bytes_max <= allowed, "{}: {counted:?}", codec.name());
    }
}

/// Target F5: a zstd frame may declare the largest window, and no larger one.
#[test]
fn a_zstd_window_beyond_the_limit_is_refused() {
    // Magic number, a descriptor without content size, the exponent of the window, one empty last block.
    let frame = |exponent: u8| Bytes::from(vec![0x28, 0xb5, 0x2f, 0xfd, 0, (exponent - 10) << 3, 1, 0, 0]);
    for (exponent, is_refused) in [(17, false), (23, false), (24, true), (41, true)] {
        let counted = measure(|| {
            let output = decompress(Compression::Zstd, &frame(exponent), 1 << 20);
            assert_eq!(output.is_err(), is_refused, "2^{exponent}: {output:?}");
        });
        assert!(counted.bytes_max <= 2 * ZSTD_WINDOW, "2^{exponent}: {counted:?}");
    }
}
