//! What is asked for.

use crate::row::{self, Row};
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Only this version: "1.38".
    tokio: Option<String>,
    /// Only this build: "fat".
    build: Option<String>,
    /// Only the rows of `--slice ci`.
    slice: bool,
    /// Rows that have a result are checked again.
    pub(crate) again: bool,
    /// Only write docs/TOKIO.md from the results that are there.
    pub(crate) page: bool,
    /// For cargo.
    pub(crate) jobs: usize,
    /// Check this one program as this row, and print the outcome.
    pub(crate) check: Option<(String, PathBuf)>,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// An unknown one, or one without its value.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            jobs: 2,
            ..Self::default()
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--tokio" => options.tokio = Some(value()?),
                "--build" => options.build = Some(value()?),
                "--jobs" => {
                    options.jobs = value()?.parse().map_err(|_| "--jobs needs a number".to_owned())?;
                }
                "--slice" if value()? == "ci" => options.slice = true,
                "--page" => options.page = true,
                "--again" => options.again = true,
                "--check" => options.check = Some((value()?, value()?.into())),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        Ok(options)
    }

    /// Every row is asked for.
    pub(crate) fn whole(&self) -> bool {
        self.tokio.is_none() && self.build.is_none() && !self.slice
    }

    /// The rows that are asked for.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let all = if self.slice {
            row::slice_for_ci()
        } else {
            row::all()
        };
        all.into_iter()
            .filter(|row| {
                self.tokio
                    .as_ref()
                    .is_none_or(|tokio| *tokio == row.tokio.to_string())
            })
            .filter(|row| self.build.as_deref().is_none_or(|build| build == row.build.name))
            .collect()
    }
}
