//! What the kernel's walk has to know of one process image to recognise its creation stacks.

use super::unwind::Unwound;
use leak_agent_common::key::{FRAME_STOP, WALK_SEED, walk_site, walk_step};
use leak_agent_common::settings::WALK_FRAMES;
use std::collections::HashMap;
use std::ops::Range;

/// What is known of a frame. It only ever moves down this list, so that sizes settle, whatever the order of
/// the stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It was the last wanted or the last known frame of every stack so far that reached it.
    Last,
    /// It always had this size, and some stack goes on behind it.
    Through(u32),
    /// It cannot be passed: it had two sizes, or its caller is not where the walk looks.
    Wall,
}

impl Known {
    fn size(self) -> u32 {
        match self {
            Self::Through(size) => size,
            Self::Last | Self::Wall => FRAME_STOP,
        }
    }
}

/// How far a walk gets with what was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the last wanted frame (or beyond): equal numbers mean equal wanted frames.
    Wanted,
    /// To this frame only (index): stacks that differ behind it get the same number.
    Wall(usize),
    /// The walk takes no more frames: stacks that differ behind the last get the same number.
    Limit,
    /// The copy ends in a frame that other stacks pass: the kernel sees more than the copy holds.
    Unknown,
    /// Nothing more can be learned of this image: the kernel goes on giving tickets.
    Full,
}

/// What a stack taught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Entries to insert into the kernel's map, or to replace there: (pc, size).
    pub learned: Vec<(u64, u32)>,
    /// The number that this stack gets from the kernel's walk once they are in; `None` = a ticket.
    pub site: Option<u64>,
    /// What the number tells apart.
    pub reach: Reach,
}

/// The learned frame sizes of one process image.
#[derive(Debug)]
pub struct FrameLearner {
    frames: HashMap<u64, Known>,
    capacity: usize,
    /// How many frames were found to have two sizes.
    pub variable: u64,
    /// How many entries were refused because the image has as many as it may have.
    pub refused: u64,
}

