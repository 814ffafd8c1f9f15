//! What the architecture forbids.

use crate::scan::{File, Named};
use std::fmt;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Upward,
    Pure,
    Aya,
    UnsafePlace,
    SafetyLine,
    Runtime,
    Clock,
    Name,
    OutputOfEngine,
    Anyhow,
    Serialise,
}

/// A place where a rule is broken.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) rule: Rule,
    place: String,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let law = match self.rule {
            Rule::Upward => "lower layers never import higher ones",
            Rule::Pure => "the engine and the detectors read no clock, file, map or thread",
            Rule::Aya => "only bpf/ knows that aya exists",
            Rule::UnsafePlace => "only bpf/ and sys/ contain unsafe code",
            Rule::SafetyLine => "unsafe code has its SAFETY line",
            Rule::Runtime => "nothing outside source/ branches on the runtime",
            Rule::Clock => "only sys/clock.rs reads the clock",
            Rule::Name => "no module is called util, helper, misc or common",
            Rule::OutputOfEngine => "no output sees engine types",
            Rule::Anyhow => "anyhow is for the command line and for tests",
            Rule::Serialise => "outputs render the report: inner types are written on tapes only",
        };
        write!(f, "  {}: {} ({law})", self.place, self.what)
    }
}

/// Level by module, lowest first: a module may import its own level and those below.
const LEVELS: &[&[&str]] = &[
    &["types", "event"],
    &["config", "sys", "elf"],
    &["source", "stack", "emulate", "container"],
    &["bpf", "discovery", "engine", "detect"],
    &["report", "dump"],
    &["output", "tape"],
    &["agent"],
    &["cli"],
];

/// The level of a top-level module.
pub(crate) fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

/// What a pure module must not name.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "env"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["tokio"],
    &["aya"],
    &["aya_obj"],
    &["libc"],
    &["rustix"],
    &["procfs"],
    &["crate", "sys"],
    &["crate", "bpf"],
];

/// Every breach of a rule in a file.
pub(crate) fn broken(file: &File) -> Vec<Breach> {
    let top = file.module.first().map(String::as_str);
    let within = |modules: &[&str]| top.is_some_and(|top| modules.contains(&top));
    let mut found = Vec::new();
    let mut breach = |rule, line: usize, what: String| {
        found.push(Breach {
            rule,
            place: format!("{}:{line}", file.path),
            what,
        });
    };

    let own_level = top.and_then(level);
    for named in &file.paths {
        let what = || named.segments.join("::");
        let target = named.segments.get(1).filter(|_| named.starts_with(&["crate"]));
        if let (Some(own), Some(other)) = (own_level, target.and_then(|module| level(module)))
            && other > own
        {
            breach(Rule::Upward, named.line, what());
        }
        if within(&["engine", "detect"]) && IMPURE.iter().any(|impure| named.starts_with(impure)) {
            breach(Rule::Pure, named.line, what());
        }
        let aya = ["aya", "aya_obj", "aya_log"]
            .iter()
            .any(|name| named.starts_with(&[name]));
        if aya && !within(&["bpf"]) {
            breach(Rule::Aya, named.line, what());
        }
        let clock = named.ends_with(&["Instant", "now"]) || named.ends_with(&["SystemTime", "now"]);
        // tokio's Instant is the time of a deadline, and tests can stop it.
        if clock && !named.starts_with(&["tokio"]) && file.module != ["sys", "clock"] {
            breach(Rule::Clock, named.line, what());
        }
        if within(&["output"]) && named.starts_with(&["crate", "engine"]) {
            breach(Rule::OutputOfEngine, named.line, what());
        }
        if named.starts_with(&["anyhow"]) && top.is_some() && !within(&["cli"]) {
            breach(Rule::Anyhow, named.line, what());
        }
        let inner = within(&["source", "stack", "bpf", "discovery", "detect"]);
        // What is on a tape: what reaches engine and detectors, and what that holds.
        let boundary = [
            ["source", "plan"],
            ["source", "books"],
            ["source", "creation"],
            ["detect", "observation"],
        ];
        let taped = within(&["types", "event", "engine"]) || boundary.iter().any(|name| file.module == *name);
        let serde = named.starts_with(&["serde"]) && inner && !taped;
        let json = named.starts_with(&["serde_json"]) && (inner || taped);
        let tape = named.starts_with(&["rmp_serde"]) && top.is_some() && !within(&["tape"]);
        if serde || json || tape {
            breach(Rule::Serialise, named.line, what());
        }
    }

    for code in &file.unsafe_code {
        if !within(&["bpf", "sys"]) {
            breach(Rule::UnsafePlace, code.line, "unsafe".to_owned());
        }
        if code.owes_reason && !code.has_reason {
            breach(
                Rule::SafetyLine,
                code.line,
                "unsafe without a SAFETY line".to_owned(),
            );
        }
    }

    if !within(&["source"]) {
        for comparison in &file.comparisons {
            let (left, right) = (&comparison.left, &comparison.right);
            let runtime = [".runtime", ".runtime.label", ".runtime.wire"]
                .iter()
                .any(|field| left.ends_with(field));
            let constant = right.ends_with("::RUNTIME") || right.contains("runtime::");
            if constant || runtime && comparison.literal {
                breach(Rule::Runtime, comparison.line, format!("{left} {right}"));
            }
        }
    }

    for (name, line) in file
        .modules
        .iter()
        .cloned()
        .chain(file.module.iter().map(|name| (name.clone(), 1)))
    {
        if ["util", "utils", "helper", "helpers", "misc", "common"].contains(&name.as_str()) {
            breach(Rule::Name, line, format!("mod {name}"));
        }
    }
    found
}

impl Named {
    fn starts_with(&self, head: &[&str]) -> bool {
        self.segments.len() >= head.len() && self.segments.iter().zip(head).all(|(own, other)| own == other)
    }

    fn ends_with(&self, tail: &[&str]) -> bool {
        self.segments.len() >= tail.len()
            && self
                .segments
                .iter()
                .rev()
                .zip(tail.iter().rev())
                .all(|(own, other)| own == other)
    }
}
