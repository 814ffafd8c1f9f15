//! tokio's own books, read from running programs, against what the programs count themselves.

use leak_agent::source::HookPlan;
use leak_agent::source::books::{GroupKind, Listing, SiteCount};
use leak_agent_tests::books::{Reader, plan};
use leak_agent_tests::programs::{Profile, TokioProbe};
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
        let truth = target.command(command);
        until(command, || {
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
