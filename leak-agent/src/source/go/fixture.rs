//! A tiny Go executable, written by hand, for the tests of this source and for the fuzz targets.

/// Address of the code; functions lie 64 bytes apart, in the order of [`FUNCTIONS`].
pub const TEXT: u64 = 0x40_1000;
/// Address of the data.
pub const DATA: u64 = 0x50_0000;
/// Bytes from function to function.
pub const STEP: u64 = SIZE as u64;
const SIZE: usize = 0x40;
/// Address of the runtime's list of goroutines; its published pointer and length follow at the next multiples of 0x100.
pub const LIST: u64 = 0x51_0000;

/// Address of the list of processors, and of the scheduler.
pub const PROCESSORS: u64 = LIST + 0x300;
/// See [`PROCESSORS`].
pub const SCHED: u64 = LIST + 0x400;

/// Where in the data the module and the table are.
const MODULE: usize = 0x100;
const TABLE: usize = 0x400;
/// Bytes in memory, `.bss` included.
const DATA_SIZE: u64 = 0x2_0000;

/// Names of the functions, and what the table calls their kind.
pub const FUNCTIONS: &[(&str, u8)] = &[
    ("runtime.main", 0),
    ("runtime.newproc1", 0),
    ("runtime.gdestroy", 0),
    ("runtime.allgadd", 0),
    ("runtime.bgsweep", 0),
    ("main.main", 0),
    ("main.main.gowrap1", 22),
    ("main.work", 0),
    ("runtime.procresize", 0),
];

/// The parts of the executable, to be changed before they are put together.
#[derive(Clone, Debug)]
pub struct Parts {
    /// At the beginning of the data.
    pub build_info: Vec<u8>,
    /// The functions.
    pub code: Vec<u8>,
    /// The table of functions.
    pub table: Vec<u8>,
    /// The module data, as words.
    pub module: Vec<u64>,
}

/// Address of the function of this index.
#[must_use]
pub fn entry(index: u64) -> u64 {
    TEXT + index * STEP
}

impl Parts {
    /// Of an executable that can be followed.
    #[must_use]
    pub fn valid() -> Self {
        let table = table();
        let at = DATA + TABLE as u64;
        let names = u64::from_le_bytes(table[32..40].try_into().unwrap_or_default());
        let mut module = vec![0; 64];
        module[0] = at;
        module[1] = at + names;
        module[22] = TEXT;
        module[23] = entry(FUNCTIONS.len() as u64);
        module[40] = at;
        let mut build_info = b"\xff Go buildinf:\x08\x02".to_vec();
        build_info.resize(32, 0);
        build_info.extend(b"\x09go1.24.11\x00");
        Self {
            build_info,
            code: code(),
            table,
            module,
        }
    }

    /// The executable, of fixed addresses.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        let mut data = self.build_info.clone();
        data.resize(data.len().max(MODULE), 0);
        data.truncate(MODULE);
        data.extend(self.module.iter().flat_map(|word| word.to_le_bytes()));
        data.resize(TABLE, 0);
        data.extend(&self.table);

        let mut file = vec![0_u8; 0x1000];
        let segments = [
            (5_u32, TEXT, 0x1000, &self.code, self.code.len() as u64),
            (6, DATA, 0x1000 + self.code.len() as u64, &data, DATA_SIZE),
        ];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        put(0x10, &2_u16.to_le_bytes()); // ET_EXEC
        put(0x12, &62_u16.to_le_bytes()); // x86-64
        put(0x14, &1_u32.to_le_bytes());
        put(0x20, &0x40_u64.to_le_bytes()); // program headers
        put(0x34, &64_u16.to_le_bytes());
        put(0x36, &56_u16.to_le_bytes());
        put(0x38, &2_u16.to_le_bytes());
        for (index, (flags, vaddr, offset, bytes, size)) in segments.into_iter().enumerate() {
            let at = 0x40 + 56 * index;
            put(at, &1_u32.to_le_bytes()); // PT_LOAD
            put(at + 4, &flags.to_le_bytes());
            put(at + 8, &offset.to_le_bytes());
            put(at + 0x10, &vaddr.to_le_bytes());
            put(at + 0x20, &(bytes.len() as u64).to_le_bytes());
            put(at + 0x28, &size.to_le_bytes());
        }
        file.extend(&self.code);
        file.extend(&data);
        file
    }
}

