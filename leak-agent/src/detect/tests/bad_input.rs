//! Clocks that jump, counters that run backwards, sites and processes that vanish.
