//! BTF: where a kernel struct keeps a field. aya's own reader keeps member lists private.
//!
//! The format is documented with the kernel (Documentation/bpf/btf.rst); checked against 6.18. Only what is
//! needed to find members is read: structs and unions, into anonymous ones.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// Anonymous structs inside each other.
const MAX_DEPTH: usize = 8;

/// Parsed type information.
pub(super) struct Btf<'a> {
    data: &'a [u8],
    strings: &'a [u8],
    /// Offset of the head of each type; index = type id − 1.
    types: Vec<usize>,
    structs: HashMap<&'a [u8], usize>,
}

impl<'a> Btf<'a> {
    /// Reads the headers of all types: some 10 ms for a whole kernel.
    ///
    /// `None`: not BTF, or a kind of type newer than this build.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let word = |at: usize| u32_at(data, at);
        if u16::from_le_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(4)? as usize;
        let types_at = header.checked_add(word(8)? as usize)?;
        let types_end = types_at.checked_add(word(12)? as usize)?;
        let strings_at = header.checked_add(word(16)? as usize)?;
        let strings = data.get(strings_at..strings_at.checked_add(word(20)? as usize)?)?;
        let mut btf = Self {
            data,
            strings,
            types: Vec::new(),
            structs: HashMap::new(),
        };
        let mut at = types_at;
        while at < types_end {
            let info = word(at + 4)?;
            let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let extra = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                0..=KIND_ENUM64 => 0,
                _ => return None,
            };
            if kind == KIND_STRUCT {
                btf.structs.entry(btf.name(word(at)?)).or_insert(at);
            }
            btf.types.push(at);
            at += 12 + extra;
        }
        Some(btf)
    }

    /// Offset of a field in a struct, bytes. `None`: no such struct or field, or a bit field.
    pub(super) fn field(&self, structure: &str, field: &str) -> Option<u32> {
        let bits = self.member(*self.structs.get(structure.as_bytes())?, field.as_bytes(), 0)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    fn member(&self, at: usize, field: &[u8], depth: usize) -> Option<u32> {
        let info = u32_at(self.data, at + 4)?;
        let with_bit_sizes = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let member = at + 12 + 12 * index;
            let name = self.name(u32_at(self.data, member)?);
            let raw = u32_at(self.data, member + 8)?;
            let bits = if with_bit_sizes { raw & 0x00ff_ffff } else { raw };
            if name == field {
                return Some(bits);
            }
            if name.is_empty() && depth < MAX_DEPTH {
                let inner = u32_at(self.data, member + 4)?.checked_sub(1)?;
                let inner = *self.types.get(inner as usize)?;
                let kind = (u32_at(self.data, inner + 4)? >> 24) & 0x1f;
                if matches!(kind, KIND_STRUCT | KIND_UNION)
                    && let Some(inside) = self.member(inner, field, depth + 1)
                {
                    return bits.checked_add(inside);
                }
            }
        }
        None
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        data.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running kernel's own types answer, also for fields of other structs and for none.
    #[test]
    fn kernel_types_know_the_fields_of_a_task() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("no /sys/kernel/btf/vmlinux here: nothing to read");
            return;
        };
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.field("list_head", "prev"), Some(8));
        let pid = btf.field("task_struct", "pid").unwrap();
        assert_eq!(btf.field("task_struct", "tgid"), Some(pid + 4));
        assert_eq!(btf.field("task_struct", "no_such_field"), None);
        assert_eq!(btf.field("no_such_struct", "pid"), None);
    }

    /// Cut-off or foreign bytes are refused without a panic.
    #[test]
    fn btf_truncated_is_refused() {
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 24, 24, 4] {
            data.extend(word.to_le_bytes());
        }
        data.extend([0, 0, 0, 0, 2, 0, 0, 4]); // a struct with two members that are not there
        for len in 0..data.len() {
            assert!(Btf::parse(&data[..len]).is_none_or(|btf| btf.field("", "x").is_none()));
        }
        assert!(Btf::parse(b"\x7fELF").is_none());
    }
}
