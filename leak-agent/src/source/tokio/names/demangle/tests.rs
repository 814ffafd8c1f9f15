//! Symbols of real builds (rustc 1.95, tokio 1.54; legacy and v0 names) and the names they must give.

use super::{Pretty, demangle, pretty, task_type};
use proptest::prelude::*;

/// (symbol, name).
#[rustfmt::skip]
const SYMBOLS: [(&str, &str); 39] = [
    ("_ZN4core3ptr107drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..conn..serve..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17hefe958cbf8962f33E.llvm.7008867540124463225",
        "zoo::conn::serve"),
    ("_ZN4core3ptr107drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..makes_block..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h14cb27970d61494dE.llvm.7008867540124463225",
        "zoo::makes_block"),
    ("_ZN4core3ptr132drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..generic$LT$alloc..string..String$GT$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17hfc725843216fc72aE.llvm.7008867540124463225",
        "zoo::generic<String>"),
    ("_ZN4core3ptr178drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..with_cb$LT$zoo..body..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17hc0bfef18e4c2fe37E.llvm.7008867540124463225",
        "zoo::with_cb<body::{closure}>"),
    ("_ZN4core3ptr129drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..body..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h1115be413912281bE.llvm.7008867540124463225",
        "zoo::body::{async}"),
    ("_ZN4core3ptr166drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..conn..accept..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h649c4f457faeb9b7E.llvm.7008867540124463225",
        "zoo::conn::accept::{closure}::{async}"),
    ("_ZN4core3ptr126drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..Server$LT$u32$GT$..accept_loop..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17hba83477bdcb4082dE.llvm.7008867540124463225",
        "zoo::Server<u32>::accept_loop"),
    ("_ZN4core3ptr150drop_in_place$LT$tokio..runtime..task..core..Stage$LT$$LT$zoo..Server$LT$u32$GT$$u20$as$u20$zoo..Handle2$GT$..run..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h977d79c404390568E.llvm.7008867540124463225",
        "<zoo::Server<u32> as Handle2>::run"),
    ("_ZN4core3ptr76drop_in_place$LT$tokio..runtime..task..core..Stage$LT$zoo..Countdown$GT$$GT$17h4c5b5de4bad8e84fE.llvm.7008867540124463225",
        "zoo::Countdown"),
    ("_ZN4core3ptr149drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tracing..instrument..Instrumented$LT$zoo..conn..serve2..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h097fef17c180039fE.llvm.7008867540124463225",
        "zoo::conn::serve2"),
    ("_ZN4core3ptr142drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..time..timeout..Timeout$LT$zoo..db..query..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h6d309315543ccc52E.llvm.7008867540124463225",
        "zoo::db::query"),
    ("_ZN4core3ptr153drop_in_place$LT$tokio..runtime..task..core..Stage$LT$core..pin..Pin$LT$alloc..boxed..Box$LT$zoo..db..query2..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$$GT$17h97612575ec099be9E.llvm.7008867540124463225",
        "zoo::db::query2"),
    ("_ZN4core3ptr215drop_in_place$LT$tokio..runtime..task..core..Stage$LT$core..pin..Pin$LT$alloc..boxed..Box$LT$dyn$u20$core..future..future..Future$u2b$Output$u20$$u3d$$u20$alloc..string..String$u2b$core..marker..Send$GT$$GT$$GT$$GT$17ha588f5de5c048aa3E.llvm.7008867540124463225",
        "dyn Future<Output = String>"),
    ("_ZN4core3ptr166drop_in_place$LT$tokio..runtime..task..core..Stage$LT$core..future..poll_fn..PollFn$LT$zoo..body..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h95ab11665993c065E.llvm.7008867540124463225",
        "zoo::body"),
    ("_ZN4core3ptr217drop_in_place$LT$tokio..runtime..task..core..Stage$LT$futures_util..future..future..Map$LT$zoo..db..query3..$u7b$$u7b$closure$u7d$$u7d$$C$zoo..body..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17hcc87e26c63c3da89E.llvm.7008867540124463225",
        "zoo::db::query3"),
    ("_ZN4core3ptr188drop_in_place$LT$tokio..runtime..task..core..Stage$LT$futures_util..future..join..Join$LT$zoo..plain..$u7b$$u7b$closure$u7d$$u7d$$C$zoo..db..query3..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17hf426d8fa745cddb5E.llvm.7008867540124463225",
        "futures_util::future::join::Join<plain::{closure}, query3::{closure}>"),
    ("_ZN4core3ptr124drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$zoo..heavy$GT$$GT$$GT$17hcd45df282300dca8E.llvm.7008867540124463225",
        "zoo::heavy"),
    ("_ZN4core3ptr216drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$tokio..fs..metadata..metadata$LT$$RF$str$GT$..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h2aeb1e5baba650e4E.llvm.7008867540124463225",
        "tokio::fs::metadata::metadata<&str>"),
    ("_ZN4core3ptr230drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$$LT$tokio..fs..file..File$u20$as$u20$tokio..io..async_write..AsyncWrite$GT$..poll_write..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17hb0da2c52ea7521ffE.llvm.4775333342303722759",
        "<tokio::fs::file::File as AsyncWrite>::poll_write"),
    ("_ZN4core3ptr206drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$tokio..runtime..scheduler..multi_thread..worker..Launch..launch..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h125ae87c1bd7cafdE.llvm.4775333342303722759",
        "tokio::runtime::scheduler::multi_thread::worker::Launch::launch"),
    ("_ZN4core3ptr239drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$tokio..runtime..scheduler..multi_thread..worker..maybe_move_runtime..$u7b$$u7b$closure$u7d$$u7d$..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h4633ebcc79a2b9b6E.llvm.4775333342303722759",
        "tokio::runtime::scheduler::multi_thread::worker::maybe_move_runtime"),
    ("_ZN4core3ptr194drop_in_place$LT$tokio..runtime..task..core..Stage$LT$tokio..runtime..blocking..task..BlockingTask$LT$tokio..runtime..thread_pool..worker..Launch..launch..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$$GT$17h87da5525d0e64254E.llvm.7391010778725856326",
        "tokio::runtime::thread_pool::worker::Launch::launch"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCNvNtCsjdL0RxpcLoU_3zoo4conn5serve0EEB1D_.llvm.9888439410999558531",
        "zoo::conn::serve"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCINvCsjdL0RxpcLoU_3zoo7generichE0EEB1C_.llvm.9888439410999558531",
        "zoo::generic<u8>"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCINvCsjdL0RxpcLoU_3zoo7with_cbNCNCNvB1C_4body00E0EEB1C_.llvm.9888439410999558531",
        "zoo::with_cb<body::{closure}>"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCNCNvCsjdL0RxpcLoU_3zoo4body0s0_0EEB1D_.llvm.9888439410999558531",
        "zoo::body::{async#2}"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCNCNCNvNtCsjdL0RxpcLoU_3zoo4conn6accept000EEB1H_.llvm.9888439410999558531",
        "zoo::conn::accept::{closure#0}::{async#0}"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCNvMs0_CsjdL0RxpcLoU_3zooINtB1F_6ServerNtNtCslNYArtu3iFV_5alloc6string6StringE11accept_loop0EEB1F_.llvm.9888439410999558531",
        "zoo::Server<String>::accept_loop"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNCNvXs_CsjdL0RxpcLoU_3zooINtB1E_6ServermENtB1E_7Handle23run0EEB1E_.llvm.9888439410999558531",
        "<zoo::Server<u32> as Handle2>::run"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageNtCsjdL0RxpcLoU_3zoo9CountdownEEB1z_.llvm.9888439410999558531",
        "zoo::Countdown"),
    ("_RINvNtNtNtCs5FMjgIguPgC_5tokio7runtime4task3raw4pollINtNtCs7jajGP4jr4r_7tracing10instrument12InstrumentedNCNvNtCsjdL0RxpcLoU_3zoo4conn6serve20EINtNtCslNYArtu3iFV_5alloc4sync3ArcNtNtNtB6_9scheduler14current_thread6HandleEEB1L_",
        "zoo::conn::serve2"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageINtNtNtBP_4time7timeout7TimeoutNCNvNtCsjdL0RxpcLoU_3zoo2db5query0EEEB28_.llvm.9888439410999558531",
        "zoo::db::query"),
    ("_RINvNtNtNtCs5FMjgIguPgC_5tokio7runtime4task3raw4pollINtNtCsgEmfK2I1SDS_4core3pin3PinINtNtCslNYArtu3iFV_5alloc5boxed3BoxDNtNtNtBT_6future6future6Futurep6OutputNtNtB1p_6string6StringNtNtBT_6marker4SendEL_EEINtNtB1p_4sync3ArcNtNtNtB6_9scheduler14current_thread6HandleEECsjdL0RxpcLoU_3zoo",
        "dyn Future<Output = String>"),
    ("_RINvNtNtNtCs5FMjgIguPgC_5tokio7runtime4task3raw4pollINtNtCsgEmfK2I1SDS_4core3pin3PinINtNtCslNYArtu3iFV_5alloc5boxed3BoxNCNvNtCsjdL0RxpcLoU_3zoo2db6query20EEINtNtB1p_4sync3ArcNtNtNtB6_9scheduler14current_thread6HandleEEB1Z_",
        "zoo::db::query2"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageINtNtNtCscQFuQuQy3Dd_12futures_util6future4join4JoinNCNvCsjdL0RxpcLoU_3zoo5plain0NCNvNtB2r_2db6query30EEEB2r_.llvm.9888439410999558531",
        "futures_util::future::join::Join<plain::{closure}, query3::{closure}>"),
    ("_RINvNtNtNtCs5FMjgIguPgC_5tokio7runtime4task3raw4pollINtNtNtB6_8blocking4task12BlockingTaskNCNCNvNtCsjdL0RxpcLoU_3zoo4conn6handle00ENtNtBT_8schedule16BlockingScheduleEB1y_",
        "zoo::conn::handle"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageINtNtNtBN_8blocking4task12BlockingTaskNvCsjdL0RxpcLoU_3zoo5heavyEEEB2b_.llvm.9888439410999558531",
        "zoo::heavy"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageINtNtNtBN_8blocking4task12BlockingTaskNCNvMNtNtNtBN_9scheduler12multi_thread6workerNtB2e_6Launch6launch0EEEBP_.llvm.3514529809607076272",
        "tokio::runtime::scheduler::multi_thread::worker::Launch::launch"),
    ("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtNtNtCs5FMjgIguPgC_5tokio7runtime4task4core5StageINtNtNtBN_8blocking4task12BlockingTaskNCNvXsh_NtNtBP_3net4addrTRetENtNtB2h_6sealed17ToSocketAddrsPriv15to_socket_addrs0EEEBP_.llvm.3514529809607076272",
        "<(&str, u16) as ToSocketAddrsPriv>::to_socket_addrs"),
];

