//! Signals to messages, on a thread of their own.

use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::daemon::inbox::Incoming;
use crate::daemon::spawn::spawn;
use crate::outside::{Error, Result};

pub(crate) fn listen(sender: SyncSender<Incoming>) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])
        .map_err(|err| Error::caused("cannot listen to signals", err))?;
    spawn("signals", move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Incoming::Reload,
                SIGUSR1 => Incoming::ToggleDebug,
                _ => Incoming::Stop,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    })
}
