//! The table by which the Go runtime knows its functions: addresses, names, lines, what was inlined where. In every Go
//! executable, stripped or not, because tracebacks and the garbage collector need it.
//!
//! It is read as other people's input: offsets are checked against the segment, every loop has a limit.

use crate::elf::Image;
use memchr::memchr;
use memchr::memmem::Finder;

/// The largest executables have some 300,000.
const FUNCTIONS_MAX: u32 = 1 << 24;
/// Names of instantiated generic functions may have some kilobytes.
const NAME_MAX: usize = 16 << 10;
/// Steps through the values of one function.
const STEPS_MAX: usize = 1 << 18;
/// How deep calls may be inlined into one another.
const INLINE_MAX: usize = 64;
/// Of a function's flags: nothing has called it.
const TOP_FRAME: u8 = 1;
/// Functions that are looked at to see whether the data about inlined calls are where they should be, and how many of them must
/// have some. The smallest programs have hundreds.
const FITTING_LOOKED_AT: usize = 4096;
const FITTING_MIN: u32 = 16;
/// Tables that are looked at.
const PLACES_MAX: usize = 16;

/// `FUNCDATA_InlTree` and `PCDATA_InlTreeIndex`.
const INLINE_TREE: u32 = 3;
const INLINE_INDEX: u32 = 2;

/// Where the parts of a table are. Small: what is kept of a file between two readings of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Address of the table, in the file's own numbering.
    pub vaddr: u64,
    /// Functions in it.
    pub functions: u32,
    /// Of Go 1.18 and 1.19: their headers of functions and entries of inlined calls are laid out otherwise.
    old: bool,
    /// Offsets from the table's beginning.
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    entries: usize,
}

impl Shape {
    /// Tables in the file that look whole, at most a few. Costs one search through the file for each of two forms.
    #[must_use]
    pub fn find(image: &Image<'_>) -> Vec<Self> {
        let mut found = Vec::new();
        // The form, two zeros, the smallest instruction of x86-64, the size of a pointer.
        for (old, form) in [(false, 0xf1), (true, 0xf0)] {
            let head = Finder::new(&[form, 0xff, 0xff, 0xff, 0, 0, 1, 8]).into_owned();
            for segment in image.segments() {
                for at in head.find_iter(segment.bytes) {
                    let vaddr = segment.start.saturating_add(at as u64);
                    let shape = segment.bytes.get(at..).filter(|_| vaddr.is_multiple_of(8));
                    found.extend(shape.and_then(|bytes| Self::read(bytes, vaddr, old)));
                    if found.len() >= PLACES_MAX {
                        return found;
                    }
                }
            }
        }
        found
    }

    fn read(bytes: &[u8], vaddr: u64, old: bool) -> Option<Self> {
        let word = |index: usize| {
            let at = bytes.get(8 + 8 * index..)?.first_chunk()?;
            usize::try_from(u64::from_le_bytes(*at)).ok()
        };
        let functions = u32::try_from(word(0)?).ok()?;
        let shape = Self {
            vaddr,
            functions,
            old,
            names: word(3)?,
            units: word(4)?,
            files: word(5)?,
            values: word(6)?,
            entries: word(7)?,
        };
        let rising = [
            64,
            shape.names,
            shape.units,
            shape.files,
            shape.values,
            shape.entries,
            bytes.len(),
        ];
        let in_order = rising.is_sorted() && shape.names < shape.units;
        let size = usize::try_from(functions).ok()?.checked_mul(8)?.checked_add(4)?;
        let fits = shape.entries.checked_add(size)? <= bytes.len();
        (in_order && fits && functions > 0 && functions < FUNCTIONS_MAX).then_some(shape)
    }

    /// Of Go 1.18 or 1.19.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.old
    }

    /// Address of the names, in the file's own numbering.
    #[must_use]
    pub fn names_at(&self) -> u64 {
        self.vaddr.saturating_add(self.names as u64)
    }

    /// Address of the pairs of entry and header, in the file's own numbering.
    #[must_use]
    pub fn entries_at(&self) -> u64 {
        self.vaddr.saturating_add(self.entries as u64)
    }

    /// The table in the file. `text`: address of the first function; `inlined`: that of the trees of inlined calls; both in
    /// the file's own numbering. `None` = it is not there.
    #[must_use]
    pub fn open<'data>(self, image: &'data Image<'data>, text: u64, inlined: u64) -> Option<Table<'data>> {
        Some(Table {
            shape: self,
            bytes: image.bytes_from(self.vaddr)?,
            image,
            text,
            inlined,
        })
    }
}

