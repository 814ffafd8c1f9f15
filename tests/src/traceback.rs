//! What a Go program says of its own goroutines: the profile `goroutine` with `debug=2`, taken apart.

use std::collections::BTreeMap;

/// One goroutine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its wait reason, or what it does.
    pub state: String,
    /// Bound to a thread.
    pub locked: bool,
    /// The goroutine that created it; `None` = it is not told.
    pub creator: Option<u64>,
    /// The function that created it.
    pub created_by: Option<String>,
    /// Its frames, the innermost first.
    pub frames: Vec<ToldFrame>,
    /// How many frames are shown before some are left out; `None` = none are.
    pub elided_after: Option<usize>,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldFrame {
    /// The function.
    pub function: String,
    /// "file:line".
    pub place: String,
    /// Inlined into the next.
    pub inlined: bool,
}

/// All goroutines of such a profile, by id.
#[must_use]
pub fn told(profile: &str) -> BTreeMap<u64, Told> {
    let mut all = BTreeMap::new();
    for paragraph in profile.split("\n\n") {
        let mut lines = paragraph.lines().skip_while(|line| line.is_empty());
        let Some(head) = lines.next().and_then(|line| line.strip_prefix("goroutine ")) else {
            continue;
        };
        let (number, rest) = head.split_once(" [").unwrap();
        let mut words = rest.rsplit_once(']').unwrap().0.split(", ");
        let mut told = Told {
            state: words.next().unwrap().trim_end_matches(" (leaked)").to_owned(),
            locked: words.any(|word| word == "locked to thread"),
            ..Told::default()
        };
        while let Some(line) = lines.next() {
            if line.contains("frames elided") {
                told.elided_after = Some(told.frames.len());
                continue;
            }
            let place = lines.next().unwrap_or_default().trim();
            let place = place.split(" +0x").next().unwrap().to_owned();
            if let Some(creator) = line.strip_prefix("created by ") {
                let (function, id) = match creator.split_once(" in goroutine ") {
                    Some((function, id)) => (function, id.parse().ok()),
                    None => (creator, None),
                };
                told.created_by = Some(function.to_owned());
                told.creator = id;
                continue;
            }
            let (function, arguments) = line.rsplit_once('(').unwrap();
            told.frames.push(ToldFrame {
                function: function.to_owned(),
                place,
                inlined: arguments == "...)",
            });
        }
        all.insert(number.parse().unwrap(), told);
    }
    all
}