/// (type as written by DWARF, by another crate or by nobody, name).
const TYPES: [(&str, &str); 17] = [
    ("app::serve::{async_fn_env#0}", "app::serve"),
    (
        "app::serve::{async_fn_env#0}<alloc::string::String>",
        "app::serve",
    ),
    ("app::main::{async_block_env#0}", "app::main::{async#0}"),
    (
        "app::main::{async_block#0}::{async_block_env#2}",
        "app::main::{async#2}",
    ),
    (
        "tokio::runtime::blocking::task::BlockingTask<app::load::{closure_env#1}>",
        "app::load::{closure#1}",
    ),
    ("app::{impl#3}::run::{async_fn_env#0}", "app::{impl#3}::run"),
    ("app::main::{closure#2}", "app::main::{async#2}"),
    (
        "app::conn::<impl app::Run for alloc::vec::Vec<u8>>::run::{{closure}}",
        "<alloc::vec::Vec<u8> as Run>::run",
    ),
    ("app::outer::{{closure}}::inner::{{closure}}", "app::outer::inner"),
    (
        "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future<Output = core::result::Result<(), alloc::boxed::Box<dyn core::error::Error + core::marker::Send>>> + core::marker::Send>>",
        "dyn Future<Output = Result<(), Box<dyn Error>>>",
    ),
    ("A<B<C<D<E<F<G<H>>>>>>>", "A<B<C<D<E<F<G<…>>>>>>>"),
    (
        "app::Conn<[u8; 16], fn(u8) -> alloc::string::String, &'a mut str>",
        "app::Conn<[u8; 16], fn(u8) -> alloc::string::String, &'a mut str>",
    ),
    (
        "tokio::task::task_local::TaskLocalFuture<u32, app::serve::{{closure}}>",
        "app::serve",
    ),
    ("{{closure}}", "{closure}"),
    ("", ""),
    ("<", "<"),
    ("app::x<", "app::x<"),
];