/// A table that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Table<'data> {
    shape: Shape,
    bytes: &'data [u8],
    image: &'data Image<'data>,
    text: u64,
    inlined: u64,
}

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its first instruction, in the file's own numbering.
    pub entry: u64,
    /// The beginning of the next function.
    pub end: u64,
    /// Where its header is.
    at: usize,
}

/// A call, as the source has it: inlined or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function whose source it is.
    pub function: String,
    /// "file:line"; `None` = the table does not say.
    pub location: Option<String>,
    /// What the runtime takes the function for, as [`Table::kind`].
    pub kind: Option<u8>,
    /// Its code was put into that of the next frame outwards.
    pub inlined: bool,
}

impl<'data> Table<'data> {
    /// Address of the first function.
    #[must_use]
    pub fn text(&self) -> u64 {
        self.text
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    /// The function of this index, in the order of addresses.
    #[must_use]
    pub fn function(&self, index: u32) -> Option<Function> {
        if index >= self.shape.functions {
            return None;
        }
        let entry = self.shape.entries.checked_add(8 * usize::try_from(index).ok()?)?;
        let at = usize::try_from(self.u32_at(entry + 4)?).ok()?;
        Some(Function {
            entry: self.text.checked_add(self.u32_at(entry)?.into())?,
            end: self.text.checked_add(self.u32_at(entry + 8)?.into())?,
            at: self.shape.entries.checked_add(at)?,
        })
    }

    /// All of them.
    pub fn functions(&self) -> impl Iterator<Item = Function> + '_ {
        (0..self.shape.functions).map_while(|index| self.function(index))
    }

    /// The function that has this address. Costs a binary search.
    #[must_use]
    pub fn function_of(&self, vaddr: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.shape.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.function(middle)?.entry <= vaddr {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let function = self.function(low.checked_sub(1)?)?;
        (function.entry <= vaddr && vaddr < function.end).then_some(function)
    }

    fn field(&self, function: Function, offset: usize) -> Option<u32> {
        self.u32_at(function.at.checked_add(offset)?)
    }

    /// The name of a function, as bytes of the table; empty if the table does not say.
    #[must_use]
    pub fn name(&self, function: Function) -> &'data [u8] {
        self.field(function, 4).map_or(&[], |offset| self.name_at(offset))
    }

    /// Whether its name begins with these bytes: cheaper than to read the name.
    #[must_use]
    pub fn name_begins(&self, function: Function, prefix: &[u8]) -> bool {
        let offset = self.field(function, 4);
        let bytes = offset.and_then(|offset| self.name_bytes(offset));
        bytes.is_some_and(|bytes| bytes.starts_with(prefix))
    }

    /// Whether this is its name.
    #[must_use]
    pub fn is_named(&self, function: Function, name: &[u8]) -> bool {
        let offset = self.field(function, 4);
        let bytes = offset.and_then(|offset| self.name_bytes(offset));
        bytes.is_some_and(|bytes| bytes.starts_with(name) && bytes.get(name.len()) == Some(&0))
    }

