//! Where fields of structures are, by the debug information of the file itself.

use super::{Image, section_bytes};
use gimli::{AttributeValue, DebugAbbrev, DebugInfo, EndianSlice, LittleEndian, UnitOffset};
use std::collections::BTreeMap;

type Slice<'data> = EndianSlice<'data, LittleEndian>;
type Unit<'data> = gimli::UnitHeader<Slice<'data>>;

/// Of a section that is compressed.
const DECOMPRESSED_MAX: u64 = 256 << 20;
/// Entries of the one unit that is looked through: the largest programs have some millions.
const ENTRIES_MAX: usize = 32 << 20;
/// Units that are looked at for their names.
const UNITS_MAX: usize = 1 << 20;
/// Fields of one structure that are kept.
const FIELDS_MAX: usize = 1 << 10;
/// Names for one type, one for the other.
const NAMES_MAX: usize = 8;

/// A field: how far from the structure's beginning, and which type.
#[derive(Clone, Copy, Debug)]
struct Field {
    at: u64,
    of: Option<UnitOffset>,
}

/// Structures of one compilation unit, with their fields and the structures that are in these.
#[derive(Debug, Default)]
pub struct Structures {
    /// Offsets of types in the unit, by name.
    named: BTreeMap<String, UnitOffset>,
    /// Fields by the type's offset in the unit.
    fields: BTreeMap<usize, BTreeMap<String, Field>>,
}

impl Structures {
    /// Reads those with these names in the first unit with this name that has any, and all that they contain in so many steps; `None` = the file has
    /// no debug information, or not that unit, or it cannot be read to its end. Names that are not there are left out. Costs time in
    /// proportion to the unit's size.
    #[must_use]
    pub fn read(image: &Image<'_>, unit: &[u8], names: &[&str], depth: usize) -> Option<Self> {
        let information = section_bytes(image, b".debug_info", DECOMPRESSED_MAX)?;
        let abbreviations = section_bytes(image, b".debug_abbrev", DECOMPRESSED_MAX)?;
        Self::of(&information, &abbreviations, unit, names, depth)
    }

    /// The same from the bytes of the two sections, which are other people's input.
    #[must_use]
    pub fn of(
        information: &[u8],
        abbreviations: &[u8],
        unit: &[u8],
        names: &[&str],
        depth: usize,
    ) -> Option<Self> {
        let information = DebugInfo::new(information, LittleEndian);
        let abbreviations = DebugAbbrev::new(abbreviations, LittleEndian);
        let mut units = information.units();
        for _ in 0..UNITS_MAX {
            let header = units.next().ok()??;
            let reader = Reader {
                abbreviations: header.abbreviations(&abbreviations).ok()?,
                unit: header,
            };
            // A package in several languages has several units; the types are all in one.
            if reader.is_named(unit)? {
                let found = reader.structures(names, depth)?;
                if !found.named.is_empty() {
                    return Some(found);
                }
            }
        }
        None
    }

    /// How far a field of a structure is from its beginning, through structures in structures: `["runtime.g", "sched", "sp"]`.
    #[must_use]
    pub fn offset(&self, path: &[&str]) -> Option<u64> {
        let (name, path) = path.split_first()?;
        let mut of = Some(*self.named.get(*name)?);
        let mut offset = 0_u64;
        for name in path {
            let field = self.fields.get(&of?.0)?.get(*name)?;
            offset = offset.checked_add(field.at)?;
            of = field.of;
        }
        Some(offset)
    }
}

/// What stands in an entry, as far as it is wanted.
#[derive(Default)]
struct Entry<'data> {
    name: Option<&'data [u8]>,
    at: Option<u64>,
    of: Option<UnitOffset>,
}

struct Reader<'data> {
    unit: Unit<'data>,
    abbreviations: gimli::Abbreviations,
}

impl<'data> Reader<'data> {
    fn is_named(&self, wanted: &[u8]) -> Option<bool> {
        let mut entries = self.unit.entries_raw(&self.abbreviations, None).ok()?;
        let abbreviation = entries.read_abbreviation().ok()??;
        let entry = self.entry(&mut entries, abbreviation)?;
        Some(entry.name == Some(wanted))
    }

