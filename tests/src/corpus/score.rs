//! How well the agent judged: recall, precision, times, sites.

use super::play::{Began, Played};
use super::run::Outcome;
use super::scenario::Pace;
use super::told::Told;

/// What became of one play.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// What is true.
    pub played: &'a Played,
    /// Of a leak: seconds of the scenario from its beginning to the verdict at the right site.
    pub after: Option<f64>,
    /// The verdict was taken back while the process lived.
    pub resolved: bool,
    /// Sites that were called a leak, and are none.
    pub wrong: Vec<&'a Told>,
}

/// All of it.
#[derive(Debug)]
pub struct Score<'a> {
    /// By play.
    pub judged: Vec<Judged<'a>>,
}

impl<'a> Score<'a> {
    /// That of these runs together.
    #[must_use]
    pub fn of(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut judged = Vec::new();
        for outcome in outcomes {
            for played in &outcome.plays {
                judged.push(Judged::of(played, outcome));
            }
        }
        Self { judged }
    }

    /// Plays that leak.
    pub fn leaks(&self) -> impl Iterator<Item = &Judged<'a>> {
        self.judged.iter().filter(|judged| judged.played.leak.is_some())
    }

    /// Plays that do not.
    pub fn busy(&self) -> impl Iterator<Item = &Judged<'a>> {
        self.judged.iter().filter(|judged| judged.played.leak.is_none())
    }

    /// Leaks that were told, leaks.
    #[must_use]
    pub fn recall(&self) -> (usize, usize) {
        let told = self.leaks().filter(|judged| judged.after.is_some()).count();
        (told, self.leaks().count())
    }

    /// Verdicts that are right, verdicts.
    #[must_use]
    pub fn precision(&self) -> (usize, usize) {
        let (right, _) = self.recall();
        let wrong: usize = self.judged.iter().map(|judged| judged.wrong.len()).sum();
        (right, right + wrong)
    }

    /// Verdicts in plays that leak at a site that does not.
    #[must_use]
    pub fn wrong_sites(&self) -> usize {
        self.leaks().map(|judged| judged.wrong.len()).sum()
    }

    /// Busy plays that were called a leak, busy plays.
    #[must_use]
    pub fn loud(&self) -> (usize, usize) {
        let loud = self.busy().filter(|judged| !judged.wrong.is_empty()).count();
        (loud, self.busy().count())
    }

    /// Plays of which a program ended before its time.
    pub fn failed(&self) -> impl Iterator<Item = &Judged<'a>> {
        self.judged.iter().filter(|judged| judged.played.failed.is_some())
    }

    /// The times to the verdict of leaks of these paces, shortest first, those that were not told last, as infinite.
    #[must_use]
    pub fn times(&self, paces: &[Pace]) -> Vec<f64> {
        let of_pace = |judged: &&Judged<'_>| judged.played.leak.is_some_and(|leak| paces.contains(&leak));
        let mut times: Vec<f64> = self
            .leaks()
            .filter(of_pace)
            .map(|judged| judged.after.unwrap_or(f64::INFINITY))
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

/// The middle one, or the higher of the two in the middle.
#[must_use]
pub fn median(times: &[f64]) -> Option<f64> {
    times.get(times.len() / 2).copied()
}

impl<'a> Judged<'a> {
    fn of(played: &'a Played, outcome: &'a Outcome) -> Self {
        let mut judged = Self {
            played,
            after: None,
            resolved: false,
            wrong: Vec::new(),
        };
        for told in outcome.told.iter().filter(|told| played.pids.contains(&told.pid)) {
            let right = played.began.as_ref().filter(|began| {
                began.pid == told.pid
                    && told.leak_at >= began.began
                    && told.runtime == played.language.runtime()
                    && began.is_at(told)
            });
            match right {
                Some(began) => {
                    judged.after = Some((told.leak_at - began.began) * outcome.scale);
                    judged.resolved = told.resolved;
                }
                None => judged.wrong.push(told),
            }
        }
        judged
    }
}

impl Began {
    /// Whether what was told names this site.
    fn is_at(&self, told: &Told) -> bool {
        let names = [Some(&self.site), self.location.as_ref()];
        let places = [Some(&told.site), told.location.as_ref()];
        let mut pairs = names
            .iter()
            .flatten()
            .flat_map(|name| places.iter().flatten().map(move |place| (name, place)));
        pairs.any(|(name, place)| is_at(place, name))
    }
}

/// Whether what was told has this name in it: whole, not as a part of another.
fn is_at(told: &str, name: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    told.match_indices(name).any(|(at, found)| {
        let (before, after) = (&told[..at], &told[at + found.len()..]);
        !before.ends_with(part_of_a_name) && !after.starts_with(part_of_a_name)
    })
}

#[cfg(test)]
mod tests;
