use super::*;
use crate::config::ExeFilter;
use crate::config::notify::{Severity, Verdict};
use crate::output::alert::fixture::{at, ledger, pace, rank, seen, wants};

fn plain() -> Ledger {
    ledger(wants(), pace(), Grouping::Executable)
}

fn lives(_: ProcessId) -> Option<bool> {
    Some(true)
}

fn over(mut seen: Seen, why: &'static str) -> Seen {
    seen.over = Some(why);
    seen
}

fn ranked(mut seen: Seen, verdict: &str, severity: &str, priority: &str) -> Seen {
    seen.alert.rank = rank(verdict, severity, priority);
    seen
}

/// What was told, as (news, fingerprint, pid) per notification.
fn told(notifications: &[Notification]) -> Vec<Vec<(News, &str, u32)>> {
    notifications
        .iter()
        .map(|notification| {
            let alerts = notification.alerts.iter();
            alerts
                .map(|alert| (alert.news, alert.fingerprint.as_str(), alert.pid))
                .collect()
        })
        .collect()
}

/// Findings of one executable that come within the wait are one notification; another executable's is another.
#[test]
fn findings_of_an_executable_within_the_wait_are_told_together() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app"), seen("x", 9, "/other")], lives, at(0).boot);
    ledger.see(
        &[
            seen("a", 1, "/app"),
            seen("a", 2, "/app"),
            seen("b", 1, "/app"),
            seen("x", 9, "/other"),
        ],
        lives,
        at(5).boot,
    );
    assert!(ledger.take(false, at(9)).is_empty());
    assert_eq!(ledger.next_due(at(9).boot), Some(at(10).boot));
    let written = ledger.take(false, at(10));
    assert_eq!(
        told(&written),
        [
            vec![(News::New, "a", 1), (News::New, "a", 2), (News::New, "b", 1)],
            vec![(News::New, "x", 9)]
        ]
    );
    assert_eq!(written[0].group, "/app");
    assert_ne!(written[0].id, written[1].id);
    assert!(ledger.take(false, at(60)).is_empty());
    assert_eq!(ledger.next_due(at(60).boot), None);
}

/// Once told, a finding is told again when it is worse, after the repeat interval, and when it is over; not in between.
#[test]
fn finding_is_told_again_only_when_there_is_news() {
    let mut ledger = plain();
    let yellow = || ranked(seen("a", 1, "/app"), "leak", "yellow", "P2");
    ledger.see(&[yellow()], lives, at(0).boot);
    assert_eq!(ledger.take(false, at(10)).len(), 1);
    for second in 11..3_000 {
        ledger.see(&[yellow()], lives, at(second).boot);
        assert!(ledger.take(false, at(second)).is_empty());
    }
    ledger.see(&[seen("a", 1, "/app")], lives, at(3_000).boot);
    let worse = ledger.take(false, at(3_010));
    assert_eq!(told(&worse), [vec![(News::Worse, "a", 1)]]);
    assert_eq!(worse[0].alerts[0].before, Some(rank("leak", "yellow", "P2")));
    // Milder again is no news, and is repeated as it was told.
    ledger.see(&[yellow()], lives, at(6_609).boot);
    assert!(ledger.take(false, at(6_609)).is_empty());
    ledger.see(&[yellow()], lives, at(6_611).boot);
    let repeated = ledger.take(false, at(6_611));
    assert_eq!(told(&repeated), [vec![(News::Repeated, "a", 1)]]);
    assert_eq!(repeated[0].alerts[0].rank, rank("leak", "red", "P1"));
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(6_700).boot);
    let resolved = ledger.take(false, at(6_710));
    assert_eq!(told(&resolved), [vec![(News::Resolved, "a", 1)]]);
    assert_eq!(resolved[0].status, Status::Resolved);
    assert_eq!(resolved[0].alerts[0].over.as_deref(), Some("resolved"));
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(6_800).boot);
    assert!(ledger.take(false, at(9_999)).is_empty());
}

/// What is too mild, suppressed, of another label, runtime or executable is not told.
#[test]
fn findings_that_are_not_wanted_are_not_told() {
    let mut only = wants();
    only.severity = Severity::Red;
    only.runtimes = vec!["tokio".to_owned()];
    only.exes = ExeFilter::new(&["app*"]).unwrap();
    let team = globset::Glob::new("pay*").unwrap().compile_matcher();
    only.labels.insert("team".to_owned(), team);
    let mut ledger = ledger(only, pace(), Grouping::Finding);
    let with = |change: fn(&mut Seen)| {
        let mut seen = seen("no", 1, "/srv/app-1");
        change(&mut seen);
        seen
    };
    let findings = [
        ranked(seen("no", 2, "/srv/app-1"), "suspect", "red", "P0"),
        ranked(seen("no", 3, "/srv/app-1"), "leak", "yellow", "P0"),
        ranked(seen("no", 4, "/srv/app-1"), "healthy", "red", "P0"),
        over(seen("no", 5, "/srv/app-1"), "suppressed"),
        with(|seen| seen.alert.runtime = "go".to_owned()),
        with(|seen| seen.alert.labels.clear()),
        with(|seen| seen.alert.exe = None),
        seen("no", 6, "/srv/other"),
        seen("yes", 7, "/srv/app-1"),
    ];
    ledger.see(&findings, lives, at(0).boot);
    assert_eq!(told(&ledger.take(false, at(10))), [vec![(News::New, "yes", 7)]]);
}

