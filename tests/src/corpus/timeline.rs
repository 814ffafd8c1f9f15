//! From a scenario to a schedule: who is spawned when, and what becomes of it.

use super::chance::Chance;
use super::scenario::{Dist, Drip, Flow, Held, Scenario};
use std::collections::VecDeque;
use std::fmt::Write as _;

/// From this rate on tasks come in handfuls, this often: seconds.
const MANY: f64 = 1_000.0;
const HANDFUL: f64 = 0.002;
/// Curves are followed this often: seconds.
const FOLLOW: f64 = 0.25;

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It ends after so many seconds.
    Lives(f64),
    /// It is needed until the end.
    Held,
    /// It never ends, and nobody needs it.
    Lost,
}

/// Tasks that are spawned together.
#[derive(Clone, Debug, PartialEq)]
pub struct Spawn {
    /// Seconds from the start.
    pub at: f64,
    /// At which site.
    pub site: String,
    /// How many.
    pub count: u32,
    /// What becomes of them.
    pub fate: Fate,
}

/// What happens, in order.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The spawns.
    pub spawns: Vec<Spawn>,
    /// When it ends.
    pub seconds: f64,
}

impl Timeline {
    /// That of one life of a scenario that is to be played `scale` times faster. The same seed gives the same.
    #[must_use]
    pub fn of(scenario: &Scenario, seed: u64, scale: f64) -> Self {
        let mut chance = Chance::new(seed);
        let mut timeline = Self {
            spawns: Vec::new(),
            seconds: scenario.restart.unwrap_or(scenario.seconds),
        };
        for flow in &scenario.flow {
            let mut flow = flow.clone();
            if flow.unscaled {
                flow.rate /= scale;
                flow.life *= scale;
            }
            if flow.site == "crowd" {
                for number in 0..flow.sites {
                    timeline.flow(&flow, &format!("crowd_{number:03}"), &mut chance);
                }
            } else {
                timeline.flow(&flow, &flow.site, &mut chance);
            }
        }
        for held in &scenario.held {
            timeline.held(held, &mut chance);
        }
        for drip in &scenario.drip {
            timeline.drip(drip, &mut chance);
        }
        timeline.spawns.sort_by(|a, b| a.at.total_cmp(&b.at));
        timeline
    }

    /// As the programs read it, `scale` times faster.
    #[must_use]
    pub fn schedule(&self, scale: f64) -> String {
        let mut text = String::new();
        let micros = |seconds: f64| (seconds / scale * 1e6).round();
        for spawn in &self.spawns {
            let fate = match spawn.fate {
                Fate::Lives(seconds) => micros(seconds).to_string(),
                Fate::Held => "held".to_owned(),
                Fate::Lost => "lost".to_owned(),
            };
            let _ = writeln!(text, "{} {} {} {fate}", micros(spawn.at), spawn.site, spawn.count);
        }
        let _ = writeln!(text, "{} end 0 0", micros(self.seconds));
        text
    }

    fn spawn(&mut self, at: f64, site: &str, count: u32, fate: Fate) -> usize {
        self.spawns.push(Spawn {
            at,
            site: site.to_owned(),
            count,
            fate,
        });
        self.spawns.len() - 1
    }

