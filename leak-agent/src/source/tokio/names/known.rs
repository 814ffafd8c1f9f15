//! What names the sites of a file, summed up for people.

/// What gave a site its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Symbols of the functions that only this type has.
    Symbols,
    /// The line tables.
    Lines,
    /// The places that the panics in its code name.
    Panics,
    /// Nothing: it is called by its address.
    Nothing,
}

/// How many sites each of these named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KnownBy {
    symbols: usize,
    lines: usize,
    panics: usize,
    nothing: usize,
}

impl KnownBy {
    pub(super) fn count(&mut self, known: Option<Known>) {
        match known {
            Some(Known::Symbols) => self.symbols += 1,
            Some(Known::Lines) => self.lines += 1,
            Some(Known::Panics) => self.panics += 1,
            Some(Known::Nothing) => self.nothing += 1,
            None => {}
        }
    }

    /// One line: what named them, and how many where it is not one for all. `debug_file`: there is a separate debug file, and
    /// whether symbols and line tables are taken from it.
    pub(super) fn text(self, debug_file: bool, its_symbols: bool, its_lines: bool) -> String {
        let symbols = match debug_file && its_symbols {
            true => "symbols of its debug file",
            false => "symbols",
        };
        let lines = match debug_file && its_lines {
            true => "debug information of its debug file",
            false => "debug information",
        };
        let counted = [
            (symbols, self.symbols),
            (lines, self.lines),
            ("panic locations", self.panics),
            ("addresses only", self.nothing),
        ];
        let told: Vec<(&str, usize)> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
        match told.as_slice() {
            [] => "no sites".to_owned(),
            [(by, _)] => (*by).to_owned(),
            several => {
                let each: Vec<String> = several
                    .iter()
                    .map(|(by, count)| format!("{by} {count}"))
                    .collect();
                each.join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One source for all is named, several are counted, and a debug file is told from the file itself.
    #[test]
    fn text_names_what_named_the_sites() {
        let mut known = KnownBy::default();
        assert_eq!(known.text(false, false, false), "no sites");
        known.count(Some(Known::Symbols));
        known.count(None);
        assert_eq!(known.text(true, true, true), "symbols of its debug file");
        assert_eq!(known.text(true, false, true), "symbols");
        known.count(Some(Known::Panics));
        known.count(Some(Known::Panics));
        known.count(Some(Known::Nothing));
        known.count(Some(Known::Lines));
        assert_eq!(
            known.text(false, true, true),
            "symbols 1, debug information 1, panic locations 2, addresses only 1"
        );
    }
}
