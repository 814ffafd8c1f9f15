//! From a named creation stack to the calls that people are shown of it: those of the program.

use super::glue::{Part, part};
use crate::source::creation::{CodeFrame, FRAMES_MAX};
use crate::stack::symbolize::NamedFrame;

/// The calls of a stack, the innermost first, from the innermost to the outermost of the program: what only carries the
/// wish for a task (C library, standard library, executors) is left out at both ends. A stack of nothing else is shown
/// whole.
pub(super) fn calls(frames: &[NamedFrame]) -> Vec<CodeFrame> {
    // What Rust's own backtraces leave out: the way to `main`, or to the closure of a thread; and the C library's to `main`.
    let begin = frames.iter().position(|frame| {
        let function = frame.function();
        function.is_some_and(|name| {
            name.contains("__rust_begin_short_backtrace")
                || name.starts_with("__libc_start")
                || name == "_start"
        })
    });
    let frames = begin.and_then(|begin| frames.get(..begin)).unwrap_or(frames);
    let is_own = |frame: &NamedFrame| {
        matches!(
            part(frame),
            Part::Program | Part::Nameless | Part::Jvm | Part::Python
        )
    };
    let first = frames.iter().position(is_own);
    let last = frames.iter().rposition(is_own);
    let own = first.zip(last).and_then(|(first, last)| frames.get(first..=last));
    own.unwrap_or(frames).iter().take(FRAMES_MAX).map(call).collect()
}

fn call(frame: &NamedFrame) -> CodeFrame {
    let name = frame.name.as_ref();
    let location = name.and_then(|name| name.location.as_deref());
    let address = match &frame.id {
        Some(id) => format!("{id}:{:#x}", frame.vaddr),
        None => format!("no-file:{:#x}", frame.vaddr),
    };
    CodeFrame::new(
        frame.function(),
        location,
        name.is_some_and(|name| name.inlined),
        &address,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::module::Language;
    use crate::stack::symbolize::Name;
    use crate::types::ExecutableId;

    fn frame(function: Option<&str>) -> NamedFrame {
        NamedFrame {
            index: 0,
            module: Some("app".to_owned()),
            id: Some(ExecutableId::BuildId(vec![0xab; 20])),
            language: Language::Rust,
            vaddr: 0x77,
            name: function.map(|function| Name {
                function: function.to_owned(),
                location: Some("src/a.rs:3".to_owned()),
                inlined: false,
            }),
        }
    }

    fn shown(functions: &[Option<&str>]) -> Vec<Option<String>> {
        let frames: Vec<_> = functions.iter().map(|function| frame(*function)).collect();
        let function = |call: CodeFrame| call.function.map(String::from);
        calls(&frames).into_iter().map(function).collect()
    }

    /// What only carries the wish for a task is left out at both ends, and kept in between.
    #[test]
    fn glue_at_the_ends_of_a_stack_is_left_out() {
        let own = [
            "app::accept",
            "core::ops::function::FnOnce::call_once",
            "app::main",
        ];
        let mut stack = vec![Some("tokio::runtime::task::new_task"), Some("tokio::task::spawn")];
        stack.extend(own.map(Some));
        stack.extend(
            [
                "std::sys::backtrace::__rust_begin_short_backtrace::<F, T>",
                "main",
                "_start",
            ]
            .map(Some),
        );
        assert_eq!(shown(&stack), own.map(|name| Some(name.to_owned())));
        let worker = [
            Some("tokio::task::spawn"),
            Some("app::serve"),
            Some("tokio::runtime::task::raw::poll"),
        ];
        assert_eq!(shown(&worker), [Some("app::serve".to_owned())]);
    }

    /// A stack of nothing but glue is shown whole, one without names by its addresses; none is longer than the limit.
    #[test]
    fn stack_without_code_of_the_program_is_whole_and_bounded() {
        assert_eq!(shown(&[Some("tokio::task::spawn")]).len(), 1);
        assert_eq!(shown(&[None, None]), [None, None]);
        assert_eq!(
            &*calls(&[frame(None)])[0].address,
            format!("{}:0x77", "ab".repeat(8))
        );
        assert_eq!(shown(&[Some("app::recurse"); 200]).len(), FRAMES_MAX);
        assert_eq!(shown(&[]), []);
    }
}
