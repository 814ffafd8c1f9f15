//! Both formats, parsed back and compared with the report they were made of.

use super::*;
use crate::engine::snapshot::ProcessSnapshot;
use crate::output::metrics::catalogue::ALL;
use crate::report::fixture::{HOSTILE, hostile_report, process, report, runtime, scheduler, site, watched};
use crate::source::{go, thread, tokio};
use std::collections::{BTreeMap, BTreeSet};

const ALL_SERIES: MetricsConfig = MetricsConfig {
    processes: 1_000,
    sites: 1_000,
};

type Labels = BTreeMap<String, String>;

/// An exposition, parsed: type of each family, value of each series.
#[derive(Debug, Default)]
struct Parsed {
    types: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
    ended: bool,
}

impl Parsed {
    /// A strict reader of the subset of both formats that the agent writes; panics on anything else.
    fn read(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut family = String::new();
        let mut helped = BTreeSet::new();
        assert!(text.ends_with('\n'), "no newline at the end");
        for line in text.split_terminator('\n') {
            assert!(!parsed.ended, "text after the end: {line:?}");
            assert!(
                !line.chars().any(char::is_control),
                "control character in {line:?}"
            );
            if line == "# EOF" {
                parsed.ended = true;
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("help has a text");
                assert!(
                    !help.is_empty() && helped.insert(name.to_owned()),
                    "help of {name}"
                );
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("type has a name");
                assert!(helped.contains(name), "type of {name} before its help");
                assert!(
                    parsed.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{name} twice"
                );
                family = name.to_owned();
            } else if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').expect("unit has a name");
                assert!(name.ends_with(unit), "{name} does not end in its unit {unit}");
                parsed.units.insert(name.to_owned(), unit.to_owned());
            } else {
                let (name, labels, value) = sample(line);
                assert!(name.starts_with(&family), "{name} in family {family}");
                assert!(
                    parsed.samples.insert((name.clone(), labels), value).is_none(),
                    "duplicate series: {line}"
                );
            }
        }
        parsed
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(|((n, has), _)| {
                n == name
                    && labels
                        .iter()
                        .all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
            })
            .map(|(_, value)| *value)
            .collect();
        assert!(found.len() <= 1, "{name} {labels:?} is ambiguous");
        found.first().copied()
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let name_end = line.find(['{', ' ']).expect("a sample has a value");
    let (name, rest) = line.split_at(name_end);
    assert!(
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit()),
        "metric name {name:?}"
    );
    let mut labels = Labels::new();
    let mut rest = rest;
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"").expect("label has a value");
            assert!(
                key.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "label {key:?}"
            );
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("label value ends") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("escape is whole").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("escape \\{c}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(
                labels.insert(key.to_owned(), value).is_none(),
                "label {key} twice"
            );
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a blank before the value");
    (name.to_owned(), labels, value.parse().expect("value is a number"))
}

fn parsed(report: &Report, config: MetricsConfig, format: Format) -> Parsed {
    Parsed::read(&render(report, config, format).unwrap())
}

/// Hostile names neither break the format nor vanish, and both formats tell the same.
#[test]
fn report_with_hostile_strings_gives_valid_text_in_both_formats() {
    let report = hostile_report();
    let prometheus = parsed(&report, ALL_SERIES, Format::Prometheus);
    let openmetrics = parsed(&report, ALL_SERIES, Format::OpenMetrics);
    assert!(openmetrics.ended && !prometheus.ended);
    assert_eq!(prometheus.samples, openmetrics.samples);
    for pid in (200..).take(HOSTILE.len()) {
        let pid = i32::to_string(&pid);
        let labels = [("pid", pid.as_str()), ("runtime", "thread")];
        assert_eq!(prometheus.value("leak_agent_tasks_live", &labels), Some(3.0));
        assert_eq!(prometheus.value("leak_agent_site_tasks_live", &labels), Some(3.0));
    }
}

