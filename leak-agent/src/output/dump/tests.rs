use super::*;
use crate::dump::{Group, LabelSet, VERSION, WaitPlace};

fn frame(function: &str, line: Option<u32>, inlined: bool) -> Frame {
    Frame {
        function: function.to_owned(),
        file: line.map(|_| "/src/a.go".to_owned()),
        line,
        inlined,
    }
}

fn group(count: u64) -> Group {
    Group {
        runtime: "go",
        site: "main.serve".to_owned(),
        kind: "goroutine",
        state: "waiting".to_owned(),
        reason: Some("chan receive".to_owned()),
        count,
        oldest_s: Some(200),
        frames: vec![
            frame("main.wait", Some(7), true),
            frame("main.serve;x", Some(9), false),
        ],
        complete: true,
        site_id: None,
        location: Some("/src/a.go:88".to_owned()),
        created_by: vec![frame("main.main", Some(88), false)],
        bound: 0,
        looked_at: count.min(64),
        waits_on: vec![WaitPlace {
            channel: "0xc000014060".to_owned(),
            queued: 0,
            capacity: 2,
            closed: false,
            select: false,
            tasks: count.min(64),
        }],
        labels: vec![LabelSet {
            labels: vec![("tenant".to_owned(), "bl\u{1b}ue".to_owned())],
            tasks: 1,
        }],
    }
}

fn dump(groups: Vec<Group>) -> Dump {
    Dump {
        version: VERSION,
        pid: 42,
        executable: Some("/opt/app".to_owned()),
        taken_at: 0.0,
        took_s: 0.004,
        tasks: groups.iter().map(|group| group.count).sum(),
        complete: true,
        notes: vec!["a \u{1b}[2J note".to_owned()],
        groups,
    }
}

/// What people see: counts, what they wait for, where; nothing that could command the terminal.
#[test]
fn text_tells_count_reason_and_place() {
    let told = text(&dump(vec![group(100)]), false);
    let wanted = "pid 42, /opt/app: 100 tasks in 1 group, taken in 4 ms
note: a \u{fffd}[2J note

100 × go goroutine waiting: chan receive, oldest 3 min
    main.serve, started at /src/a.go:88 by main.main
    on channel 0xc000014060 (0 of 2 values): all 64 looked at
    labels tenant=bl\u{fffd}ue: 1 of 64 looked at
      main.wait     /src/a.go:7 (inlined)
      main.serve;x  /src/a.go:9
";
    assert_eq!(told, wanted);
    let coloured = text(&dump(vec![group(100)]), true);
    assert!(coloured.contains("\u{1b}[1m100\u{1b}[0m"), "{coloured}");
}

/// A group whose tasks ran has no frames, and says so.
#[test]
fn group_without_a_stack_says_so() {
    let mut group = group(1);
    group.frames.clear();
    group.complete = false;
    let told = text(&dump(vec![group.clone()]), false);
    assert!(told.contains("no stack"), "{told}");
    assert_eq!(folded(&dump(vec![group])), "go;waiting 1\n");
}

/// Recursion is told once, with how often.
#[test]
fn frames_that_repeat_are_told_once() {
    let mut group = group(1);
    group.frames = vec![frame("main.deep", Some(7), false); 20];
    let told = text(&dump(vec![group]), false);
    assert_eq!(told.matches("main.deep").count(), 1, "{told}");
    assert!(told.contains("… 19 times more"), "{told}");
}

/// Folded lines are one per group, outermost first, and divided by nothing that a name could hold.
#[test]
fn folded_lines_are_outermost_first() {
    assert_eq!(folded(&dump(vec![group(3)])), "go;main.serve,x;main.wait 3\n");
}

/// The fields that programs rely on, by their names.
#[test]
fn json_has_the_promised_fields() {
    let told: serde_json::Value = serde_json::from_str(&json(&dump(vec![group(3)])).unwrap()).unwrap();
    assert_eq!(
        (told["version"].as_u64(), told["pid"].as_u64()),
        (Some(1), Some(42))
    );
    let group = &told["groups"][0];
    for field in [
        "runtime", "site", "kind", "state", "reason", "count", "oldest_s", "frames", "complete",
    ] {
        assert!(group.get(field).is_some(), "{field} in {group}");
    }
    let frame = &group["frames"][0];
    assert_eq!(
        frame,
        &serde_json::json!({"function": "main.wait", "file": "/src/a.go", "line": 7, "inlined": true})
    );
}
