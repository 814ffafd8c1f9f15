//! Ring records of any bytes and any alignment: a record or an error.
#![no_main]

use leak_agent_common::key::{ProcessKey, SiteKey};
use leak_agent_common::record::{Header, ProcessRecord, Record, StackRecord, kind};
use libfuzzer_sys::fuzz_target;
use zerocopy::IntoBytes as _;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| {
        for skipped in 0..8 {
            let Some(bytes) = bytes.get(skipped..) else { break };
            if let Ok(Record::Stack(record, stack)) = Record::decode(bytes) {
                assert_eq!(stack.len(), record.stack_len as usize, "the stack is as long as it says");
            }
        }
    }
);

fn seeds() -> Vec<Vec<u8>> {
    let header = |kind| Header {
        kind,
        exec_id: 1,
        at: 1,
        process: ProcessKey {
            start_boottime: 1,
            tgid: 1,
            pad: 0,
        },
    };
    let process = |kind| ProcessRecord {
        header: header(kind),
        other: header(kind).process,
        comm: *b"a-process\0\0\0\0\0\0\0",
    };
    let stack = StackRecord {
        header: header(kind::STACK),
        site: SiteKey {
            process: header(kind::STACK).process,
            site: 1,
            plan: 0,
            exec_id: 1,
            runtime: 1,
            caller: 0,
        },
        ip: 0x1000,
        sp: 0x2000,
        bp: 0x2010,
        bias: 0,
        stack_start: 0x2000,
        stack_len: 16,
        flags: 0,
    };
    let mut seeds: Vec<Vec<u8>> = [kind::FORK, kind::EXEC, kind::EXIT]
        .iter()
        .map(|kind| process(*kind).as_bytes().to_vec())
        .collect();
    seeds.push([stack.as_bytes(), &[0; 16]].concat());
    seeds.push([header(kind::STREAM).as_bytes(), &[0; 48]].concat());
    seeds.push(header(99).as_bytes().to_vec());
    seeds
}
