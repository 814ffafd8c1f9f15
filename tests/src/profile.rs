//! What a Go program says about its own goroutines where `net/http/pprof` is asked: the other side of the comparison.

use crate::http::Connection;
use leak_agent::report::Runtime;
use std::collections::BTreeMap;
use std::io;

/// Goroutines by the function that was started and the `go` statement, as `file:line`; `None` = nobody said `go`.
pub type BySite = BTreeMap<(String, Option<String>), u64>;

/// Asks over a connection that stays open, and so sees its own two goroutines: the one that serves the connection, which waits
/// there between the requests, too, and one that watches the connection while a request is served. The latter is left out: it
/// has ended when the answer is read.
///
/// # Errors
///
/// What the connection says.
pub fn goroutines(connection: &mut Connection) -> io::Result<BySite> {
    let text = connection.get("/debug/pprof/goroutine?debug=2")?;
    let mut sites = BySite::new();
    let mut watching = 0;
    for goroutine in text.split("\n\n").filter(|text| text.starts_with("goroutine ")) {
        let (creator, site) = read(goroutine);
        if creator.starts_with("net/http.(*connReader).startBackgroundRead") {
            watching += 1;
        } else {
            *sites.entry(site).or_default() += 1;
        }
    }
    // Others' requests are none of a standstill.
    assert_eq!(watching, 1, "one request at a time: {text}");
    Ok(sites)
}

/// Creator and site of one goroutine.
fn read(goroutine: &str) -> (String, (String, Option<String>)) {
    let mut lines = goroutine.lines().skip(1);
    let (mut function, mut creator, mut statement) = (String::new(), String::new(), None);
    while let Some(line) = lines.next() {
        // "\tfile:line +0x1f" belongs to each.
        let place = lines.next().unwrap_or_default().trim();
        let place = place.split(" +").next().unwrap_or_default();
        if let Some(rest) = line.strip_prefix("created by ") {
            creator = rest.split(" in goroutine ").next().unwrap_or_default().to_owned();
            statement = Some(place.to_owned());
        } else {
            function = line[..line.rfind('(').unwrap_or(line.len())].to_owned();
        }
    }
    (creator, (function, statement))
}

/// The number of goroutines in the shorter profile.
///
/// # Errors
///
/// What the connection says.
pub fn total(connection: &mut Connection) -> io::Result<u64> {
    let text = connection.get("/debug/pprof/goroutine?debug=1")?;
    let first = text.lines().next().unwrap_or_default();
    let number = first.rsplit(' ').next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no total: {first}")))
}

/// The same of a report.
#[must_use]
pub fn of_report(runtime: &Runtime) -> BySite {
    let mut sites = BySite::new();
    for site in runtime.sites.iter().filter(|site| site.live > 0 && !site.system) {
        *sites
            .entry((site.name.clone(), site.location.clone()))
            .or_default() += site.live;
    }
    sites
}

/// What two of them differ in, for failures.
#[must_use]
pub fn differences(counted: &BySite, profile: &BySite) -> String {
    let sites = counted.keys().chain(profile.keys());
    let mut texts: Vec<String> = sites
        .filter_map(|site| {
            let of = |sites: &BySite| sites.get(site).copied().unwrap_or_default();
            (of(counted) != of(profile)).then(|| {
                format!(
                    "{site:?}: counted {}, in the profile {}",
                    of(counted),
                    of(profile)
                )
            })
        })
        .collect();
    texts.dedup();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function at the bottom and the statement, whatever stands in the arguments.
    #[test]
    fn goroutine_of_a_profile_is_read_by_its_bottom_and_its_creator() {
        let text = "goroutine 7 [select, 3 minutes]:\nmain.wait(...)\n\ta/main.go:7\n\
            net/http.(*conn).serve(0xc000, {0x1, 0x2})\n\tnet/http/server.go:1 +0x607\n\
            created by net/http.(*Server).Serve in goroutine 1\n\tnet/http/server.go:3102 +0x4db";
        let (creator, site) = read(text);
        assert_eq!(creator, "net/http.(*Server).Serve");
        let statement = Some("net/http/server.go:3102".to_owned());
        assert_eq!(site, ("net/http.(*conn).serve".to_owned(), statement));
        let main = read("goroutine 1 [running]:\nmain.main()\n\tmain.go:1 +0x1");
        assert_eq!(main.1, ("main.main".to_owned(), None));
    }
}