/// A suspect is told to whoever asks for suspects, and again when it becomes a leak.
#[test]
fn suspect_that_becomes_a_leak_is_worse() {
    let mut suspects = wants();
    suspects.verdict = Verdict::Suspect;
    let mut ledger = ledger(suspects, pace(), Grouping::Executable);
    ledger.see(
        &[ranked(seen("a", 1, "/app"), "suspect", "red", "P1")],
        lives,
        at(0).boot,
    );
    assert_eq!(told(&ledger.take(false, at(10))), [vec![(News::New, "a", 1)]]);
    ledger.see(&[seen("a", 1, "/app")], lives, at(20).boot);
    assert_eq!(told(&ledger.take(false, at(30))), [vec![(News::Worse, "a", 1)]]);
}

/// A finding that was told and is suppressed afterwards is over, and the receiver learns why.
#[test]
fn finding_suppressed_after_it_was_told_is_over() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    ledger.see(&[over(seen("a", 1, "/app"), "suppressed")], lives, at(20).boot);
    let written = ledger.take(false, at(30));
    assert_eq!(written[0].alerts[0].over.as_deref(), Some("suppressed"));
}

/// A told finding whose process has ended is over at once; one that is merely missing is after a while.
#[test]
fn finding_that_is_missing_is_over_with_its_process_or_after_a_while() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app"), seen("a", 2, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    let first_ended = |(pid, start): ProcessId| {
        assert_eq!(start, u64::from(pid) * 1_000);
        Some(pid != 1)
    };
    ledger.see(&[], first_ended, at(20).boot);
    let written = ledger.take(false, at(30));
    assert_eq!(told(&written), [vec![(News::Resolved, "a", 1)]]);
    assert_eq!(written[0].alerts[0].over.as_deref(), Some("process_ended"));
    ledger.see(&[], first_ended, at(70).boot);
    let written = ledger.take(false, at(80));
    assert_eq!(written[0].alerts[0].over.as_deref(), Some("not_seen_again"));
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

/// The same pid with another start time is another process: the first is over, the second is new.
#[test]
fn reused_pid_is_another_subject() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    let mut next = seen("a", 1, "/app");
    next.alert.start_boottime = 77;
    ledger.see(&[next], |(_, start)| Some(start == 77), at(20).boot);
    let written = ledger.take(false, at(30));
    let mut news: Vec<News> = written[0].alerts.iter().map(|alert| alert.news).collect();
    news.sort_by_key(|news| *news == News::New);
    assert_eq!(news, [News::Resolved, News::New]);
}

/// A finding that is over before its wait is, is not told, and counted.
#[test]
fn finding_over_before_it_was_told_is_counted_only() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app"), seen("b", 1, "/app")], lives, at(0).boot);
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(5).boot);
    assert!(ledger.take(false, at(10)).is_empty());
    assert_eq!(ledger.counts().settled, 2);
}

/// A finding that is over and reopened before anybody was told so, is as if nothing had happened.
#[test]
fn finding_reopened_within_the_wait_is_no_news() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(20).boot);
    ledger.see(&[seen("a", 1, "/app")], lives, at(25).boot);
    assert!(ledger.take(false, at(30)).is_empty());
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(40).boot);
    assert_eq!(ledger.take(false, at(50)).len(), 1);
}

/// The rate holds notifications back, says when it goes on, counts it once, and loses none.
#[test]
fn rate_limit_holds_back_and_loses_nothing() {
    let mut slow = pace();
    slow.max_per_minute = 2;
    slow.group_wait = Duration::ZERO;
    let mut ledger = ledger(wants(), slow, Grouping::Executable);
    let findings: Vec<Seen> = (1..=5)
        .map(|pid| seen("a", pid, &format!("/app-{pid}")))
        .collect();
    let mut pids = Vec::new();
    let mut now = 0;
    let mut takes = 0;
    while pids.len() < 5 {
        ledger.see(&findings, lives, at(now).boot);
        let written = ledger.take(false, at(now));
        takes += usize::from(!written.is_empty());
        pids.extend(written.iter().map(|notification| notification.alerts[0].pid));
        if let Some(due) = ledger.next_due(at(now).boot) {
            assert!(due > at(now).boot);
        }
        now += 1;
        assert!(now < 200);
    }
    pids.sort_unstable();
    assert_eq!(pids, [1, 2, 3, 4, 5]);
    assert!(takes == 4 && now > 85, "{takes} takes in {now} s");
    assert_eq!(ledger.counts().held, 3);
}