/// The name that a symbol gives.
fn name(symbol: &str) -> Option<Pretty> {
    let text = demangle(symbol)?;
    Some(pretty(task_type(&text)?.future))
}

/// Check that each symbol of the table gives the name that its programmer knows.
#[test]
fn symbols_of_real_builds_give_the_names_of_their_source() {
    for (symbol, expected) in SYMBOLS {
        assert_eq!(
            name(symbol).map(|pretty| pretty.name).as_deref(),
            Some(expected),
            "{symbol}"
        );
    }
}

/// Check that exactly the tasks of the scheduler itself are told to be workers.
#[test]
fn worker_loops_are_told_from_every_other_task() {
    for (symbol, expected) in SYMBOLS {
        let own = ["scheduler::multi_thread", "thread_pool"]
            .iter()
            .any(|path| expected.starts_with(&format!("tokio::runtime::{path}::worker::")));
        assert_eq!(name(symbol).map(|pretty| pretty.worker), Some(own), "{symbol}");
    }
}

/// Check that names left out of a name are kept, and that erased types are told.
#[test]
fn wrappers_left_out_of_a_name_are_kept_beside_it() {
    let timeout =
        pretty("tracing::instrument::Instrumented<tokio::time::timeout::Timeout<app::f::{{closure}}>>");
    assert_eq!(timeout.name, "app::f");
    assert_eq!(timeout.through, ["Instrumented", "Timeout"]);
    assert!(!timeout.erased);
    assert!(
        pretty("core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future+Output = u32>>").erased
    );
}

