//! Waits that a timer's tick would spoil. tokio's timers count milliseconds and come one late: a wait for a third of one would last
//! three to six times as long, one for two milliseconds half as long again. So a thread of the runtime's blocking pool sleeps instead.
//! At most one wait that is still of use is out.

use std::thread;
use std::time::Duration;

use kommit_protocol::time::Instant;
use tokio::task::JoinHandle;

/// Waits below this are worth a thread's sleep: of longer ones, a tick is a small part.
pub(super) const SHORT: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Alarm {
    set: Option<(Instant, JoinHandle<()>)>,
}

impl Alarm {
    /// Waits until `due`, which is `pause` from now, or a little less when an earlier wait was given up. Can be dropped at any time.
    pub(super) async fn ring(&mut self, due: Instant, pause: Duration) {
        let (_, sleeping) = match &mut self.set {
            Some(earlier) if earlier.0 <= due => earlier,
            set => set.insert((due, tokio::task::spawn_blocking(move || sleep(pause)))),
        };
        // A runtime that shuts down gives up the wait; its owner ends with it.
        let _ended = sleeping.await;
        self.set = None;
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread is there to sleep")]
fn sleep(pause: Duration) {
    thread::sleep(pause);
}