/// Every metric of the catalogue appears, nothing else does, and names follow the conventions of their type.
#[test]
fn rendered_families_are_those_of_the_catalogue() {
    let mut report = hostile_report();
    let mut watched = process(3, "svc", "/svc", vec![watched(tokio::RUNTIME, vec![])]);
    watched.schedulers.push(scheduler(go::RUNTIME));
    report
        .processes
        .extend(crate::report::fixture::report(60, vec![watched]).processes);
    let prometheus = parsed(&report, ALL_SERIES, Format::Prometheus);
    let openmetrics = parsed(&report, ALL_SERIES, Format::OpenMetrics);
    for metric in ALL {
        let in_text = if metric.kind == Kind::Info {
            "gauge"
        } else {
            metric.kind.label()
        };
        assert_eq!(
            prometheus.types.get(metric.name).map(String::as_str),
            Some(in_text),
            "{}",
            metric.name
        );
        let unit = metric.unit.map(MetricUnit::label);
        let family = match unit {
            Some(unit) => format!("{}_{unit}", metric.stem()),
            None => metric.stem().to_owned(),
        };
        assert_eq!(
            openmetrics.types.get(&family).map(String::as_str),
            Some(metric.kind.label()),
            "{family}"
        );
        assert_eq!(
            openmetrics.units.get(&family).map(String::as_str),
            unit,
            "{family}"
        );
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        assert_eq!(
            metric.name.ends_with("_info"),
            metric.kind == Kind::Info,
            "{}",
            metric.name
        );
        assert!(metric.help.ends_with('.'), "{}", metric.name);
    }
    assert_eq!(prometheus.types.len(), ALL.len());
    assert_eq!(openmetrics.types.len(), ALL.len());
}

/// The identity of the counts holds in what a scraper sees.
#[test]
fn scraped_counts_keep_the_identity() {
    let scrape = parsed(&hostile_report(), ALL_SERIES, Format::Prometheus);
    let of = |name: &str, runtime: &str| {
        scrape
            .value(name, &[("pid", "100"), ("runtime", runtime)])
            .expect("series is there")
    };
    for (runtime, live) in [("thread", 4.0), ("tokio", 48.0)] {
        assert_eq!(of("leak_agent_tasks_live", runtime), live);
        assert_eq!(
            of("leak_agent_tasks_baseline", runtime) + of("leak_agent_tasks_spawned_total", runtime)
                - of("leak_agent_tasks_finished_total", runtime),
            live
        );
    }
    assert_eq!(
        scrape.value(
            "leak_agent_attach_points",
            &[("pid", "100"), ("runtime", "tokio"), ("emulated", "false")]
        ),
        Some(1.0)
    );
    assert_eq!(
        scrape.value(
            "leak_agent_hop_dropped_total",
            &[("hop", "ring"), ("reason", "lost_stack_record")]
        ),
        Some(2.0)
    );
    assert_eq!(
        scrape.value("leak_agent_hop_in_total", &[("hop", "ring")]),
        Some(42.0)
    );
    assert_eq!(scrape.value("process_cpu_seconds_total", &[]), Some(1.25));
}

/// What came in is what went out, was dropped, or waits: per receiver, and for all of them as a hop.
#[test]
fn scraped_notifications_keep_their_sum() {
    let scrape = parsed(&hostile_report(), ALL_SERIES, Format::Prometheus);
    let of = |name: &str, labels: &[(&str, &str)]| scrape.value(name, labels).expect("series is there");
    let outcome = |outcome| {
        let labels = [("receiver", "ops"), ("kind", "webhook"), ("outcome", outcome)];
        of("leak_agent_notifications_total", &labels)
    };
    let waiting = of("leak_agent_notification_queue", &[("receiver", "ops")]);
    assert_eq!(
        outcome("taken"),
        outcome("delivered") + outcome("dropped") + waiting
    );
    let reason = |reason| {
        let labels = [("receiver", "ops"), ("reason", reason)];
        of("leak_agent_notifications_dropped_total", &labels)
    };
    assert_eq!(outcome("dropped"), reason("queue_full") + reason("too_old"));
    let hop = [("hop", "notify")];
    let dropped = |reason| {
        of(
            "leak_agent_hop_dropped_total",
            &[("hop", "notify"), ("reason", reason)],
        )
    };
    assert_eq!(
        of("leak_agent_hop_in_total", &hop),
        of("leak_agent_hop_out_total", &hop) + dropped("queue_full") + dropped("too_old") + 2.0 * waiting
    );
}