impl FrameLearner {
    /// A learner that keeps at most `capacity` frames.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            frames: HashMap::new(),
            capacity,
            variable: 0,
            refused: 0,
        }
    }

    /// How many frames are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The size in the kernel's map for `pc`; `None` = not there.
    #[must_use]
    pub fn size(&self, pc: u64) -> Option<u32> {
        self.frames.get(&pc).map(|known| known.size())
    }

    /// Learns a stack, of which the frames up to and including `wanted` (index from the innermost) tell its
    /// site apart. Frames behind that are not learned, so that what only differs there is one number: also
    /// every depth of a recursion there.
    pub fn learn(&mut self, stack: &Unwound, wanted: usize) -> Lesson {
        let mut learned = Vec::new();
        self.find_variable(stack, wanted, &mut learned);
        let last = stack.frames.len().saturating_sub(1);
        let mut key = WALK_SEED;
        for (index, frame) in stack.frames.iter().enumerate().take(WALK_FRAMES) {
            key = walk_step(key, frame.pc);
            let known = self.frames.get(&frame.pc).copied();
            let next = match (known, frame.size) {
                (Some(Known::Wall), _) => Known::Wall,
                // Some other stack goes on behind this frame: so does this one, to the next that ends it.
                (Some(through @ Known::Through(_)), Some(_)) => through,
                (Some(through @ Known::Through(_)), None) if index == last => through,
                (_, None) if index == last => Known::Last,
                (_, None) => Known::Wall,
                (_, Some(_)) if index >= wanted => Known::Last,
                (_, Some(size)) => Known::Through(size),
            };
            if known != Some(next) && !self.set(frame.pc, next, &mut learned) {
                return Lesson {
                    learned,
                    site: None,
                    reach: Reach::Full,
                };
            }
            let reach = match next {
                Known::Through(_) => continue,
                Known::Wall if index < wanted => Reach::Wall(index),
                Known::Wall | Known::Last => Reach::Wanted,
            };
            return Lesson {
                learned,
                site: Some(walk_site(key)),
                reach,
            };
        }
        let limit = stack.frames.len() > WALK_FRAMES;
        Lesson {
            learned,
            site: limit.then(|| walk_site(key)),
            reach: if limit { Reach::Limit } else { Reach::Unknown },
        }
    }

    /// Marks the frames that this stack shows with another size than before, or with two. Also behind the
    /// wanted frame: another stack may pass it.
    fn find_variable(&mut self, stack: &Unwound, wanted: usize, learned: &mut Vec<(u64, u32)>) {
        let mut seen = HashMap::new();
        for (index, frame) in stack.frames.iter().enumerate() {
            let Some(size) = frame.size else {
                continue;
            };
            let first = *seen.entry(frame.pc).or_insert((size, index));
            let contradicts = match self.frames.get(&frame.pc) {
                Some(Known::Through(known)) => *known != size,
                Some(Known::Wall) => false,
                Some(Known::Last) | None => first.0 != size && first.1 <= wanted,
            };
            if contradicts {
                self.variable += 1;
                self.set(frame.pc, Known::Wall, learned);
            }
        }
    }

    /// Forgets what was learned of code that is no longer there; returns the `pc`s to delete from the
    /// kernel's map.
    pub fn forget(&mut self, ranges: &[Range<u64>]) -> Vec<u64> {
        let gone = |pc: u64| ranges.iter().any(|range| range.contains(&pc));
        let forgotten: Vec<u64> = self.frames.keys().copied().filter(|pc| gone(*pc)).collect();
        for pc in &forgotten {
            self.frames.remove(pc);
        }
        forgotten
    }

    /// Sets an entry; `false` = there is no room.
    fn set(&mut self, pc: u64, known: Known, learned: &mut Vec<(u64, u32)>) -> bool {
        if self.frames.len() >= self.capacity && !self.frames.contains_key(&pc) {
            self.refused += 1;
            return false;
        }
        let before = self.frames.insert(pc, known).map(Known::size);
        if before != Some(known.size()) {
            learned.retain(|(known, _)| *known != pc);
            learned.push((pc, known.size()));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::raw::RawStack;
    use crate::stack::unwind::{End, Frame};
    use crate::stack::walk::{Walk, walk};
    use proptest::prelude::*;

    const SP: u64 = 0x7fff_0000_1000;

    /// The bytes and the frames of a stack with these (pc, size); the size of the last is unknown.
    fn stack(frames: &[(u64, u32)]) -> (RawStack, Unwound) {
        let mut bytes = Vec::new();
        let mut unwound = Vec::new();
        let mut sp = SP;
        for (index, (pc, size)) in frames.iter().enumerate() {
            let caller = frames.get(index + 1);
            unwound.push(Frame {
                pc: *pc,
                sp,
                size: caller.map(|_| *size),
                interrupted: false,
            });
            if let Some((caller, _)) = caller {
                sp += u64::from(*size);
                bytes.resize(usize::try_from(sp - SP - 8).unwrap(), 0xee);
                bytes.extend_from_slice(&caller.to_le_bytes());
            }
        }
        bytes.resize(bytes.len() + 64, 0);
        let raw = RawStack {
            ip: frames[0].0,
            sp: SP,
            bp: 0,
            start: SP,
            bytes,
            cut: false,
        };
        let end = End::Complete;
        (raw, Unwound { frames: unwound, end })
    }

    /// What the kernel says of a stack once everything learned is in its map.
    fn kernel(learner: &FrameLearner, raw: &RawStack) -> Walk {
        walk(raw, |pc| learner.size(pc))
    }

    /// A new stack is a miss, teaches its frames up to the wanted one, and is known from then on.
    #[test]
    fn learner_of_a_new_stack_teaches_up_to_the_wanted_frame() {
        let mut learner = FrameLearner::new(100);
        let (raw, unwound) = stack(&[(10, 16), (20, 32), (30, 48), (40, 8)]);
        assert_eq!(kernel(&learner, &raw), Walk::Miss);
        let lesson = learner.learn(&unwound, 2);
        assert_eq!(lesson.learned, [(10, 16), (20, 32), (30, FRAME_STOP)]);
        assert_eq!(lesson.reach, Reach::Wanted);
        assert_eq!(kernel(&learner, &raw), Walk::Site(lesson.site.unwrap()));
        let again = learner.learn(&unwound, 2);
        assert_eq!((again.learned, again.site), (vec![], lesson.site));
    }

    /// Stacks that differ only behind the wanted frame, such as by the depth of a recursion, are one number.
    #[test]
    fn learner_of_a_recursion_behind_the_wanted_frame_gives_one_number() {
        let mut learner = FrameLearner::new(100);
        let shallow = learner.learn(&stack(&[(10, 16), (20, 32), (30, 48), (40, 8)]).1, 1);
        let deep = stack(&[(10, 16), (20, 32), (30, 48), (30, 48), (30, 48), (40, 8)]);
        assert_eq!(kernel(&learner, &deep.0), Walk::Site(shallow.site.unwrap()));
        assert_eq!(learner.learn(&deep.1, 1).site, shallow.site);
    }

    /// A frame of two sizes ends the walk: what lies behind it is not told apart, and that is said.
    #[test]
    fn learner_of_a_frame_with_two_sizes_stops_there() {
        let mut learner = FrameLearner::new(100);
        let (first, one) = stack(&[(10, 16), (20, 32), (30, 48), (40, 8)]);
        let (second, two) = stack(&[(10, 16), (20, 64), (30, 48), (40, 8)]);
        let before = learner.learn(&one, 2);
        let lesson = learner.learn(&two, 2);
        assert_eq!(lesson.learned, [(20, FRAME_STOP)]);
        assert_eq!((lesson.reach, learner.variable), (Reach::Wall(1), 1));
        assert_ne!(lesson.site, before.site);
        assert_eq!(kernel(&learner, &first), kernel(&learner, &second));
        assert_eq!(kernel(&learner, &first), Walk::Site(lesson.site.unwrap()));
    }

    /// A frame that was the last wanted one of a stack and is passed by another lets both be told apart.
    #[test]
    fn learner_of_a_frame_wanted_by_one_and_passed_by_another_passes_it() {
        let mut learner = FrameLearner::new(100);
        let (near, one) = stack(&[(10, 16), (20, 32), (30, 48), (40, 8)]);
        let (far, two) = stack(&[(10, 16), (20, 32), (50, 48), (60, 8)]);
        learner.learn(&one, 1);
        let far_site = learner.learn(&two, 2).site.unwrap();
        let near_site = learner.learn(&one, 1).site.unwrap();
        assert_ne!(near_site, far_site);
        assert_eq!(kernel(&learner, &near), Walk::Site(near_site));
        assert_eq!(kernel(&learner, &far), Walk::Site(far_site));
    }

    /// Where unwinding ended early (Go after its one frame) the walk ends too.
    #[test]
    fn learner_of_a_stack_without_unwind_data_stops_at_its_frame() {
        let mut learner = FrameLearner::new(100);
        let (raw, mut unwound) = stack(&[(10, 16)]);
        unwound.end = End::NoUnwindInfo;
        let lesson = learner.learn(&unwound, 0);
        assert_eq!(lesson.learned, [(10, FRAME_STOP)]);
        assert_eq!(kernel(&learner, &raw), Walk::Site(lesson.site.unwrap()));
    }

    /// More frames than the walk takes give a number, and it is said that it may hold several sites.
    #[test]
    fn learner_of_a_stack_deeper_than_the_walk_reaches_the_limit() {
        let mut learner = FrameLearner::new(100);
        let frames: Vec<_> = (1..40).map(|pc| (pc * 16, 32)).collect();
        let (raw, unwound) = stack(&frames);
        let lesson = learner.learn(&unwound, 35);
        assert_eq!((lesson.reach, lesson.learned.len()), (Reach::Limit, WALK_FRAMES));
        assert_eq!(kernel(&learner, &raw), Walk::Site(lesson.site.unwrap()));
    }

    /// A full learner refuses, counts it, and the kernel goes on giving tickets.
    #[test]
    fn learner_without_room_leaves_tickets() {
        let mut learner = FrameLearner::new(2);
        let (raw, unwound) = stack(&[(10, 16), (20, 32), (30, 48), (40, 8)]);
        let lesson = learner.learn(&unwound, 2);
        assert_eq!((lesson.site, lesson.reach), (None, Reach::Full));
        assert_eq!((learner.len(), learner.refused), (2, 1));
        assert_eq!(kernel(&learner, &raw), Walk::Miss);
    }

    /// What was learned of unmapped code is forgotten, nothing else.
    #[test]
    fn learner_forgets_unmapped_code_only() {
        let mut learner = FrameLearner::new(100);
        learner.learn(&stack(&[(10, 16), (20, 32), (30, 48)]).1, 2);
        assert_eq!(learner.forget(&[15..25, 100..200]), [20]);
        assert_eq!((learner.size(10), learner.size(20)), (Some(16), None));
    }

    /// A program: functions with fixed frames, some of two sizes; stacks are random paths through them.
    fn paths() -> impl Strategy<Value = Vec<(Vec<(u64, u32)>, usize)>> {
        let frame = (1_u64..30, 0_u32..2).prop_map(|(function, grown)| {
            let variable = function % 7 == 0;
            let size = u32::try_from(function).unwrap() * 8 + 8;
            (function * 0x10, if variable { size + grown * 64 } else { size })
        });
        let path = (proptest::collection::vec(frame, 1..40), 0_usize..40);
        proptest::collection::vec(path, 1..30)
    }

    proptest! {
        /// The predicted number is the one that a walk over the raw bytes gives with the learned sizes; and
        /// once nothing is learned any more, every stack keeps its number.
        #[test]
        fn learner_prediction_equals_the_walk(paths in paths()) {
            let mut learner = FrameLearner::new(10_000);
            let stacks: Vec<_> = paths.iter().map(|(path, wanted)| (stack(path), *wanted)).collect();
            let mut kernel_map = HashMap::new();
            let mut rounds = 0;
            loop {
                let mut news = 0;
                for ((raw, unwound), wanted) in &stacks {
                    let lesson = learner.learn(unwound, *wanted);
                    news += lesson.learned.len();
                    kernel_map.extend(lesson.learned);
                    let walked = walk(raw, |pc| kernel_map.get(&pc).copied());
                    match lesson.site {
                        Some(site) => prop_assert_eq!(walked, Walk::Site(site)),
                        None => prop_assert_eq!(lesson.reach, Reach::Unknown),
                    }
                }
                rounds += 1;
                if news == 0 {
                    break;
                }
                prop_assert!(rounds < 100, "sizes do not settle");
            }
            for (pc, size) in kernel_map {
                prop_assert_eq!(learner.size(pc), Some(size));
            }
        }

        /// Two stacks get the same number only if their wanted frames are equal, or one of them met a wall or
        /// the limit.
        #[test]
        fn learner_number_tells_wanted_frames_apart(paths in paths()) {
            let mut learner = FrameLearner::new(10_000);
            let stacks: Vec<_> = paths.iter().map(|(path, wanted)| (stack(path).1, *wanted)).collect();
            for _ in 0..50 {
                for (unwound, wanted) in &stacks {
                    learner.learn(unwound, *wanted);
                }
            }
            let mut sites: HashMap<u64, Vec<u64>> = HashMap::new();
            for (unwound, wanted) in &stacks {
                let lesson = learner.learn(unwound, *wanted);
                let (Some(site), Reach::Wanted) = (lesson.site, lesson.reach) else {
                    continue;
                };
                let pcs: Vec<u64> = unwound.frames.iter().take(wanted + 1).map(|frame| frame.pc).collect();
                let known = sites.entry(site).or_insert_with(|| pcs.clone());
                let common = known.len().min(pcs.len());
                prop_assert_eq!(&known[..common], &pcs[..common]);
            }
        }
    }
}