    fn flow(&mut self, flow: &Flow, site: &str, chance: &mut Chance) {
        let end = flow.to.unwrap_or(self.seconds).min(self.seconds);
        let most = flow.highest();
        let mut at = flow.from;
        if most > MANY {
            while at < end {
                let mean = flow.rate_at(at) * HANDFUL;
                let count = (mean + mean.sqrt() * chance.normal()).round().max(0.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a handful"
                )]
                let count = count as u32;
                let fate = flow.fate(at, chance);
                self.spawn(at, site, count, fate);
                at += HANDFUL;
            }
            return;
        }
        loop {
            at += chance.exponential() / most;
            if at >= end {
                return;
            }
            if chance.happens(flow.rate_at(at) / most) {
                let fate = flow.fate(at, chance);
                self.spawn(at, site, 1, fate);
            }
        }
    }

    fn held(&mut self, held: &Held, chance: &mut Chance) {
        // Those that live: when each was spawned, and its place in the list.
        let mut live: VecDeque<(f64, usize)> = VecDeque::new();
        let mut at = 0.0;
        while at < self.seconds {
            let target = held.level(at).round();
            // Some are replaced by new ones.
            let replaced = live
                .iter()
                .filter(|_| chance.happens(held.churn * FOLLOW))
                .count();
            for _ in 0..replaced {
                let place = chance.below(live.len());
                if let Some((since, index)) = live.remove(place) {
                    self.spawns[index].fate = Fate::Lives((at - since).max(0.001));
                }
            }
            while live.len() as f64 > target {
                let Some((since, index)) = live.pop_front() else {
                    break;
                };
                let end = at + FOLLOW * chance.uniform();
                self.spawns[index].fate = Fate::Lives((end - since).max(0.001));
            }
            while (live.len() as f64) < target {
                let since = at + FOLLOW * chance.uniform();
                let index = self.spawn(since, &held.site, 1, Fate::Held);
                live.push_back((since, index));
            }
            at += FOLLOW;
        }
    }

    fn drip(&mut self, drip: &Drip, chance: &mut Chance) {
        let end = drip.to.unwrap_or(self.seconds).min(self.seconds);
        let between = drip.burst / drip.rate;
        let mut at = drip.from;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small whole number"
        )]
        let count = drip.burst as u32;
        while at < end {
            self.spawn(at, &drip.site, count, Fate::Lost);
            at += if drip.random {
                between * chance.exponential()
            } else {
                between
            };
        }
    }
}

impl Flow {
    /// The highest rate that it may have, per second.
    fn highest(&self) -> f64 {
        let spikes = self.spikes.map_or(1.0, |spikes| spikes.times.max(1.0));
        self.rate * (1.0 + self.swing) * spikes * self.grows.max(1.0)
    }

    /// How far it is on its way from what was to what will be.
    fn changed(&self, at: f64) -> f64 {
        let Some([from, to]) = self.during else { return 0.0 };
        ((at - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn rate_at(&self, at: f64) -> f64 {
        let swing = 1.0 + self.swing * (std::f64::consts::TAU * at / self.period).sin();
        let spike = match self.spikes {
            // The first one comes after half a turn.
            Some(spikes) if (at + spikes.every / 2.0) % spikes.every < spikes.lasts => spikes.times,
            _ => 1.0,
        };
        self.rate * swing * spike * (1.0 + (self.grows - 1.0) * self.changed(at))
    }

    fn fate(&self, at: f64, chance: &mut Chance) -> Fate {
        let losing = at >= self.lost_from && self.lost_to.is_none_or(|to| at < to);
        if losing && self.lost > 0.0 && chance.happens(self.lost) {
            return Fate::Lost;
        }
        if self.stale > 0.0 && chance.happens(self.stale) {
            return Fate::Lives(self.sweep - at % self.sweep);
        }
        let life = self.life_at(at, chance);
        match self.outage {
            Some([from, to]) if at >= from && at < to && chance.happens(self.hit) => {
                Fate::Lives((to - at).min(self.timeout.unwrap_or(f64::INFINITY)) + life)
            }
            _ => Fate::Lives(life),
        }
    }

    fn life_at(&self, at: f64, chance: &mut Chance) -> f64 {
        let mean = self.life * (1.0 + (self.slows - 1.0) * self.changed(at));
        let life = match self.dist {
            Dist::Exp => mean * chance.exponential(),
            Dist::Const => mean,
            Dist::Lognormal => mean * (chance.normal() - 0.5).exp(),
            Dist::Pareto => {
                // With this least life time the mean is right, if there is one.
                let least = if self.alpha > 1.0 {
                    mean * (self.alpha - 1.0) / self.alpha
                } else {
                    mean / 10.0
                };
                least * chance.uniform().powf(-1.0 / self.alpha)
            }
        };
        life.min(self.cap.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests;
