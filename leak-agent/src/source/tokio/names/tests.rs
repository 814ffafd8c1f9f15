//! Whole sites, described from small executables made by hand: code, vtables, places and texts, without symbols.

use super::*;
use crate::elf::Elf;
use crate::source::tokio::vtable::CellOffsets;
use crate::types::ExecutableId;
use crate::types::Vaddr;
use proptest::prelude::*;

const CODE: u64 = 0x40_1000;
const DATA: u64 = 0x40_3000;
const HEADERS: usize = 64 + 2 * 56;

const BODY: &[u8] = b"`async fn` resumed after completion";
const PARKED: &[u8] = b"park missing";

/// An executable of fixed addresses with one segment of code and one of data.
#[derive(Default)]
struct Maker {
    code: Vec<u8>,
    data: Vec<u8>,
}

impl Maker {
    fn here(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    /// Starts a function: 16-aligned behind padding, as the estimate of function bounds wants it.
    fn function(&mut self) -> u64 {
        self.code.push(0xcc);
        self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        self.here()
    }

    /// `lea rdi, [rip + …]`.
    fn load(&mut self, target: u64) {
        self.code.extend([0x48, 0x8d, 0x3d]);
        self.distance(target);
    }

    fn call(&mut self, target: u64) {
        self.code.push(0xe8);
        self.distance(target);
    }

    fn distance(&mut self, target: u64) {
        let distance = low_half(target.wrapping_sub(self.here() + 4));
        self.code.extend(distance.to_le_bytes());
    }

    /// A function that loads the addresses in turn, each followed by the call beside it, and returns.
    fn calls(&mut self, steps: &[(Option<u64>, Option<u64>)]) -> u64 {
        let start = self.function();
        for (load, call) in steps {
            if let Some(load) = load {
                self.load(*load);
            }
            if let Some(call) = call {
                self.call(*call);
            }
        }
        self.code.push(0xc3);
        start
    }

    fn text(&mut self, text: &[u8]) -> u64 {
        let at = DATA + self.data.len() as u64;
        self.data.extend(text);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        at
    }

    /// A `core::panic::Location`.
    fn location(&mut self, path: &str, line: u32) -> u64 {
        let text = self.text(path.as_bytes());
        let mut bytes = text.to_le_bytes().to_vec();
        bytes.extend((path.len() as u64).to_le_bytes());
        bytes.extend(line.to_le_bytes());
        bytes.extend(9_u32.to_le_bytes());
        self.text(&bytes)
    }

    /// A vtable whose poll and schedule are these; `handle` is the size of its scheduler's handle.
    fn vtable(&mut self, poll: u64, schedule: u64, handle: u64) -> TaskVtable {
        let slots = [poll, schedule, poll, poll, poll, poll, poll];
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        TaskVtable {
            vaddr: Vaddr(self.text(&bytes)),
            slots: slots.map(Vaddr).to_vec(),
            offsets: Some(CellOffsets {
                trailer: 0x80,
                scheduler: 0x20,
                id: 0x20 + handle,
            }),
        }
    }

    fn file(&self) -> Vec<u8> {
        let mut file = vec![0; HEADERS];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        put(0x10, &2_u16.to_le_bytes()); // ET_EXEC
        put(0x12, &62_u16.to_le_bytes()); // x86-64
        put(0x14, &1_u32.to_le_bytes());
        put(0x20, &64_u64.to_le_bytes());
        put(0x34, &64_u16.to_le_bytes());
        put(0x36, &56_u16.to_le_bytes());
        put(0x38, &2_u16.to_le_bytes());
        let segments = [
            (5_u32, HEADERS, CODE, self.code.len()),
            (4, HEADERS + self.code.len(), DATA, self.data.len()),
        ];
        for (index, (flags, offset, vaddr, size)) in segments.into_iter().enumerate() {
            let at = 64 + 56 * index;
            put(at, &1_u32.to_le_bytes());
            put(at + 4, &flags.to_le_bytes());
            put(at + 8, &(offset as u64).to_le_bytes());
            put(at + 16, &vaddr.to_le_bytes());
            put(at + 32, &(size as u64).to_le_bytes());
            put(at + 40, &(size as u64).to_le_bytes());
        }
        file.extend(&self.code);
        file.extend(&self.data);
        file
    }

    fn sites(&self, vtables: &[TaskVtable]) -> Vec<SiteInfo> {
        describe_file(&self.file(), vtables).unwrap()
    }
}

fn describe_file(data: &[u8], vtables: &[TaskVtable]) -> Option<Vec<SiteInfo>> {
    let elf = Elf {
        data,
        id: ExecutableId::BuildId(vec![0xab]),
        debug: None,
    };
    let image = Image::parse(&elf).ok()?;
    let pointers = Pointers::read(&image).ok()?;
    let functions = Functions::find(&image, &pointers);
    Some(describe(&image, &pointers, &functions, vtables, &elf).0)
}

/// Check that a stripped async fn is named by the place of its body, found through the functions between, and not
/// by other panics in its code.
#[test]
fn stripped_coroutine_is_named_by_where_its_body_begins() {
    let mut maker = Maker::default();
    let text = maker.text(BODY);
    let panic = maker.calls(&[(Some(text), None)]);
    let unwrap = maker.calls(&[]);
    let other = maker.location("src/conn.rs", 90);
    let begins = maker.location("src/conn.rs", 88);
    let body = maker.calls(&[(Some(other), Some(unwrap)), (Some(begins), Some(panic))]);
    let poll = maker.calls(&[(None, Some(body))]);
    let vtable = maker.vtable(poll, unwrap, 8);
    let sites = maker.sites(std::slice::from_ref(&vtable));
    assert_eq!(
        sites,
        [SiteInfo {
            id: format!("ab:{:#x}", vtable.vaddr.0),
            name: "src/conn.rs:88".to_owned(),
            location: Some("src/conn.rs:88".to_owned()),
            kind: "async",
            system: false,
            ambiguous: false,
            created_by: None,
            note: Some("its code names src/conn.rs:90".to_owned()),
        }]
    );
}

/// Check that only the job that parks workers is tokio's own, and that a job without a place keeps its id.
#[test]
fn stripped_worker_loop_is_told_from_other_jobs() {
    let mut maker = Maker::default();
    let text = maker.text(PARKED);
    let nothing = maker.calls(&[]);
    let park = maker.calls(&[(Some(text), Some(nothing))]);
    let run = maker.calls(&[(None, Some(nothing)), (None, Some(park))]);
    let worker = maker.calls(&[(None, Some(run))]);
    let unoptimised = maker.calls(&[(Some(run), Some(nothing))]);
    let job = maker.calls(&[(None, Some(nothing))]);
    let vtables = [
        maker.vtable(worker, nothing, 0),
        maker.vtable(job, nothing, 0),
        maker.vtable(unoptimised, nothing, 0),
        // A future that happens to do the same is still one of the program's.
        maker.vtable(worker, nothing, 8),
    ];
    let sites = maker.sites(&vtables);
    let told: Vec<_> = sites.iter().map(|site| (site.kind, site.system)).collect();
    let (own, other) = (("blocking", true), ("blocking", false));
    assert_eq!(told, [own, other, own, ("async", false)]);
    assert_eq!(sites[0].name, "tokio worker thread");
    assert_eq!(sites[1].name, sites[1].id);
    assert!(sites[1].note.is_some());
}

/// Check that tasks of a `LocalSet` are told by scheduling code that enters no scheduler, and that code which
/// names no place of tokio decides nothing.
#[test]
fn stripped_local_tasks_are_told_by_how_they_are_scheduled() {
    const TOKIO: &str = "/c/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/runtime";
    let mut maker = Maker::default();
    let nothing = maker.calls(&[]);
    let state = maker.location(&format!("{TOKIO}/task/state.rs"), 502);
    let queue = maker.location(&format!("{TOKIO}/scheduler/multi_thread/worker.rs"), 1361);
    let local = maker.calls(&[(Some(state), Some(nothing))]);
    let owned = maker.calls(&[(Some(state), Some(nothing)), (Some(queue), Some(nothing))]);
    let vtables = [local, owned, nothing].map(|schedule| maker.vtable(nothing, schedule, 8));
    let sites = maker.sites(&vtables);
    let kinds: Vec<_> = sites.iter().map(|site| site.kind).collect();
    assert_eq!(kinds, ["local", "async", "async"]);
}

/// Check that of two bodies in one function the one that its jump table leads to is taken.
#[test]
fn inlined_coroutine_is_not_taken_for_the_one_that_awaits_it() {
    let mut maker = Maker::default();
    let text = maker.text(BODY);
    let panic = maker.calls(&[(Some(text), None)]);
    let inner = maker.location("src/db.rs", 3);
    let outer = maker.location("src/main.rs", 70);
    let table = maker.text(&[0; 16]);
    // lea table; lea inner; call panic; lea outer; call panic
    let poll = maker.calls(&[
        (Some(table), None),
        (Some(inner), Some(panic)),
        (Some(outer), Some(panic)),
    ]);
    let outer_block = poll + 7 + 12;
    let ended = low_half(outer_block.wrapping_sub(table)).to_le_bytes();
    let at = usize::try_from(table - DATA).unwrap() + 4;
    maker.data[at..at + 4].copy_from_slice(&ended);
    let vtable = maker.vtable(poll, panic, 8);
    assert_eq!(maker.sites(&[vtable])[0].name, "src/main.rs:70");
}

proptest! {
    /// Check that damage anywhere in a file, and vtables that point anywhere, never make the description panic, and
    /// that it has one site for each vtable.
    #[test]
    fn damaged_files_are_described_without_panic(
        damage in prop::collection::vec((0_usize..4096, any::<u8>()), 0..40),
        slots in prop::collection::vec(prop_oneof![CODE..CODE + 512, DATA..DATA + 512, any::<u64>()], 0..9),
        handle in prop_oneof![Just(0_u64), Just(8), any::<u64>()],
        modern in any::<bool>(),
    ) {
        let mut maker = Maker::default();
        let texts = [maker.text(BODY), maker.text(PARKED)];
        let place = maker.location("src/conn.rs", 88);
        let panics = texts.map(|text| maker.calls(&[(Some(text), None)]));
        let poll = maker.calls(&[(Some(place), Some(panics[0])), (None, Some(panics[1]))]);
        let good = maker.vtable(poll, poll, handle.min(64));
        let crafted = TaskVtable {
            vaddr: Vaddr(DATA),
            slots: slots.into_iter().map(Vaddr).collect(),
            offsets: modern.then_some(CellOffsets { trailer: handle, scheduler: 0, id: handle }),
        };
        let mut file = maker.file();
        for (at, byte) in damage {
            let len = file.len();
            file[at % len] = byte;
        }
        if let Some(sites) = describe_file(&file, &[good, crafted]) {
            prop_assert_eq!(sites.len(), 2);
        }
    }
}

/// A distance as machine code has it: the processor extends the sign.
fn low_half(distance: u64) -> u32 {
    let [a, b, c, d, ..] = distance.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
