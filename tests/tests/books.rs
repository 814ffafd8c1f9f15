//! tokio's own books, read from running programs, against what the programs count themselves.

use leak_agent::source::HookPlan;
use leak_agent::source::books::{GroupKind, Listing, SiteCount};
use leak_agent_tests::books::{Reader, plan};
use leak_agent_tests::programs::{self, Profile, TokioProbe};
use leak_agent_tests::truth::Truth;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Target, privilege};

/// Live tasks of these kinds, as the program counts them.
fn truly_live(truth: &Truth, kinds: &[&str]) -> u64 {
    let sites = truth
        .sites
        .iter()
        .filter(|site| kinds.contains(&site.kind.as_str()));
    sites.map(|site| site.live).sum()
}

/// Tasks that a listing has in groups of this kind.
fn listed(listing: &Listing, kind: GroupKind) -> u64 {
    let groups = listing.groups.iter().filter(|group| group.group.kind == kind);
    groups.map(|group| group.walked).sum()
}

/// Whether the plan has sites of this function, and no site of which it is only said that it may be this function's.
fn is_named(plan: &HookPlan, function: &str) -> bool {
    let mut sites = plan.sites.iter().map(|site| &site.info);
    let mine = |text: &str| text.contains(function);
    sites.clone().any(|site| mine(&site.name))
        && !sites.any(|site| site.ambiguous && (mine(&site.name) || site.note.as_deref().is_some_and(mine)))
}

/// Live tasks of a function, as the listing has them.
fn listed_of(plan: &HookPlan, listing: &Listing, function: &str) -> u64 {
    let named = |count: &&SiteCount| {
        let site = plan.sites.iter().find(|site| site.number == count.site.0);
        site.is_some_and(|site| site.info.name.contains(function))
    };
    let counts = listing.groups.iter().flat_map(|group| &group.sites);
    counts.filter(named).map(|count| count.live).sum()
}

/// At each standstill, all that the books say is what the program says.
fn books_are_the_programs_own_numbers(probe: TokioProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let plan = plan(&path);
    let mut target = Target::start(&path);
    let mut reader = Reader::open(target.pid(), &path, &plan);
    let mut named = 0;
    for command in [
        "multi 10",
        "park 7",
        "all 20",
        "release",
        "storm 20000",
        "local 3",
        "handles-drop",
        "runtimes-drop",
        "local-drop",
        "blocking-park 3",
        "park 5",
        "release",
    ] {
        let mut truth = target.command(command);
        until(command, || {
            // tokio takes a task out of its books a moment after the program has seen it end.
            if truth
                .alive
                .is_some_and(|alive| alive != truly_live(&truth, &["async"]))
            {
                truth = target.command("truth");
            }
            let found = reader.find();
            let wrong = |what: &str| Err(format!("{command}: {what}: {found:?} {truth:?}"));
            if !found.refused.is_empty() || !found.complete {
                return wrong("refused");
            }
            let counters = reader.counters();
            let live: u64 = counters.iter().map(|counters| counters.live).sum();
            let owned = truly_live(&truth, &["async"]);
            if live != owned || truth.alive.is_some_and(|alive| alive != live) {
                return wrong(&format!("counters {counters:?}"));
            }
            if counters
                .iter()
                .any(|counters| !counters.confirmed && counters.live > 0)
            {
                return wrong(&format!("unconfirmed {counters:?}"));
            }
            let listing = reader.list(usize::MAX);
            if !listing.refused.is_empty() || listing.groups.iter().any(|group| !group.complete) {
                return wrong(&format!("listing {listing:?}"));
            }
            let local = truly_live(&truth, &["local"]);
            if listed(&listing, GroupKind::Owned) != owned || listed(&listing, GroupKind::Local) != local {
                return wrong(&format!("listing {listing:?}"));
            }
            if listing.tasks.len() as u64 != owned + local {
                return wrong("the tasks one by one are not as many");
            }
            // An upper bound: tokio's own workers are among them.
            if listing.blocking.count < truly_live(&truth, &["blocking"]) {
                return wrong(&format!("blocking {:?}", listing.blocking));
            }
            let sites = truth.sites.iter().filter(|site| site.kind != "blocking");
            for site in sites.filter(|site| !probe.stripped && is_named(&plan, &site.name)) {
                named += 1;
                if listed_of(&plan, &listing, &site.name) != site.live {
                    return wrong(&format!("{}: {listing:?}", site.name));
                }
            }
            Ok(())
        });
    }
    assert!(
        probe.stripped || named > 20,
        "only {named} functions were compared"
    );
}

macro_rules! builds {
    ($($name:ident = $tokio:literal $profile:ident $stripped:literal;)*) => {$(
        /// See [`books_are_the_programs_own_numbers`].
        #[test]
        fn $name() {
            books_are_the_programs_own_numbers(TokioProbe {
                tokio: $tokio,
                profile: Profile::$profile,
                stripped: $stripped,
            });
        }
    )*};
}

