//! Numbers of variable length: seven bits per byte, the lowest first.

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends by how much a number grew, whatever it was: numbers wrap.
pub(super) fn put_change(out: &mut Vec<u8>, before: u64, now: u64) {
    let change = now.wrapping_sub(before).cast_signed();
    put(out, ((change << 1) ^ (change >> 63)).cast_unsigned());
}

/// Takes a number off the front; `None` = there is none that is whole and fits.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes what [`put_change`] wrote.
pub(super) fn take_change(bytes: &mut &[u8], before: u64) -> Option<u64> {
    let zigzag = take(bytes)?;
    let change = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
    Some(before.wrapping_add(change))
}

/// The same for a number of 32 bits.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read, at the edges, too, and changes wrap.
    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, value);
            put_change(&mut out, 5, value);
            let mut bytes = out.as_slice();
            assert_eq!(take(&mut bytes), Some(value));
            assert_eq!(take_change(&mut bytes, 5), Some(value));
            assert!(bytes.is_empty());
        }
    }

    /// A number that is cut off, or too large, is none.
    #[test]
    fn number_that_is_not_whole_is_none() {
        for mut bytes in [&[][..], &[0x80], &[0xff; 10], &[0x80; 12]] {
            assert_eq!(take(&mut bytes), None);
        }
    }
}
