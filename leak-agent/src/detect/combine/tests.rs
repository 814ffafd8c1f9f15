use super::*;
use crate::detect::verdict::Opinion;

/// A rise of one task per second among twenty, beginning after the warm-up, that lasted for so long.
fn growth(lasted: f64) -> GrowthEvidence {
    GrowthEvidence {
        opinion: Opinion::of(Verdict::Leak),
        shortest: true,
        lasted,
        began: 2_000.0,
        level: 1.0,
        surplus: lasted,
        longer: 20.0,
        spawned: 20.0 * lasted,
        finished: 19.0 * lasted,
        ..GrowthEvidence::default()
    }
}

fn never_ends(verdict: Verdict) -> NeverEndsEvidence {
    NeverEndsEvidence {
        opinion: Opinion::of(verdict),
        ..NeverEndsEvidence::default()
    }
}

struct Case {
    growth: GrowthEvidence,
    never_ends: Verdict,
    hold: Vec<&'static str>,
    past: Past,
    trust: f64,
    counts_events: bool,
    watched_since: f64,
    /// Before the rise.
    spawned: f64,
    finished: f64,
    looked: f64,
}

impl Case {
    fn new(lasted: f64) -> Self {
        Self {
            growth: growth(lasted),
            never_ends: Verdict::Undecided,
            hold: Vec::new(),
            past: Past::new(0, 0),
            trust: 1.0,
            counts_events: true,
            watched_since: 1_000.0,
            spawned: 1_000.0,
            finished: 1_000.0,
            looked: 0.0,
        }
    }

    /// One of which nothing ends, and nothing has before.
    fn pure(lasted: f64) -> Self {
        let mut case = Self::new(lasted);
        (case.growth.spawned, case.growth.finished) = (lasted, 0.0);
        (case.spawned, case.finished) = (0.0, 0.0);
        case.never_ends = Verdict::Leak;
        case
    }

    fn decide(&self) -> Decision {
        let rules = RulesEvidence {
            hold: self.hold.clone(),
            ..RulesEvidence::default()
        };
        let context = Context {
            watched_since: self.watched_since,
            past: &self.past,
            spawned: self.spawned + self.growth.spawned,
            finished: self.finished + self.growth.finished,
            trust: self.trust,
            counts_events: self.counts_events,
            looked: self.looked,
            passed: 4.0,
        };
        decide(
            &self.growth,
            &never_ends(self.never_ends),
            &rules,
            &context,
            &Detect::default(),
        )
    }

    fn verdict(&self) -> Verdict {
        self.decide().verdict
    }
}