    fn name_bytes(&self, offset: u32) -> Option<&'data [u8]> {
        let names = self.bytes.get(self.shape.names..self.shape.units)?;
        names.get(usize::try_from(offset).ok()?..)
    }

    fn name_at(&self, offset: u32) -> &'data [u8] {
        let bytes = self.name_bytes(offset).unwrap_or_default();
        let bytes = bytes.get(..NAME_MAX).unwrap_or(bytes);
        let end = memchr(0, bytes).unwrap_or(0);
        bytes.get(..end).unwrap_or_default()
    }

    /// Bytes of the fixed part of a function's header.
    fn header(&self) -> usize {
        if self.shape.old { 40 } else { 44 }
    }

    /// What the runtime takes the function for: a `funcID`, different from version to version; `None` = not readable.
    #[must_use]
    pub fn kind(&self, function: Function) -> Option<u8> {
        let at = function.at.checked_add(self.header().checked_sub(4)?)?;
        self.bytes.get(at).copied()
    }

    /// Whether nothing can be unwound behind it: it is the outermost of its stack, or it writes the stack pointer.
    #[must_use]
    pub fn ends_stacks(&self, function: Function) -> bool {
        let at = self
            .header()
            .checked_sub(3)
            .and_then(|flag| function.at.checked_add(flag));
        at.and_then(|at| self.bytes.get(at))
            .is_none_or(|flags| flags & 3 != 0)
    }

    /// Whether the stack of a thread or a goroutine begins in it: nothing has called it.
    #[must_use]
    pub fn is_outermost(&self, function: Function) -> bool {
        let at = self
            .header()
            .checked_sub(3)
            .and_then(|flags| function.at.checked_add(flags));
        at.and_then(|at| self.bytes.get(at))
            .is_some_and(|flags| flags & TOP_FRAME != 0)
    }

    /// Offset of the values of this kind; `None` = the function has none.
    fn values_of(&self, function: Function, index: u32) -> Option<u32> {
        if index >= self.field(function, 28)? {
            return None;
        }
        let at = self.header().checked_add(4 * usize::try_from(index).ok()?)?;
        self.field(function, at)
    }

    /// Where the function's data of this kind is, from the beginning of all such data.
    fn data_of(&self, function: Function, index: u32) -> Option<u32> {
        let count = function.at.checked_add(self.header().checked_sub(1)?)?;
        if index >= u32::from(*self.bytes.get(count)?) {
            return None;
        }
        let before = self.field(function, 28)?.checked_add(index)?;
        let at = self
            .header()
            .checked_add(usize::try_from(before).ok()?.checked_mul(4)?)?;
        self.field(function, at).filter(|offset| *offset != u32::MAX)
    }

    /// The value that holds at this address of the function; `None` = none does.
    fn value(&self, function: Function, offset: u32, vaddr: u64) -> Option<i32> {
        if offset == 0 {
            return None;
        }
        let values = self.bytes.get(self.shape.values..self.shape.entries)?;
        let mut rest = values.get(usize::try_from(offset).ok()?..)?;
        let (mut value, mut end) = (-1_i32, function.entry);
        for step in 0..STEPS_MAX {
            let delta = uvarint(&mut rest)?;
            if delta == 0 && step > 0 {
                return None;
            }
            value = value.wrapping_add(unfolded(delta));
            end = end.checked_add(uvarint(&mut rest)?.into())?;
            if vaddr < end {
                return Some(value);
            }
        }
        None
    }

    /// Bytes that the stack grew by from the function's entry to this address; `None` = the table does not say.
    #[must_use]
    pub fn frame_size(&self, function: Function, vaddr: u64) -> Option<i32> {
        self.value(function, self.field(function, 16)?, vaddr)
    }

    /// "file:line" of the innermost source line at this address.
    fn location(&self, function: Function, vaddr: u64) -> Option<String> {
        let line = self.value(function, self.field(function, 24)?, vaddr)?;
        let file = self.value(function, self.field(function, 20)?, vaddr)?;
        let unit = self.field(function, 32)?;
        let index = unit.checked_add(u32::try_from(file).ok()?)?;
        let units = self.bytes.get(self.shape.units..self.shape.files)?;
        let entry = units
            .get(usize::try_from(index).ok()?.checked_mul(4)?..)?
            .first_chunk()?;
        let files = self.bytes.get(self.shape.files..self.shape.values)?;
        let name = files.get(usize::try_from(u32::from_le_bytes(*entry)).ok()?..)?;
        let name = name.get(..NAME_MAX).unwrap_or(name);
        let name = name.get(..memchr(0, name)?)?;
        Some(format!("{}:{line}", String::from_utf8_lossy(name)))
    }

    /// Where a function begins, as "file:line".
    #[must_use]
    pub fn line(&self, function: Function) -> Option<String> {
        self.location(function, function.entry)
    }

    /// The calls at this address as the source has them, the innermost first; empty = no function has this address. For
    /// a return address give the byte before it.
    #[must_use]
    pub fn frames(&self, vaddr: u64) -> Vec<Frame> {
        let Some(function) = self.function_of(vaddr) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        let mut at = vaddr;
        while frames.len() < INLINE_MAX {
            let Some(call) = self.inlined(function, at) else {
                break;
            };
            frames.push(Frame {
                function: shown(self.name_at(call.name)),
                location: self.location(function, at),
                kind: call.kind,
                inlined: true,
            });
            let Some(outer) = function.entry.checked_add(call.from.into()) else {
                break;
            };
            at = outer;
        }
        frames.push(Frame {
            function: shown(self.name(function)),
            location: self.location(function, at),
            kind: self.kind(function),
            inlined: false,
        });
        frames
    }

    /// The innermost inlined call at this address.
    fn inlined(&self, function: Function, vaddr: u64) -> Option<Inlined> {
        let index = self.value(function, self.values_of(function, INLINE_INDEX)?, vaddr)?;
        let index = u64::try_from(index).ok()?;
        self.call(self.data_of(function, INLINE_TREE)?, index)
    }

    /// Whether the data about inlined calls are where they were said to be: the first call of each of many functions bears the
    /// name of one, from its beginning on, and lies in the function it is inlined into.
    #[must_use]
    pub fn inlining_fits(&self) -> bool {
        let mut fitting = 0;
        for function in self.functions().take(FITTING_LOOKED_AT) {
            let Some(tree) = self.data_of(function, INLINE_TREE) else {
                continue;
            };
            let fits = self.call(tree, 0).is_some_and(|call| {
                let size = function.end.saturating_sub(function.entry);
                // The first of all names has nothing before it.
                let before = call.name.checked_sub(1).map(|before| self.name_bytes(before));
                let begins = before.is_none_or(|before| before.and_then(<[u8]>::first) == Some(&0));
                begins && !self.name_at(call.name).is_empty() && u64::from(call.from) < size
            });
            if !fits {
                return false;
            }
            fitting += 1;
        }
        fitting >= FITTING_MIN
    }

    /// Whether a call of one of the named functions is inlined into this one. Takes what it costs off `steps`; `None` =
    /// there were not enough.
    #[must_use]
    pub fn has_inlined(&self, function: Function, names: &[&[u8]], steps: &mut u32) -> Option<bool> {
        let Some(tree) = self.data_of(function, INLINE_TREE) else {
            return Some(false);
        };
        let Some(values) = self.values_of(function, INLINE_INDEX) else {
            return Some(false);
        };
        let Ok(last) = u32::try_from(self.largest(values, steps)) else {
            return Some(false);
        };
        *steps = steps.checked_sub(last)?;
        let found = (0..=last).any(|index| {
            let call = self.call(tree, index.into());
            call.is_some_and(|call| names.contains(&self.name_at(call.name)))
        });
        Some(found)
    }

    /// The outermost call that is inlined into this function, if that is what it was made for: the name.
    #[must_use]
    pub fn first_inlined(&self, function: Function) -> Option<String> {
        let tree = self.data_of(function, INLINE_TREE)?;
        let call = self.call(tree, 0)?;
        let name = shown(self.name_at(call.name));
        (!name.is_empty()).then_some(name)
    }

    /// A function's name as Go prints it.
    #[must_use]
    pub fn shown_name(&self, function: Function) -> String {
        shown(self.name(function))
    }

    /// The largest of a function's values; -1 = there are none.
    fn largest(&self, offset: u32, steps: &mut u32) -> i32 {
        let values = self.bytes.get(self.shape.values..self.shape.entries);
        let start = usize::try_from(offset).ok().filter(|offset| *offset != 0);
        let Some(mut rest) = values.zip(start).and_then(|(values, start)| values.get(start..)) else {
            return -1;
        };
        let (mut value, mut largest, mut first) = (-1_i32, -1, true);
        while let Some(left) = steps.checked_sub(1) {
            *steps = left;
            let Some(delta) = uvarint(&mut rest) else { break };
            if delta == 0 && !first {
                break;
            }
            first = false;
            value = value.wrapping_add(unfolded(delta));
            largest = largest.max(value);
            if uvarint(&mut rest).is_none() {
                break;
            }
        }
        largest
    }

    /// An entry of a tree of inlined calls.
    fn call(&self, tree: u32, index: u64) -> Option<Inlined> {
        let tree = self.inlined.checked_add(tree.into())?;
        let (size, kind, name, from) = if self.shape.old {
            (20, 2, 12, 16)
        } else {
            (16, 0, 4, 8)
        };
        let at = tree.checked_add(index.checked_mul(size)?)?;
        Some(Inlined {
            kind: self
                .image
                .u32_at(at.checked_add(kind)?)
                .map(|word| word.to_le_bytes()[0]),
            name: self.image.u32_at(at.checked_add(name)?)?,
            from: self.image.u32_at(at.checked_add(from)?)?,
        })
    }
}

/// A signed number that was folded into an unsigned one: 0, -1, 1, -2 …
fn unfolded(delta: u32) -> i32 {
    let sign = if delta & 1 == 0 { 0 } else { u32::MAX };
    ((delta >> 1) ^ sign).cast_signed()
}

struct Inlined {
    /// As [`Table::kind`].
    kind: Option<u8>,
    /// Offset of the function's name.
    name: u32,
    /// Where it was called, from the beginning of the function it was inlined into.
    from: u32,
}

/// A name as Go prints it in tracebacks: type arguments are left out.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match (name.find('['), name.rfind(']')) {
        (Some(from), Some(to)) if from < to => {
            let (head, tail) = (name.get(..from), name.get(to + 1..));
            format!("{}[...]{}", head.unwrap_or_default(), tail.unwrap_or_default())
        }
        _ => name.into_owned(),
    }
}

/// The next number of seven bits a byte, cut to 32 bits.
fn uvarint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