/// Subjects are capped; those beyond are counted.
#[test]
fn subjects_over_the_limit_are_counted() {
    let mut ledger = plain();
    let most = u32::try_from(SUBJECTS_MAX).unwrap();
    let findings: Vec<Seen> = (1..=most + 7).map(|pid| seen("a", pid, "/app")).collect();
    ledger.see(&findings, lives, at(0).boot);
    assert_eq!(ledger.counts().over_limit, 7);
    let written = ledger.take(false, at(10));
    assert_eq!(written.len(), SUBJECTS_MAX / ALERTS_MAX);
    assert!(
        written
            .iter()
            .all(|notification| notification.alerts.len() == ALERTS_MAX)
    );
}

/// While a receiver is away, nothing is repeated, but news is still written.
#[test]
fn backlog_stops_repeats_and_not_news() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    ledger.see(&[seen("a", 1, "/app")], lives, at(4_000).boot);
    assert!(ledger.take(true, at(4_000)).is_empty());
    ledger.see(
        &[seen("a", 1, "/app"), seen("b", 1, "/app")],
        lives,
        at(4_001).boot,
    );
    assert_eq!(told(&ledger.take(true, at(4_011))), [vec![(News::New, "b", 1)]]);
    ledger.see(
        &[seen("a", 1, "/app"), seen("b", 1, "/app")],
        lives,
        at(7_605).boot,
    );
    assert_eq!(
        told(&ledger.take(false, at(7_605))),
        [vec![(News::Repeated, "a", 1)]]
    );
}

/// A receiver that wants no ends hears of none.
#[test]
fn end_is_not_told_to_who_does_not_want_it() {
    let mut no_ends = wants();
    no_ends.resolved = false;
    let mut ledger = ledger(no_ends, pace(), Grouping::Executable);
    ledger.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    ledger.take(false, at(10));
    ledger.see(&[over(seen("a", 1, "/app"), "resolved")], lives, at(20).boot);
    assert!(ledger.take(false, at(30)).is_empty());
    // And it is new when it comes again.
    ledger.see(&[seen("a", 1, "/app")], lives, at(40).boot);
    assert_eq!(told(&ledger.take(false, at(50))), [vec![(News::New, "a", 1)]]);
}

/// At the end everything is written, without waiting.
#[test]
fn end_of_the_agent_writes_what_waits() {
    let mut ledger = plain();
    ledger.see(&[seen("a", 1, "/app"), seen("b", 2, "/other")], lives, at(0).boot);
    assert_eq!(ledger.take_all(at(1)).len(), 2);
    assert!(ledger.take_all(at(2)).is_empty());
}

/// After a restart, what was told is not told again, and its end is told, at once if the process has gone.
#[test]
fn restart_remembers_what_was_told() {
    let mut before = plain();
    before.see(&[seen("a", 1, "/app"), seen("b", 2, "/app")], lives, at(0).boot);
    before.take(false, at(10));
    let memory = serde_json::to_vec(&before.remember(at(100))).unwrap();

    let mut after = plain();
    after.recall(serde_json::from_slice(&memory).unwrap(), at(200));
    // Nobody knows yet which processes live.
    after.see(&[], |_| None, at(201).boot);
    assert!(after.take(false, at(300)).is_empty());
    after.see(&[], |(pid, _)| Some(pid == 1), at(301).boot);
    let written = after.take(false, at(311));
    assert_eq!(told(&written), [vec![(News::Resolved, "b", 2)]]);
    // Seen again in time, it stands; it is repeated when that is due, and not before.
    after.see(&[seen("a", 1, "/app")], lives, at(1_900).boot);
    assert!(after.take(false, at(1_910)).is_empty());
    after.see(&[seen("a", 1, "/app")], lives, at(3_611).boot);
    assert_eq!(
        told(&after.take(false, at(3_611))),
        [vec![(News::Repeated, "a", 1)]]
    );
}

/// What the agent does not see again within half an hour after a restart is over.
#[test]
fn remembered_finding_that_does_not_come_back_is_over() {
    let mut before = plain();
    before.see(&[seen("a", 1, "/app")], lives, at(0).boot);
    before.take(false, at(10));
    let memory = before.remember(at(20));
    let mut after = plain();
    after.recall(memory, at(30));
    after.see(&[], lives, at(1_700).boot);
    assert!(after.take(false, at(1_710)).is_empty());
    after.see(&[], lives, at(1_831).boot);
    assert_eq!(
        told(&after.take(false, at(1_841))),
        [vec![(News::Resolved, "a", 1)]]
    );
}

/// A receiver that groups itself gets everything in one notification, and repeats of all together.
#[test]
fn receiver_that_groups_itself_hears_of_all_together() {
    let mut often = pace();
    often.group_wait = Duration::ZERO;
    often.repeat_interval = Duration::from_secs(60);
    let mut ledger = ledger(wants(), often, Grouping::All);
    let both = [seen("a", 1, "/app"), seen("b", 2, "/other")];
    ledger.see(&both[..1], lives, at(0).boot);
    assert_eq!(ledger.take(false, at(0)).len(), 1);
    ledger.see(&both, lives, at(20).boot);
    assert_eq!(told(&ledger.take(false, at(20))), [vec![(News::New, "b", 2)]]);
    ledger.see(&both, lives, at(60).boot);
    assert_eq!(
        told(&ledger.take(false, at(60))),
        [vec![(News::Repeated, "a", 1), (News::Repeated, "b", 2)]]
    );
}
