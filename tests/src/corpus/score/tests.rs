use super::*;
use crate::corpus::language::Language;

fn played(pid: u32, leak: Option<Pace>) -> Played {
    Played {
        scenario: format!("scenario {pid}"),
        language: Language::Tokio,
        leak,
        pids: vec![pid],
        began: leak.map(|_| Began {
            pid,
            site: "keep_alive".into(),
            location: Some("app.rs:7".into()),
            began: 100.0,
        }),
        failed: None,
    }
}

fn told(pid: u32, site: &str, leak_at: f64) -> Told {
    Told {
        pid,
        runtime: "tokio".into(),
        site: site.into(),
        location: None,
        leak_at,
        resolved: false,
        sentence: String::new(),
    }
}

/// What is told late enough and at the right site is right, all else is wrong, and what is not told lowers the recall.
#[test]
fn verdicts_are_right_or_wrong() {
    let fast = Some(Pace::Fast);
    let outcome = Outcome {
        scale: 10.0,
        plays: vec![
            played(1, fast),
            played(2, fast),
            played(3, fast),
            played(4, None),
            played(5, None),
        ],
        told: vec![
            told(1, "src/app.rs:7", 104.0),
            told(1, "app::keep_alive_too", 105.0),
            told(2, "app::keep_alive", 99.0),
            told(4, "app::keep_alive", 200.0),
            told(6, "not one of ours", 200.0),
        ],
    };
    let score = Score::of([&outcome]);
    assert_eq!((score.recall(), score.precision()), ((1, 3), (1, 4)));
    assert_eq!((score.loud(), score.wrong_sites()), ((1, 2), 2));
    let times = score.times(&[Pace::Fast]);
    assert_eq!(times, [40.0, f64::INFINITY, f64::INFINITY]);
    assert_eq!((median(&times), median(&[])), (Some(f64::INFINITY), None));
}

/// A name is found as a whole only.
#[test]
fn name_is_found_whole() {
    for told in [
        "keep_alive",
        "a::keep_alive",
        "keep_alive<7>",
        "main.keep_alive from main.f",
    ] {
        assert!(is_at(told, "keep_alive"), "{told}");
    }
    for told in ["keep_alive_2", "xkeep_alive", "keep_aliv", ""] {
        assert!(!is_at(told, "keep_alive"), "{told}");
    }
    assert!(!is_at("crowd::<17>", "crowd::<7>") && is_at("x crowd_017", "crowd_017"));
}
