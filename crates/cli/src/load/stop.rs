//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second forces it.

use tokio::sync::watch;

use super::progress::say;
use crate::failure::FailureKind;
use crate::signals::Signals;

/// Whether the user has asked for the end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<Asked>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    NotYet,
    Orderly,
}

impl Stop {
    /// Listens for signals from now on, in a task of its own.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = watch::channel(Asked::NotYet);
        tokio::spawn(async move {
            let Ok(mut signals) = Signals::listen() else {
                // Without a handler, the system's own one ends the process, which is safe at any moment. The channel stays open.
                return std::future::pending().await;
            };
            signals.next().await;
            say("stopping: the open transaction is being ended; Ctrl-C again to force it");
            sender.send_replace(Asked::Orderly);
            signals.next().await;
            say(
                "forced: an open transaction is ended by the next start, or by the broker at its time-out; no line of it is visible",
            );
            std::process::exit(i32::from(FailureKind::Interrupted.number()));
        });
        Self(receiver)
    }

    /// Whether the end was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow() == Asked::Orderly
    }

    /// Waits until the end is asked for.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn asked(&mut self) {
        if self.0.wait_for(|asked| *asked == Asked::Orderly).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