/// The functions: prologues as the compiler writes them, and what the list of goroutines is recognised by.
fn code() -> Vec<u8> {
    let mut code = vec![0xcc_u8; FUNCTIONS.len() * SIZE];
    for function in code.chunks_mut(SIZE) {
        // cmp rsp, [r14+16]; jbe +0x10; push rbp; ret
        function[..8].copy_from_slice(&[0x49, 0x3b, 0x66, 0x10, 0x76, 0x10, 0x55, 0xc3]);
    }
    let relative = |at: u64, size: u64, target: u64| {
        let distance = target.wrapping_sub(at + size);
        u32::try_from(distance & 0xffff_ffff).unwrap_or(0).to_le_bytes()
    };
    // Addresses of the scheduler and of two of its fields (Go 1.24), and two words of the list of processors.
    for (function, start, opcode, targets) in [
        (
            1_usize,
            7_usize,
            [0x48, 0x8d, 0x05],
            &[SCHED, SCHED + 72, SCHED + 160][..],
        ),
        (8, 7, [0x48, 0x8b, 0x0d], &[PROCESSORS, PROCESSORS + 8]),
    ] {
        let mut uses = Vec::new();
        for target in targets {
            let at = entry(function as u64) + (start + uses.len()) as u64;
            uses.extend(opcode);
            uses.extend(relative(at, 7, *target));
        }
        uses.push(0xc3);
        let start = function * SIZE + start;
        code[start..start + uses.len()].copy_from_slice(&uses);
    }
    // runtime.allgadd: three loads of the slice, a comparison, the address of the length, an exchange.
    let mut adds = Vec::new();
    for (opcode, target) in [
        ([0x48, 0x8b, 0x0d], LIST),
        ([0x48, 0x8b, 0x0d], LIST + 8),
        ([0x48, 0x8b, 0x0d], LIST + 16),
        ([0x48, 0x39, 0x05], LIST + 0x100),
        ([0x48, 0x8d, 0x0d], LIST + 0x200),
    ] {
        let at = entry(3) + adds.len() as u64;
        adds.extend(opcode);
        adds.extend(relative(at, 7, target));
    }
    adds.extend([0x48, 0x87, 0x01, 0xc3]); // xchg [rcx], rax; ret
    let start = 3 * SIZE;
    code[start..start + adds.len()].copy_from_slice(&adds);
    // main.main.gowrap1: call main.work; ret
    let start = 6 * SIZE;
    code[start] = 0xe8;
    code[start + 1..start + 5].copy_from_slice(&relative(entry(6), 5, entry(7)));
    code[start + 5] = 0xc3;
    code
}

/// The table of functions; each is in line 12 of main.go, all of it.
fn table() -> Vec<u8> {
    let mut names = Vec::new();
    let mut offsets = Vec::new();
    for (name, _) in FUNCTIONS {
        offsets.push(u32::try_from(names.len()).unwrap_or(0));
        names.extend(name.as_bytes());
        names.push(0);
    }
    let units = 0_u32.to_le_bytes();
    let files = b"main.go\0";
    // Nothing; line 12; file 0.
    let values = [0, 26, 0x40, 0, 2, 0x40, 0];
    let parts = [names.as_slice(), &units, files, &values];
    let mut starts = Vec::new();
    let mut at = 72;
    for part in parts {
        starts.push(at);
        at += part.len() as u64;
    }
    starts.push(at);
    let mut table = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    table.extend((FUNCTIONS.len() as u64).to_le_bytes());
    table.extend([0; 16]);
    table.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
    parts.iter().for_each(|part| table.extend(*part));
    let count = u32::try_from(FUNCTIONS.len()).unwrap_or(0);
    let step = u32::try_from(STEP).unwrap_or(0);
    for index in 0..count {
        table.extend((index * step).to_le_bytes());
        table.extend((8 * count + 4 + 44 * index).to_le_bytes());
    }
    table.extend((count * step).to_le_bytes());
    for (index, ((_, kind), name)) in (0..).zip(FUNCTIONS.iter().zip(offsets)) {
        // entry, name, arguments, deferreturn, stack, file, line, values, unit, first line
        for field in [index * step, name, 0, 0, 0, 4, 1, 0, 0, 12] {
            table.extend(u32::to_le_bytes(field));
        }
        table.extend([*kind, 0, 0, 0]);
    }
    table
}

/// An executable whose functions keep nothing on the stack but their return addresses.
#[must_use]
pub fn without_frames() -> Vec<u8> {
    let mut parts = Parts::valid();
    let entries = parts.table.get(64..72).and_then(|bytes| bytes.try_into().ok());
    let entries = usize::try_from(entries.map_or(0, u64::from_le_bytes)).unwrap_or(0);
    let headers = entries + 8 * FUNCTIONS.len() + 4;
    for index in 0..FUNCTIONS.len() {
        let stack = headers + 44 * index + 16;
        if let Some(bytes) = parts.table.get_mut(stack..stack + 4) {
            bytes.copy_from_slice(&4_u32.to_le_bytes()); // the value 0 everywhere
        }
    }
    parts.file()
}
