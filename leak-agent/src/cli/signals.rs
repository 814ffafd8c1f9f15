//! Signals: SIGINT, SIGTERM and SIGHUP end the program in good order; SIGUSR1 has the service compare its counts with
//! the runtimes' own books at once.

use super::error::CliError;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Listens for them on a thread of its own, from now to the end of the program; the value turns true with the first.
/// A second one ends the program the hard way: the kernel takes the probes out.
///
/// # Errors
///
/// No thread or no handler could be had.
pub(super) fn listen() -> Result<watch::Receiver<bool>, CliError> {
    let (sender, receiver) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // Registered before the thread starts, so that none is missed from here on.
    let mut signals = {
        let _entered = runtime.enter();
        [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]
    };
    let listener = move || {
        runtime.block_on(async move {
            let [interrupt, terminate, hangup] = &mut signals;
            for already in [false, true] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if already {
                    ratatui::restore();
                    std::process::exit(i32::from(super::FAILURE));
                }
                sender.send_replace(true);
            }
        });
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listener)?;
    Ok(receiver)
}

/// Listens for the signal that asks for a comparison, from now on. Must be called inside a runtime.
///
/// # Errors
///
/// No handler could be had.
pub(super) fn on_demand() -> io::Result<Signal> {
    signal(SignalKind::user_defined1())
}
