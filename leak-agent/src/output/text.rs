//! Strings of other processes, made safe to show: a thread's name, a path or a type's name can hold anything.

use std::borrow::Cow;
use unicode_width::UnicodeWidthChar;

/// Stands for a character that is not shown.
pub const REPLACEMENT: char = '\u{fffd}';

/// The text with every character that could command a terminal or reorder a line replaced: control characters
/// (escape sequences begin with one), line and paragraph separators, bidirectional controls, invisible
/// format characters, private use.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(
            text.chars()
                .map(|c| if is_visible(c) { c } else { REPLACEMENT })
                .collect(),
        )
    }
}

fn is_visible(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
        // Combining marks without number pile up over the neighbouring lines.
        || (!c.is_ascii() && c.width() == Some(0)))
}

/// The text cut to `columns` columns of a terminal, with "…" where something is missing at the end.
#[must_use]
pub fn fit(text: &str, columns: usize) -> String {
    fit_from(text.chars(), columns, |kept| {
        kept.push('…');
    })
}

/// Like [`fit`], but it keeps the end: the telling part of a path or of a type's name.
#[must_use]
pub fn fit_end(text: &str, columns: usize) -> String {
    let reversed = fit_from(text.chars().rev(), columns, |kept| kept.push('…'));
    reversed.chars().rev().collect()
}

fn fit_from(chars: impl Iterator<Item = char>, columns: usize, mark: impl Fn(&mut String)) -> String {
    let mut kept = String::new();
    let mut used = 0;
    // Where to cut if the text turns out to be too long: the last place that leaves a column for the mark.
    let mut cut = 0;
    for c in chars {
        let width = c.width().unwrap_or(1);
        if used + width > columns {
            kept.truncate(cut);
            if columns > 0 {
                mark(&mut kept);
            }
            return kept;
        }
        kept.push(c);
        used += width;
        if used < columns {
            cut = kept.len();
        }
    }
    kept
}

/// How many columns of a terminal the text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(1)).sum()
}

/// The text cut to at most `chars` characters, with "…" where something is missing.
#[must_use]
pub fn capped(text: &str, chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept = chars.saturating_sub(1);
            Cow::Owned(text.chars().take(kept).chain(['…']).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Escape sequences, newlines, bidirectional overrides and zero-width characters do not get through;
    /// letters of any script do.
    #[test]
    fn visible_hostile_text_loses_its_commands() {
        assert_eq!(visible("\u{1b}[2Jx\r\n"), "\u{fffd}[2Jx\u{fffd}\u{fffd}");
        assert_eq!(
            visible("a\u{202e}b\u{200b}c\u{9b}d"),
            "a\u{fffd}b\u{fffd}c\u{fffd}d"
        );
        assert_eq!(visible("e\u{301}"), "e\u{fffd}");
        assert_eq!(visible("größe-日本-עברית"), "größe-日本-עברית");
        assert!(matches!(visible("plain"), Cow::Borrowed("plain")));
    }

    /// Wide characters count two columns, and a cut text ends with the mark.
    #[test]
    fn fit_text_with_wide_characters_keeps_to_the_columns() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit_end("/usr/bin/server", 7), "…server");
        assert_eq!(capped("abcd", 3), "ab…");
        assert_eq!(capped("abc", 3), "abc");
    }

    proptest! {
        /// No text, cut to any width, is wider than that, and none keeps a control character.
        #[test]
        fn any_text_fits_and_is_harmless(text in any::<String>(), width in 0_usize..40) {
            let shown = visible(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(columns(&fit(&shown, width)) <= width);
            prop_assert!(columns(&fit_end(&shown, width)) <= width);
            if columns(&shown) <= width {
                prop_assert_eq!(fit(&shown, width), shown.as_ref());
            }
        }
    }
}
