//! How rows are packed for C: u16 key bytes, u16 flags (0), u32 value bytes, key, value; little endian.

/// Kept out of values: an absent row of a multi-get says so with it.
pub const VALUE_ABSENT: u32 = u32::MAX; // SDBX_VALUE_ABSENT
const ROW_HEADER_BYTES: usize = 8;

pub fn put_row(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let vlen = value.map_or(VALUE_ABSENT, |v| v.len() as u32);
    out.reserve(ROW_HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len));
    out.extend((key.len() as u16).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend(vlen.to_le_bytes());
    out.extend(key);
    out.extend(value.unwrap_or_default());
}
