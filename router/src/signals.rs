//! Ctrl-C and SIGTERM become a [`Shutdown`].

use std::io;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shutdown::{Shutdown, shutdown};

/// From now on neither signal ends the process by itself; the second one does, at once.
pub fn on_signal() -> io::Result<Shutdown> {
    let (stopper, wish) = shutdown();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(either(&mut interrupt, &mut terminate));
            stopper.stop();
            runtime.block_on(either(&mut interrupt, &mut terminate));
            std::process::exit(130);
        })?;
    Ok(wish)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
