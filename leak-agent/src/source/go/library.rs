//! Libraries that say `go` on behalf of their callers: where they do, and which code is theirs.

use super::pclntab::{Function, Table};
use crate::elf::Image;
use crate::source::LibraryCode;
use iced_x86::{Decoder, DecoderOptions};
use leak_agent_common::key::LIBRARY_RANGES;
use std::ops::Range;

/// What a `go` statement becomes: a call of this. There are two of the name, one of them for code in assembly.
const BEGIN: &[u8] = b"runtime.newproc";

/// Packages whose goroutines somebody else asked for, by their import paths; those of one line are one library. Only packages that
/// begin goroutines where their caller waits for nothing else: a goroutine of a server's own loop has no such caller.
const LIBRARIES: &[&[&str]] = &[
    // The standard library: WaitGroup.Go; WithCancel and AfterFunc of a foreign parent; Tx and Rows that wait for the end of
    // a context; Cmd that does.
    &["sync"],
    &["context"],
    &["database/sql"],
    &["os/exec"],
    // Groups and pools.
    &["golang.org/x/sync/errgroup"],
    &["golang.org/x/sync/singleflight"],
    &[
        "github.com/sourcegraph/conc",
        "github.com/sourcegraph/conc/pool",
        "github.com/sourcegraph/conc/stream",
        "github.com/sourcegraph/conc/iter",
    ],
    &["github.com/panjf2000/ants/v2"],
    &["github.com/alitto/pond", "github.com/alitto/pond/v2"],
    &["github.com/gammazero/workerpool"],
    &["github.com/bytedance/gopkg/util/gopool"],
    &["github.com/hashicorp/go-multierror"],
    &["github.com/oklog/run"],
    &["github.com/jackc/puddle/v2"],
    &["gopkg.in/tomb%2ev2"],
    &["k8s.io/apimachinery/pkg/util/wait"],
    // A stream that is never ended leaves a goroutine that watches it.
    &[
        "google.golang.org/grpc",
        "google.golang.org/grpc/internal/transport",
    ],
];

/// Bytes of a library's code that are looked through.
const CODE_MAX: u64 = 8 << 20;
/// Places that are told.
const PLACES_MAX: usize = 512;

/// The library whose code this function is, by its place in [`LIBRARIES`]; `None` = of none.
fn library_of(name: &[u8]) -> Option<usize> {
    let of = |path: &&str| {
        let rest = name.strip_prefix(path.as_bytes()).or_else(|| {
            // A copy that another module carries.
            let vendored = memchr::memmem::find(name, b"/vendor/")?;
            name.get(vendored + 8..)?.strip_prefix(path.as_bytes())
        });
        rest.is_some_and(|rest| rest.starts_with(b"."))
    };
    LIBRARIES.iter().position(|paths| paths.iter().any(of))
}

/// Whether the function of this name is a library's.
pub(super) fn is_library(name: &str) -> bool {
    library_of(name.as_bytes()).is_some()
}

/// The places at which libraries say `go`.
pub(super) fn find(image: &Image<'_>, table: &Table<'_>) -> Vec<LibraryCode> {
    let begin: Vec<u64> = table
        .functions()
        .filter(|function| table.is_named(*function, BEGIN))
        .map(|function| function.entry)
        .collect();
    let mut code: Vec<Vec<Range<u64>>> = vec![Vec::new(); LIBRARIES.len()];
    let mut statements: Vec<(u64, usize)> = Vec::new();
    let mut left = CODE_MAX;
    for function in table.functions() {
        let Some(library) = library_of(table.name(function)) else {
            continue;
        };
        let size = function.end.saturating_sub(function.entry);
        left = match left.checked_sub(size) {
            Some(left) => left,
            None => break,
        };
        match code[library].last_mut() {
            Some(last) if last.end == function.entry => last.end = function.end,
            _ => code[library].push(function.entry..function.end),
        }
        let said = said(image, function, &begin).map(|statement| (statement, library));
        statements.extend(said);
    }
    statements.truncate(PLACES_MAX);
    let distance = |vaddr: u64| u32::try_from(vaddr.checked_sub(table.text())?).ok();
    let place = |(statement, library): (u64, usize)| {
        let ranges = largest(&code[library]);
        let range = |range: &Range<u64>| Some(distance(range.start)?..distance(range.end)?);
        Some(LibraryCode {
            statement: distance(statement)?,
            code: ranges.iter().map(range).collect::<Option<_>>()?,
        })
    };
    statements.into_iter().filter_map(place).collect()
}

/// As many ranges as can be told, the largest.
fn largest(code: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut code = code.to_vec();
    code.sort_by_key(|range| std::cmp::Reverse(range.end.saturating_sub(range.start)));
    code.truncate(LIBRARY_RANGES);
    code
}

/// The addresses behind the function's calls of one of `begin`.
fn said<'data>(
    image: &'data Image<'data>,
    function: Function,
    begin: &'data [u64],
) -> impl Iterator<Item = u64> + use<'data> {
    let size = usize::try_from(function.end.saturating_sub(function.entry)).unwrap_or(0);
    let bytes = image.bytes_from(function.entry).unwrap_or_default();
    let bytes = bytes.get(..size).unwrap_or(bytes);
    Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE)
        .into_iter()
        .filter(move |instruction| {
            instruction.is_call_near() && begin.contains(&instruction.near_branch_target())
        })
        .map(|instruction| instruction.next_ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package is told by its whole path: others may begin with it.
    #[test]
    fn function_is_of_the_library_whose_path_it_has() {
        let is = |name: &str| is_library(name);
        assert!(is("sync.(*WaitGroup).Go"));
        assert!(is("golang.org/x/sync/errgroup.(*Group).Go.func1"));
        assert!(is(
            "example.com/app/vendor/golang.org/x/sync/errgroup.(*Group).Go"
        ));
        assert!(is("gopkg.in/tomb%2ev2.(*Tomb).Go"));
        for other in [
            "synchro.Go",
            "sync/atomic.AddInt64",
            "main.sync",
            "mysync.Go",
            "",
            "sync",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    /// Every path is in one library only, and none is another's beginning at a point.
    #[test]
    fn libraries_do_not_overlap() {
        for (index, paths) in LIBRARIES.iter().enumerate() {
            for path in *paths {
                assert_eq!(library_of(format!("{path}.F").as_bytes()), Some(index), "{path}");
            }
        }
    }
}
