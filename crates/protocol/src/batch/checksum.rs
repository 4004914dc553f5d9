//! Putting two CRC-32C checksums together. The crate `crc32c` can do it too, but squares matrices for every bit of the length; a stamp
//! has no time for that, so this multiplies polynomials over powers that are computed at compile time.

/// Castagnoli's polynomial (W-1), its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1, written the same way.
const ONE: u32 = 1 << 31;
/// How many bits a length of bytes has at most, plus the three that make it a length of bits.
const POWERS: usize = usize::BITS as usize + 3;

/// `SQUARES[k]` is x to the power of 2^k, modulo the polynomial.
static SQUARES: [u32; POWERS] = {
    let mut squares = [ONE >> 1; POWERS];
    let mut k = 1;
    while k < POWERS {
        squares[k] = multiply(squares[k - 1], squares[k - 1]);
        k += 1;
    }
    squares
};

/// The checksum of two pieces of bytes one behind the other, given those of the pieces and the length of the second.
pub(super) fn combine(first: u32, second: u32, mut second_len: usize) -> u32 {
    let mut shifted = first;
    while second_len != 0 {
        let k = second_len.trailing_zeros() as usize;
        shifted = multiply(shifted, SQUARES[k + 3]);
        second_len &= second_len - 1;
    }
    shifted ^ second
}

/// The product of two polynomials, modulo the polynomial.
const fn multiply(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if left & bit != 0 {
            product ^= right;
        }
        right = (right >> 1) ^ if right & 1 == 0 { 0 } else { POLYNOMIAL };
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Random;

    /// W-1: the shortcut gives what the plain way gives, for every length but 0, where the
    /// reference passes over the second piece without looking at it.
    #[test]
    fn combining_agrees_with_the_reference() {
        let mut random = Random(5);
        for round in 0..2_000_u32 {
            let bound = if round < 64 { 1 } else { 1 << (round % 40) };
            let len = 1 + random.below(bound) as usize;
            let (first, second) = (random.next() as u32, random.next() as u32);
            assert_eq!(
                combine(first, second, len),
                crc32c::crc32c_combine(first, second, len),
                "length {len}"
            );
        }
    }
}
