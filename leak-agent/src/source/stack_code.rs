//! What the creation stacks of threads look like in a file without symbols: code that a runtime's source knows by what it is.

use std::ops::Range;

/// Code of one runtime in one executable. Addresses in the file's own numbering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCode {
    /// Functions through which the runtime's scheduler asks for threads, each with the name that it has among people.
    pub askers: Vec<(Range<u64>, &'static str)>,
    /// All code that the runtime's own compiler made: the rest of the file is other languages'. `None` = that compiler makes no
    /// difference.
    pub compiled: Option<Range<u64>>,
}

impl StackCode {
    /// Name of the asker whose code this is.
    #[must_use]
    pub fn asker(&self, vaddr: u64) -> Option<&'static str> {
        let mut askers = self.askers.iter();
        askers.find_map(|(code, name)| code.contains(&vaddr).then_some(*name))
    }

    /// Whether it is code of another language than that of the runtime.
    #[must_use]
    pub fn is_foreign(&self, vaddr: u64) -> bool {
        self.compiled.as_ref().is_some_and(|code| !code.contains(&vaddr))
    }
}
