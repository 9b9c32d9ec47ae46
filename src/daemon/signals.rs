//! Signals to messages, on a thread of their own.

use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::daemon::inbox::Event;
use crate::daemon::spawn;
use crate::outside::{Error, Result};

pub(crate) fn listen(sender: SyncSender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])
        .map_err(|err| Error::caused("cannot listen to signals", err))?;
    spawn("signals", move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGUSR1 => Event::ToggleDebug,
                _ => Event::Stop,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    })
}