/// Sites beyond the cap are one series with their sum, without counters, and are counted as folded.
#[test]
fn sites_beyond_the_cap_are_folded() {
    let config = MetricsConfig {
        processes: 1_000,
        sites: 1,
    };
    let scrape = parsed(&hostile_report(), config, Format::Prometheus);
    let tokio = [("pid", "100"), ("runtime", "tokio")];
    let site = |name: &str, site: &str| {
        let mut labels = tokio.to_vec();
        labels.push(("site", site));
        scrape.value(name, &labels)
    };
    assert_eq!(site("leak_agent_site_tasks_live", "abcd0123:0x2"), Some(40.0));
    assert_eq!(site("leak_agent_site_tasks_live", "~other"), Some(8.0));
    assert_eq!(site("leak_agent_site_tasks_spawned_total", "~other"), None);
    assert_eq!(scrape.value("leak_agent_metrics_folded_sites", &[]), Some(2.0));
    assert_eq!(scrape.value("leak_agent_tasks_live", &tokio), Some(48.0));
}

/// Processes beyond the cap are one series per runtime, the largest keep their own.
#[test]
fn processes_beyond_the_cap_are_folded() {
    let config = MetricsConfig {
        processes: 1,
        sites: 10,
    };
    let scrape = parsed(&hostile_report(), config, Format::OpenMetrics);
    let folded = HOSTILE.len() as f64;
    assert_eq!(
        scrape.value(
            "leak_agent_tasks_live",
            &[("pid", "~other"), ("runtime", "thread")]
        ),
        Some(3.0 * folded)
    );
    assert_eq!(
        scrape.value("leak_agent_tasks_live", &[("pid", "100"), ("runtime", "tokio")]),
        Some(48.0)
    );
    assert_eq!(scrape.value("leak_agent_tasks_live", &[("pid", "200")]), None);
    assert_eq!(
        scrape.value("leak_agent_metrics_folded_processes", &[]),
        Some(folded)
    );
    assert_eq!(scrape.value("leak_agent_processes", &[]), Some(folded + 1.0));
}

/// A process that ended, a runtime that cannot be followed, and a system site have no counts in the metrics.
#[test]
fn series_end_with_their_process_and_unsupported_is_not_zero() {
    let mut system = site(9, "driver", 0, 7, 0);
    std::sync::Arc::make_mut(&mut system.info).system = true;
    let mut snapshots = vec![
        process(
            1,
            "gone",
            "/gone",
            vec![runtime(thread::RUNTIME, vec![site(1, "main", 1, 0, 0)])],
        ),
        process(
            2,
            "odd",
            "/odd",
            vec![
                runtime(thread::RUNTIME, vec![site(1, "main", 1, 0, 0), system]),
                runtime(tokio::RUNTIME, vec![]),
            ],
        ),
    ];
    snapshots[0].alive = false;
    snapshots[1].runtimes[1].state = crate::engine::snapshot::FollowState::Unsupported;
    let scrape = parsed(&report(1, snapshots), ALL_SERIES, Format::Prometheus);
    assert!(
        scrape
            .samples
            .keys()
            .all(|(_, labels)| labels.get("pid").is_none_or(|pid| pid != "1"))
    );
    let tokio = [("pid", "2"), ("runtime", "tokio")];
    assert_eq!(scrape.value("leak_agent_tasks_live", &tokio), None);
    let state = |state| {
        scrape.value(
            "leak_agent_runtime_state",
            &[tokio[0], tokio[1], ("state", state)],
        )
    };
    assert_eq!((state("unsupported"), state("followed")), (Some(1.0), Some(0.0)));
    assert_eq!(
        scrape.value(
            "leak_agent_site_tasks_live",
            &[("pid", "2"), ("runtime", "thread")]
        ),
        Some(1.0)
    );
}