/// What else growth could be decides for how long it must last, and it is a leak from then on.
#[test]
fn patience_depends_on_the_alternative() {
    let some_end = Case::new;
    let batch = Case::pure;
    let warm_up = |lasted| Case {
        watched_since: 1_900.0,
        ..Case::pure(lasted)
    };
    let pile_up = |lasted| Case {
        spawned: 1_000.0,
        finished: 1_000.0,
        ..Case::pure(lasted)
    };
    let load = |lasted| {
        let mut case = Case::new(lasted);
        case.growth.longer = 3.0;
        case
    };
    let outage = |lasted| {
        let mut case = Case::new(lasted);
        case.growth.finished = 15.0 * lasted;
        case
    };
    type Make<'a> = &'a dyn Fn(f64) -> Case;
    let cases: [(Make<'_>, Alternative, f64); 6] = [
        (&some_end, Alternative::SomeEnd, 40.0),
        (&batch, Alternative::Batch, 180.0),
        (&warm_up, Alternative::WarmUp, 600.0),
        (&pile_up, Alternative::PileUp, 1_200.0),
        (&load, Alternative::Load, 600.0),
        (&outage, Alternative::PartialOutage, 180.0),
    ];
    for (make, alternative, patience) in cases {
        let decision = make(patience).decide();
        assert_eq!((decision.alternative, decision.patience), (alternative, patience));
        assert_eq!(decision.verdict, Verdict::Leak, "{alternative:?}");
        assert!(decision.confidence >= SURE, "{decision:?}");
        let early = make(patience - 5.0).decide();
        assert_eq!(early.verdict, Verdict::Suspect, "{alternative:?}");
        assert!(early.confidence < SURE, "{early:?}");
        assert_eq!(make(20.0).verdict(), Verdict::Healthy, "{alternative:?}");
    }
}

/// Slow growth of a busy site takes longer, for a few tasks tell as little as a short time.
#[test]
fn slow_growth_needs_more_patience() {
    let mut case = Case::new(160.0);
    case.growth.surplus = 64.0;
    assert_eq!((case.decide().patience, case.verdict()), (160.0, Verdict::Leak));
    case.growth.surplus = 16.0;
    assert_eq!(
        (case.decide().patience, case.verdict()),
        (600.0, Verdict::Suspect)
    );
}

/// No detector can be left out: without steady growth, without the proof that none ends, and without counts that are
/// true, there is no leak.
#[test]
fn every_detector_is_needed() {
    assert_eq!(Case::pure(200.0).verdict(), Verdict::Leak);
    let mut unsteady = Case::pure(200.0);
    unsteady.growth.opinion.verdict = Verdict::Suspect;
    assert_eq!(unsteady.verdict(), Verdict::Suspect);
    let mut explained = Case::pure(200.0);
    explained.growth.opinion.verdict = Verdict::Healthy;
    assert_eq!(explained.verdict(), Verdict::Healthy);
    for verdict in [Verdict::Undecided, Verdict::Suspect, Verdict::Healthy] {
        let mut case = Case::pure(200.0);
        case.never_ends = verdict;
        assert_eq!(case.verdict(), Verdict::Suspect, "{verdict:?}");
    }
    let mut doubtful = Case::pure(200.0);
    doubtful.trust = 0.7;
    assert_eq!(doubtful.verdict(), Verdict::Suspect);
    let mut uncounted = Case::pure(700.0);
    uncounted.counts_events = false;
    uncounted.never_ends = Verdict::Undecided;
    assert_eq!(uncounted.verdict(), Verdict::Leak);
}

/// A rule that holds makes the verdict surer, and alone makes none.
#[test]
fn rules_alone_make_no_verdict() {
    let plain = Case::new(60.0).decide();
    let mut case = Case::new(60.0);
    case.hold = vec!["red_growth"];
    assert!(case.decide().confidence > plain.confidence);
    case.growth = GrowthEvidence::default();
    assert_eq!(case.verdict(), Verdict::Healthy);
}

/// What the site has given back before is waited for twice as long, and must be exceeded.
#[test]
fn past_rises_set_the_measure() {
    let mut case = Case::new(60.0);
    let mut past = Past::new(0, 0);
    for second in 0..=100_u64 {
        past.take(second * 1_000_000_000, second, 12);
    }
    past.take(101_000_000_000, 0, 12);
    case.past = past;
    let decision = case.decide();
    assert!(decision.patience > 150.0, "{decision:?}");
    assert_eq!(decision.verdict, Verdict::Healthy);
    case.growth = growth(210.0);
    assert_eq!(case.verdict(), Verdict::Leak);
}

/// Over longer windows a staircase of few steps is no slope, and what looked like a leak only just now is no leak yet.
#[test]
fn staircase_and_chance_are_no_leak() {
    let mut case = Case::pure(700.0);
    case.growth.shortest = false;
    assert_eq!(case.verdict(), Verdict::Suspect);
    case.looked = 200.0;
    for second in 0..100 {
        case.past.take(second, second, 12);
    }
    assert_eq!(case.verdict(), Verdict::Leak);
    case.past = Past::new(0, 0);
    for second in 0..100 {
        case.past.take(second, 100 * (second / 20), 12);
    }
    assert_eq!(case.verdict(), Verdict::Suspect);
}

/// Growth that is slower than one in 33 s waits for an hour where tasks end: a few that live long look the same.
#[test]
fn very_slow_growth_of_tasks_that_end_waits_an_hour() {
    let mut case = Case::new(1_000.0);
    case.growth.surplus = 20.0;
    assert_eq!(
        (case.decide().patience, case.verdict()),
        (3_600.0, Verdict::Suspect)
    );
    let mut pure = Case::pure(1_000.0);
    pure.growth.surplus = 20.0;
    assert_eq!((pure.decide().patience, pure.verdict()), (180.0, Verdict::Leak));
}

/// Many that hang in a process that is new wait as long as a warm-up does.
#[test]
fn partial_outage_of_a_new_process_waits_longer() {
    let mut case = Case::new(200.0);
    case.growth.finished = 15.0 * 200.0;
    assert_eq!((case.decide().patience, case.verdict()), (180.0, Verdict::Leak));
    case.watched_since = 1_900.0;
    assert_eq!(
        (case.decide().patience, case.verdict()),
        (600.0, Verdict::Suspect)
    );
}

/// Where the spawn rate explains a part of the growth it may be load, however long tasks seem to live.
#[test]
fn growth_that_is_explained_in_part_may_be_load() {
    let mut case = Case::new(60.0);
    case.growth.explained = 0.3;
    let decision = case.decide();
    assert_eq!(
        (decision.alternative, decision.verdict),
        (Alternative::Load, Verdict::Suspect)
    );
}

/// Where no spawns and ends are counted, what seems to end says nothing.
#[test]
fn uncounted_ends_make_no_difference() {
    let mut case = Case::new(60.0);
    case.counts_events = false;
    assert_eq!(case.decide().alternative, Alternative::Batch);
    case.watched_since = 1_900.0;
    assert_eq!(case.decide().alternative, Alternative::WarmUp);
}

/// Proof that none ends makes a verdict that stands where counts are a little uncertain.
#[test]
fn proof_that_none_ends_makes_surer() {
    let mut proved = Case::pure(200.0);
    proved.trust = 0.87;
    assert_eq!(proved.verdict(), Verdict::Leak);
    let mut unproved = Case::new(200.0);
    unproved.trust = 0.87;
    assert_eq!(unproved.verdict(), Verdict::Suspect);
}

/// Over longer windows evidence must hold for a share of the rise, a larger one where other tasks end; the time in which
/// it did not hold, or nothing grew, counts against it.
#[test]
fn evidence_must_hold_for_its_share() {
    for (case, hold) in [(Case::pure(1_000.0), 150.0), (Case::new(1_000.0), 200.0)] {
        let mut case = case;
        case.growth.shortest = false;
        for second in 0..100 {
            case.past.take(second, second, 12);
        }
        case.looked = hold - 10.0;
        assert_eq!(
            (case.decide().looked, case.verdict()),
            (hold - 6.0, Verdict::Suspect)
        );
        case.looked = hold;
        assert_eq!(case.verdict(), Verdict::Leak);
        case.growth.opinion.verdict = Verdict::Suspect;
        assert_eq!(case.decide().looked, hold - 4.0);
        case.growth = GrowthEvidence::default();
        assert_eq!(case.decide().looked, hold - 4.0);
    }
}
