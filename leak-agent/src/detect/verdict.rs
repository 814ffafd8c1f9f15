//! The words of a judgement.

/// What a detector, or all of them together, think of a site, a runtime or a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing grows, or what grows is load.
    Healthy,
    /// It cannot be told yet, or not at all: there is a reason.
    #[default]
    Undecided,
    /// It grows; whether it is a leak needs more time.
    Suspect,
    /// Tasks are created that never end.
    Leak,
}

/// A verdict, and why it cannot be decided if so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// The verdict.
    pub verdict: Verdict,
    /// Half a sentence: why undecided, or what explains growth; `None` = nothing to say.
    pub reason: Option<String>,
}

impl Opinion {
    /// Without a reason.
    pub(super) const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            reason: None,
        }
    }

    /// With one.
    pub(super) fn because(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: Some(reason.into()),
        }
    }

    /// Not decided, because …
    pub(super) fn undecided(reason: impl Into<String>) -> Self {
        Self::because(Verdict::Undecided, reason)
    }
}