/// Check types that no symbol of the table has.
#[test]
fn types_of_other_origin_give_readable_names() {
    for (text, expected) in TYPES {
        assert_eq!(pretty(text).name, expected, "{text}");
    }
}

/// Check that functions that exist once for all tasks, or whose legacy names leave the types out, name none.
#[test]
fn functions_without_a_task_type_name_no_task() {
    for symbol in [
        "_ZN5tokio7runtime4task7harness20Harness$LT$T$C$S$GT$8complete17h0770f252b5f5d14bE",
        "_ZN5tokio7runtime4task3raw4poll17h017ca5529904d831E",
        "_ZN4core3ptr100drop_in_place$LT$tokio..runtime..task..core..Trailer$GT$17h017ca5529904d831E",
        "_ZN3foo3barEv",
        "main",
    ] {
        assert_eq!(name(symbol), None, "{symbol}");
    }
}

/// Check that a v0 name that unfolds without end is refused, and that a short one of the same make is not.
#[test]
fn v0_name_that_unfolds_without_end_is_refused() {
    assert_eq!(
        demangle(&doubling(1)).as_deref(),
        Some("a::b::<(u8, u8), ((u8, u8), (u8, u8))>")
    );
    assert_eq!(demangle(&doubling(40)), None);
}

/// `a::b::<…>` with a pair of bytes, then `depth` pairs of which each holds the one before twice, by reference.
fn doubling(depth: usize) -> String {
    let mut symbol = String::from("INvC1a1b");
    let mut last = symbol.len();
    symbol.push_str("ThhE");
    for _ in 0..depth {
        let reference = base62(last);
        last = symbol.len();
        symbol.push_str(&format!("TB{reference}B{reference}E"));
    }
    format!("_R{symbol}E")
}

/// A number as v0 writes it: 0 is `_`, 1 is `0_`.
fn base62(number: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let Some(mut rest) = number.checked_sub(1) else {
        return "_".to_owned();
    };
    let mut digits = vec![b'_'];
    loop {
        digits.push(DIGITS[rest % 62]);
        rest /= 62;
        if rest == 0 {
            break;
        }
    }
    digits.reverse();
    String::from_utf8(digits).unwrap()
}

proptest! {
    /// Check that no text makes the reading of types panic or grow past its bound.
    #[test]
    fn hostile_types_give_a_bounded_name(text in r"([<>(){}\[\],;:=+&*# '\-]|as |impl |for |dyn |fn|\{\{closure\}\}|core::pin::Pin<|alloc::boxed::Box<|a|é|::){0,60}") {
        prop_assert!(pretty(&text).name.chars().count() <= 201);
        let _ = task_type(&text);
    }

    /// Check that no change of a real symbol makes its reading panic.
    #[test]
    fn damaged_symbols_never_panic(which in 0..SYMBOLS.len(), cut in 0_usize..200, with in "[_A-Za-z0-9$.]{0,4}") {
        let symbol = SYMBOLS[which].0;
        let cut = cut.min(symbol.len());
        let _ = name(&format!("{}{with}{}", &symbol[..cut], &symbol[(cut + with.len()).min(symbol.len())..]));
    }
}