/// What is counted from memory has live tasks and their moment, and no counters that stand still.
#[test]
fn watched_runtime_has_live_counts_and_no_counters() {
    let sites = vec![site(2, "app::serve", 40, 0, 0)];
    let processes = vec![process(3, "svc", "/svc", vec![watched(tokio::RUNTIME, sites)])];
    let scrape = parsed(&report(60, processes), ALL_SERIES, Format::Prometheus);
    let of = [("pid", "3"), ("runtime", "tokio")];
    for (name, value) in [
        ("leak_agent_tasks_live", Some(40.0)),
        ("leak_agent_site_tasks_live", Some(40.0)),
        ("leak_agent_watch_tasks_counted", Some(40.0)),
        ("leak_agent_watch_tasks_added", Some(1_000.0)),
        ("leak_agent_watch_timestamp_seconds", Some(1_700_001_055.0)),
        ("leak_agent_watch_agreed", Some(1.0)),
        ("leak_agent_tasks_retained", Some(3.0)),
        ("leak_agent_tasks_spawned_total", None),
        ("leak_agent_tasks_finished_total", None),
        ("leak_agent_tasks_baseline", None),
        ("leak_agent_site_tasks_spawned_total", None),
        ("leak_agent_site_tasks_finished_total", None),
    ] {
        assert_eq!(scrape.value(name, &of), value, "{name}");
    }
    for (by, value) in [("memory", 1.0), ("probes", 0.0)] {
        let labels = [of[0], of[1], ("by", by)];
        assert_eq!(
            scrape.value("leak_agent_runtime_counted_by", &labels),
            Some(value)
        );
    }
}

/// A pid that appears twice (the old process not yet marked as ended) gives one set of series, the newer's.
#[test]
fn pid_that_was_reused_appears_once() {
    let old = process(
        5,
        "old",
        "/old",
        vec![runtime(thread::RUNTIME, vec![site(1, "main", 9, 0, 0)])],
    );
    let mut new = process(
        5,
        "new",
        "/new",
        vec![runtime(thread::RUNTIME, vec![site(1, "main", 2, 0, 0)])],
    );
    new.key.start_boottime += 1_000;
    let scrape = parsed(&report(1, vec![new, old]), ALL_SERIES, Format::Prometheus);
    assert_eq!(scrape.value("leak_agent_tasks_live", &[("pid", "5")]), Some(2.0));
}

/// What a scheduler's threads do has a series each, also where it is none; what is not known has none.
#[test]
fn threads_of_a_scheduler_have_a_series_per_activity() {
    let told = process(1, "svc", "/svc", vec![runtime(thread::RUNTIME, vec![])]);
    let told = |schedulers| {
        report(
            60,
            vec![ProcessSnapshot {
                schedulers,
                ..told.clone()
            }],
        )
    };
    let scrape = parsed(
        &told(vec![scheduler(go::RUNTIME)]),
        ALL_SERIES,
        Format::Prometheus,
    );
    let go = [("pid", "1"), ("runtime", "go")];
    let doing = |activity| {
        let labels = [go[0], go[1], ("activity", activity)];
        scrape.value("leak_agent_scheduler_threads", &labels)
    };
    assert_eq!(
        (doing("syscall"), doing("cgo"), doing("x")),
        (Some(4.0), Some(0.0), None)
    );
    assert_eq!(scrape.value("leak_agent_scheduler_threads_bound", &go), Some(5.0));
    assert!(
        scrape
            .value("leak_agent_scheduler_timestamp_seconds", &go)
            .is_some()
    );
    let mut current = scheduler(go::RUNTIME);
    (current.bound, current.as_of) = (None, None);
    let scrape = parsed(&told(vec![current]), ALL_SERIES, Format::Prometheus);
    assert_eq!(scrape.value("leak_agent_scheduler_threads_bound", &go), None);
    assert_eq!(scrape.value("leak_agent_scheduler_timestamp_seconds", &go), None);
}

/// docs/METRICS.md is what the catalogue says.
#[test]
fn committed_documentation_is_that_of_the_catalogue() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == catalogue_markdown(),
        "docs/METRICS.md is stale: run cargo xtask docs"
    );
}

/// docs/report.schema.json is what the types say.
#[test]
fn committed_schema_is_that_of_the_report() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == crate::report::schema_json(),
        "docs/report.schema.json is stale: run cargo xtask docs"
    );
}
