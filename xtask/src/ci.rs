//! `cargo xtask ci`: what a CI machine runs, from nothing to one closing line.

use crate::summary::Summary;
use crate::{lint, setup, test};
use anyhow::Result;

/// Runs everything, to the end.
///
/// # Errors
///
/// [`crate::summary::Failed`].
pub(crate) fn main(options: &test::Options) -> Result<()> {
    let mut summary = Summary::default();
    summary.check("install the tools", setup::main);
    lint::run(&mut summary);
    test::run(options, &mut summary);
    summary.close()
}