    /// Reads an entry behind its abbreviation.
    fn entry(
        &self,
        entries: &mut gimli::EntriesRaw<'_, Slice<'data>>,
        abbreviation: &gimli::Abbreviation,
    ) -> Option<Entry<'data>> {
        let mut entry = Entry::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification).ok()?;
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, AttributeValue::String(name)) => entry.name = Some(name.slice()),
                (gimli::DW_AT_data_member_location, _) => entry.at = attribute.udata_value(),
                (gimli::DW_AT_type, AttributeValue::UnitRef(of)) => entry.of = Some(of),
                (gimli::DW_AT_type, AttributeValue::DebugInfoRef(of)) => {
                    entry.of = of.to_unit_offset(&self.unit);
                }
                _ => {}
            }
        }
        Some(entry)
    }

    fn structures(&self, names: &[&str], depth: usize) -> Option<Structures> {
        let mut found = Structures {
            named: self.find(names)?,
            ..Structures::default()
        };
        let mut wanted: Vec<UnitOffset> = found.named.values().copied().collect();
        for _ in 0..depth {
            let mut next = Vec::new();
            for at in std::mem::take(&mut wanted) {
                if found.fields.contains_key(&at.0) {
                    continue;
                }
                let fields = self.fields(at)?;
                next.extend(fields.values().filter_map(|field| field.of));
                found.fields.insert(at.0, fields);
            }
            wanted = next;
        }
        Some(found)
    }

    /// The structures with these names.
    fn find(&self, names: &[&str]) -> Option<BTreeMap<String, UnitOffset>> {
        let mut named = BTreeMap::new();
        let mut entries = self.unit.entries_raw(&self.abbreviations, None).ok()?;
        for _ in 0..ENTRIES_MAX {
            if entries.is_empty() || named.len() == names.len() {
                return Some(named);
            }
            let at = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation().ok()? else {
                continue;
            };
            if abbreviation.tag() != gimli::DW_TAG_structure_type {
                entries.skip_attributes(abbreviation.attributes()).ok()?;
                continue;
            }
            let entry = self.entry(&mut entries, abbreviation)?;
            if let Some(name) = names.iter().find(|name| entry.name == Some(name.as_bytes())) {
                named.entry((*name).to_owned()).or_insert(at);
            }
        }
        None
    }

    /// The fields of a type; none if it is no structure.
    fn fields(&self, at: UnitOffset) -> Option<BTreeMap<String, Field>> {
        let mut fields = BTreeMap::new();
        let mut at = at;
        for _ in 0..NAMES_MAX {
            let mut entries = self.unit.entries_raw(&self.abbreviations, Some(at)).ok()?;
            let abbreviation = entries.read_abbreviation().ok()??;
            let entry = self.entry(&mut entries, abbreviation)?;
            match (abbreviation.tag(), entry.of) {
                (gimli::DW_TAG_typedef, Some(of)) => at = of,
                (gimli::DW_TAG_structure_type, _) if abbreviation.has_children() => {
                    while fields.len() < FIELDS_MAX && !entries.is_empty() {
                        let Some(abbreviation) = entries.read_abbreviation().ok()? else {
                            break; // the last field
                        };
                        if abbreviation.has_children() {
                            break;
                        }
                        let entry = self.entry(&mut entries, abbreviation)?;
                        if let (Some(name), Some(at)) = (entry.name, entry.at) {
                            let name = String::from_utf8_lossy(name).into_owned();
                            fields.insert(name, Field { at, of: entry.of });
                        }
                    }
                    break;
                }
                _ => break,
            }
        }
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit with an inner structure and one that has it, and a name for the latter.
    fn sections() -> (Vec<u8>, Vec<u8>) {
        let abbreviations = [
            1, 0x11, 1, 0x03, 0x08, 0, 0, // unit: name
            2, 0x13, 1, 0x03, 0x08, 0, 0, // structure: name
            3, 0x0d, 0, 0x03, 0x08, 0x38, 0x0f, 0x49, 0x10, 0,
            0, // member: name, place, type by reference
            4, 0x16, 0, 0x03, 0x08, 0x49, 0x10, 0, 0, // another name: name, type by reference
            0,
        ];
        let mut entries = b"\x01runtime\0".to_vec();
        let at = |entries: &[u8]| u32::try_from(entries.len() + 11).unwrap().to_le_bytes();
        let inner = at(&entries);
        entries.extend(b"\x02runtime.inner\0\x03low\0\x10\0\0\0\0\x03high\0\x18\0\0\0\0\0");
        let named = at(&entries);
        entries.extend(b"\x04named\0");
        entries.extend(inner);
        entries.extend(b"\x02runtime.outer\0\x03field\0\x88\x02");
        entries.extend(named);
        entries.extend(b"\0\0");
        let mut information = u32::try_from(entries.len() + 7).unwrap().to_le_bytes().to_vec();
        information.extend([4, 0, 0, 0, 0, 0, 8]);
        information.extend(entries);
        (information, abbreviations.to_vec())
    }

    fn read(information: &[u8], abbreviations: &[u8]) -> Option<Structures> {
        Structures::of(
            information,
            abbreviations,
            b"runtime",
            &["runtime.outer", "runtime.none"],
            3,
        )
    }

    /// Places add up through structures, also where one has another name.
    #[test]
    fn offset_of_a_field_in_a_structure_is_the_sum() {
        let (information, abbreviations) = sections();
        let found = read(&information, &abbreviations).unwrap();
        assert_eq!(found.offset(&["runtime.outer", "field"]), Some(0x108));
        assert_eq!(found.offset(&["runtime.outer", "field", "high"]), Some(0x120));
        assert_eq!(found.offset(&["runtime.outer", "field", "none"]), None);
        assert_eq!(found.offset(&["runtime.none"]), None);
    }

    /// Whatever is cut off or changed, there is an answer.
    #[test]
    fn debug_information_that_is_cut_or_changed_gives_an_answer() {
        let (information, abbreviations) = sections();
        for length in 0..information.len() {
            let _ = read(&information[..length], &abbreviations);
        }
        for length in 0..abbreviations.len() {
            let _ = read(&information, &abbreviations[..length]);
        }
        for at in 0..information.len() {
            for value in [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff] {
                let mut changed = information.clone();
                changed[at] = value;
                if let Some(found) = read(&changed, &abbreviations) {
                    let _ = found.offset(&["runtime.outer", "field", "high"]);
                }
            }
        }
    }
}
