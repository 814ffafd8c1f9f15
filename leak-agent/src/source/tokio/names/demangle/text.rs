//! The brackets of a demangled name: where its parts begin and end. Knows no names.

/// Walks `text` and calls `at` for each byte that lies outside all brackets, with its position; stops when `at`
/// says so. Arrows (`->`) close nothing. Linear.
fn top_level(text: &str, mut at: impl FnMut(usize, u8) -> bool) {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut before = 0u8;
    for (position, &byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
            b'>' if before == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 && !at(position, byte) => return,
            _ => {}
        }
        before = byte;
    }
}

/// The parts of `text` between the `separator`s outside all brackets, trimmed.
pub(super) fn split(text: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    top_level(text, |position, byte| {
        if byte == separator {
            parts.push(text.get(start..position).unwrap_or_default().trim());
            start = position.saturating_add(1);
        }
        true
    });
    parts.push(text.get(start..).unwrap_or_default().trim());
    parts
}

/// The segments of a path: `a::b<C>::{{closure}}` → `a`, `b<C>`, `{{closure}}`. The turbofish of v0 names
/// (`b::<C>`) becomes part of its segment: `b`, `<C>` are returned as `b::<C>`.
pub(super) fn segments(path: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    let mut colon = None;
    top_level(path, |position, byte| {
        if byte == b':' {
            if colon == position.checked_sub(1) && colon.is_some() {
                let next = position.saturating_add(1);
                if path.as_bytes().get(next) != Some(&b'<') || starts_impl(path.get(next..)) {
                    cuts.push(next);
                }
                colon = None;
            } else {
                colon = Some(position);
            }
        }
        true
    });
    cuts.push(path.len().saturating_add(2));
    cuts.windows(2)
        .filter_map(|pair| match *pair {
            [start, end] => path.get(start..end.saturating_sub(2).min(path.len())),
            _ => None,
        })
        .collect()
}

/// Whether a `<` opens an impl block (`<impl Trait for Type>`) and not generic arguments.
fn starts_impl(rest: Option<&str>) -> bool {
    rest.is_some_and(|rest| rest.starts_with("<impl "))
}

/// A segment's own name and its generic arguments: `b<C,D>` and `b::<C, D>` → `b`, `C,D`. `None` for no arguments.
pub(super) fn arguments(segment: &str) -> (&str, Option<&str>) {
    let whole = (segment, None);
    let Some(open) = segment.find('<').filter(|&open| open > 0) else {
        return whole;
    };
    let (Some(name), Some(inner)) = (segment.get(..open), inside(segment, open)) else {
        return whole;
    };
    (name.strip_suffix("::").unwrap_or(name), Some(inner))
}

/// The text between the bracket that opens at `open` and its match, without both. `None` when it never closes.
pub(super) fn inside(text: &str, open: usize) -> Option<&str> {
    let start = open.checked_add(1)?;
    let rest = text.get(start..)?;
    let mut depth = 1usize;
    let mut before = 0u8;
    for (position, &byte) in rest.as_bytes().iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
            b'>' if before == b'-' => {}
            b'>' | b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return rest.get(..position);
                }
            }
            _ => {}
        }
        before = byte;
    }
    None
}

/// Splits `Type as Trait` at the ` as ` outside all brackets.
pub(super) fn cast(text: &str) -> Option<(&str, &str)> {
    split_word(text, " as ")
}

/// Splits at the first `word` outside all brackets.
pub(super) fn split_word<'text>(text: &'text str, word: &str) -> Option<(&'text str, &'text str)> {
    let mut found = None;
    top_level(text, |position, byte| {
        if byte == b' ' && text.get(position..).is_some_and(|rest| rest.starts_with(word)) {
            found = Some(position);
        }
        found.is_none()
    });
    let position = found?;
    Some((
        text.get(..position)?,
        text.get(position.checked_add(word.len())?..)?,
    ))
}
