//! The lives of findings.