builds! {
    books_of_tokio_154_release_are_its_numbers = "154" Release false;
    books_of_tokio_154_release_stripped_are_its_numbers = "154" Release true;
    books_of_tokio_154_fat_are_its_numbers = "154" Fat false;
    books_of_tokio_154_fat_stripped_are_its_numbers = "154" Fat true;
    books_of_tokio_147_release_are_its_numbers = "147" Release false;
    books_of_tokio_147_release_stripped_are_its_numbers = "147" Release true;
    books_of_tokio_147_fat_are_its_numbers = "147" Fat false;
    books_of_tokio_147_fat_stripped_are_its_numbers = "147" Fat true;
    books_of_tokio_138_release_are_its_numbers = "138" Release false;
    books_of_tokio_138_release_stripped_are_its_numbers = "138" Release true;
    books_of_tokio_138_fat_are_its_numbers = "138" Fat false;
    books_of_tokio_138_fat_stripped_are_its_numbers = "138" Fat true;
}

/// While tasks come and go, each walk sees all of those that stay, and as many in all as there were between its beginning
/// and its end.
fn books_in_motion_show_all_that_stays(probe: TokioProbe) {
    const STAY: u64 = 500;
    const TURNS: usize = 200;
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let plan = plan(&path);
    let mut target = Target::start(&path);
    target.command(&format!("park {STAY}"));
    let mut reader = Reader::open(target.pid(), &path, &plan);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let site = reader
        .list(0)
        .groups
        .iter()
        .find_map(|group| group.sites.first().copied());
    let stay = site.expect("the parked tasks");
    assert_eq!(stay.live, STAY);
    target.command("hold 20000");
    let mut added = 0;
    let mut in_motion = 0;
    let mut refused = Vec::new();
    for turn in 0..TURNS {
        if turn == 100 {
            target.tell("storm 400000");
        }
        for counters in reader.counters() {
            assert!(counters.live >= STAY && counters.confirmed, "{counters:?}");
            if let Some(now) = counters.added {
                assert!(
                    now >= added && now >= counters.live,
                    "{counters:?}, before {added}"
                );
                added = now;
            }
        }
        let listing = reader.list(0);
        if !listing.refused.is_empty() {
            // The reader was put off in the middle, several times in a row: what it then says is no number.
            refused.push(listing.refused);
            continue;
        }
        let group = listing.groups.first().unwrap_or_else(|| panic!("{listing:?}"));
        let sum = group.sites.iter().find(|sum| sum.site == stay.site);
        assert_eq!(sum.map(|sum| sum.live), Some(STAY), "turn {turn}: {listing:?}");
        in_motion += u32::from(!group.complete);
    }
    assert!(added == 0 || added > STAY, "nothing was in motion");
    assert!(refused.len() <= TURNS / 10, "{refused:?}");
    let _stormed = target.answer();
    let truth = target.command("stop");
    until("the walk of what is left", || {
        let listing = reader.list(0);
        let group = &listing.groups[0];
        let right = group.complete && group.walked == truth.live && group.before == Some(truth.live);
        right
            .then_some(())
            .ok_or_else(|| format!("{in_motion} walks in motion: {listing:?}"))
    });
}

macro_rules! in_motion {
    ($($name:ident = $tokio:literal $profile:ident $stripped:literal;)*) => {$(
        /// See [`books_in_motion_show_all_that_stays`].
        #[test]
        fn $name() {
            books_in_motion_show_all_that_stays(TokioProbe {
                tokio: $tokio,
                profile: Profile::$profile,
                stripped: $stripped,
            });
        }
    )*};
}

in_motion! {
    books_of_tokio_154_in_motion_show_all_that_stays = "154" Release false;
    books_of_tokio_154_fat_stripped_in_motion_show_all_that_stays = "154" Fat true;
    books_of_tokio_147_in_motion_show_all_that_stays = "147" Release true;
    books_of_tokio_138_in_motion_show_all_that_stays = "138" Release true;
}

/// Check that of two copies of tokio in one process each one's books are read by its own file: ids of both begin at one.
#[test]
fn books_of_two_tokios_in_a_process_are_told_apart() {
    if !privilege::privileged() {
        return;
    }
    let (program, library) = (programs::tokio_probe(), programs::tokio_library());
    let plans = [plan(&program), plan(&library)];
    let mut target = Target::start(&program);
    target.command(&format!("load {}", library.display()));
    let own = target.command("park 11");
    let loaded = target.command("library park 5");
    let local = target.command("library local 3");
    assert_eq!((own.live, loaded.live, local.live), (11, 5, 7));
    let mut readers = [
        Reader::open(target.pid(), &program, &plans[0]),
        Reader::open(target.pid(), &library, &plans[1]),
    ];
    until("both books", || {
        for (reader, live) in readers.iter_mut().zip([11, 7]) {
            let found = reader.find();
            let counters = reader.counters();
            let listing = reader.list(0);
            let walked: u64 = listing.groups.iter().map(|group| group.walked).sum();
            let counted: u64 = counters.iter().map(|counters| counters.live).sum();
            let owned = listed(&listing, GroupKind::Owned);
            if found.refused != [] as [String; 0] || found.foreign == 0 {
                return Err(format!("{found:?}"));
            }
            if walked != live || counted != owned || listing.groups.iter().any(|group| !group.complete) {
                return Err(format!("{live}: {found:?} {counters:?} {listing:?}"));
            }
        }
        Ok(())
    });
    let more = target.command("park 2");
    assert_eq!(more.live, 13);
    until("the program's own", || {
        let live: u64 = readers[0].counters().iter().map(|counters| counters.live).sum();
        let other: u64 = readers[1].counters().iter().map(|counters| counters.live).sum();
        (live == 13 && other == 5)
            .then_some(())
            .ok_or(format!("{live} {other}"))
    });
}
