//! What makes two stacks the same: their frames without addresses, and without what the compiler made of one source line for several
//! types.

use super::document::Frame;
use crate::source::CodeFrame;

/// The frame of a call.
pub(super) fn frame(call: &CodeFrame) -> Frame {
    let function = match call.function.as_deref() {
        Some(function) => function.to_owned(),
        None => nameless(&call.address),
    };
    Frame {
        function,
        file: call.file.clone().map(String::from),
        line: call.line,
        inlined: call.inlined,
    }
}

/// `<id>:0x12` as `<id>+0x12`.
fn nameless(address: &str) -> String {
    address
        .rsplit_once(':')
        .map_or_else(|| address.to_owned(), |(file, at)| format!("{file}+{at}"))
}

/// The same text for stacks that are the same.
pub(super) fn of(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        folded(&frame.function, &mut text);
        if let Some(file) = &frame.file {
            text.push('@');
            text.push_str(file);
        }
        if let Some(line) = frame.line {
            text.push_str(&format!(":{line}"));
        }
        text.push(if frame.inlined { '>' } else { '\n' });
    }
    text
}

/// A function's name without its type arguments. What names a path, as in `<A as B>::c`, stays.
fn folded(name: &str, into: &mut String) {
    let mut depth = 0_u32;
    let mut before = ' ';
    for c in name.chars() {
        match c {
            // Arguments follow a name, or `::`.
            '<' if depth > 0 || before.is_alphanumeric() || matches!(before, '_' | ':') => {
                if depth == 0 {
                    into.push_str("<…>");
                }
                depth += 1;
            }
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => into.push(c),
            _ => {}
        }
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fold(name: &str) -> String {
        let mut text = String::new();
        folded(name, &mut text);
        text
    }

    /// Type arguments are left out, paths in brackets are kept, arrows are no brackets.
    #[test]
    fn names_are_folded_to_what_the_source_says() {
        for (name, wanted) in [
            ("app::serve::<u8, alloc::vec::Vec<u8>>", "app::serve::<…>"),
            ("std::vector<int>::push_back", "std::vector<…>::push_back"),
            (
                "<app::Pool<T> as app::Spawn>::go",
                "<app::Pool<…> as app::Spawn>::go",
            ),
            (
                "app::run::<fn() -> u8>::{closure#0}",
                "app::run::<…>::{closure#0}",
            ),
            ("main.work[...]", "main.work[...]"),
            ("main", "main"),
            ("", ""),
        ] {
            assert_eq!(fold(name), wanted, "{name}");
        }
    }

    /// Frames at different lines, of different files, or inlined otherwise are different; an address makes no difference.
    #[test]
    fn signature_is_of_the_source_not_of_addresses() {
        let call = |location, inlined, address| {
            frame(&CodeFrame::new(Some("app::f"), Some(location), inlined, address))
        };
        let one = call("src/a.rs:7", false, "ab:0x10");
        assert_eq!(
            of(std::slice::from_ref(&one)),
            of(&[call("src/a.rs:7", false, "ab:0x99")])
        );
        for other in [
            call("src/a.rs:8", false, "ab:0x10"),
            call("src/b.rs:7", false, "ab:0x10"),
            call("src/a.rs:7", true, "ab:0x10"),
        ] {
            assert_ne!(of(std::slice::from_ref(&one)), of(&[other]));
        }
        let nameless = frame(&CodeFrame::new(None, None, false, "ab:0x10"));
        assert_eq!(nameless.function, "ab+0x10");
    }

    proptest! {
        /// Any name is folded in one pass, to no more than three bytes more for each bracket.
        #[test]
        fn any_name_is_folded(name in any::<String>()) {
            let brackets = name.matches('<').count();
            prop_assert!(fold(&name).len() <= name.len() + 5 * brackets);
        }
    }
}
