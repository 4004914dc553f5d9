//! The tokio task around the core: feed, turn, carry out, wait. It has no policy, and every loop in it has a bound.

mod alarm;
mod handle;
mod system_clock;

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_network::io::{Connector, Links, LinksConfig};
use kommit_network::{ClusterSnapshot, NetEvent};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::Timestamp;
use kommit_txn_manager::Ticket;
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::Reply;
use crate::core::{Actions, SenderCore};
use crate::phase::Phase;

use alarm::{Alarm, SHORT};
use handle::Shared;
pub use handle::{Parts, PendingReply, SenderGone, SenderHandle};
pub use system_clock::SystemClock;

/// Reads the time for the producer and its driver.
pub trait Clock: Send + Sync + 'static {
    /// Both readings, now.
    fn now(&self) -> Now;

    /// The wall-clock reading alone: every record asks for it.
    fn wall(&self) -> Timestamp {
        self.now().wall
    }
}

/// However the task ends, its runtime's shutdown included, nobody waits for it in vain.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// How many events are taken over before the core is turned: it bounds one turn, not the number of events.
const EVENTS_PER_TURN: usize = 256;

/// The sender task.
pub struct Driver {
    core: SenderCore,
    shared: Arc<Shared>,
    links: Links,
    events: mpsc::Receiver<NetEvent>,
    cluster: watch::Sender<Arc<ClusterSnapshot>>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    actions: Actions,
    alarm: Alarm,
    turned_at: Instant,
    rested_at: Instant,
}

impl Driver {
    pub(crate) fn new(
        core: SenderCore,
        shared: Arc<Shared>,
        connector: Arc<dyn Connector>,
        cluster: watch::Sender<Arc<ClusterSnapshot>>,
    ) -> Self {
        let now = shared.clock.now().instant;
        let (links, events) = Links::new(connector, LinksConfig::default());
        Self {
            core,
            shared,
            links,
            events,
            cluster,
            waiting: BTreeMap::new(),
            actions: Actions::default(),
            alarm: Alarm::default(),
            turned_at: now,
            rested_at: now,
        }
    }

    /// Runs until the core is closed. Whoever still waits then is told that the sender is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.turn();
            if self.core.phase() == Phase::Closed {
                break;
            }
            self.wait(due).await;
        }
    }

    fn turn(&mut self) -> Instant {
        // The doorbell comes before the commands: a record that was announced by now belongs to a command that is in the box by now.
        self.core.collect();
        let now = self.shared.clock.now();
        self.core
            .turned(now.instant - self.rested_at, self.rested_at - self.turned_at);
        self.turned_at = now.instant;
        for (command, reply) in self.shared.take_commands() {
            if let Some((ticket, sender)) = reply {
                self.waiting.insert(ticket, sender);
            }
            self.core.command(command, now.instant);
        }
        let due = self.core.turn(now, &mut self.actions);
        self.carry_out();
        due
    }

    fn carry_out(&mut self) {
        for action in self.actions.network.drain(..) {
            self.links.apply(action);
        }
        for (ticket, reply) in self.actions.replies.drain(..) {
            if let Some(sender) = self.waiting.remove(&ticket) {
                // A caller that went away meanwhile does not want its reply any more.
                let _gone = sender.send(reply);
            }
        }
        if let Some(cluster) = self.actions.cluster.take() {
            self.cluster.send_replace(cluster);
        }
    }

    /// Waits for an event, a ring, or `due`; takes over what has come.
    async fn wait(&mut self, due: Instant) {
        self.rested_at = self.shared.clock.now().instant;
        let pause = due.saturating_since(self.rested_at);
        let is_short = pause < SHORT && self.core.holds_transaction_until(self.rested_at).is_some();
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.take_over(event),
            () = self.shared.wake.notified() => {}
            () = self.alarm.ring(due, pause), if is_short => {}
            () = tokio::time::sleep(pause), if !due.is_never() && !is_short => {}
        }
    }

    fn take_over(&mut self, first: NetEvent) {
        let now = self.shared.clock.now().instant;
        self.core.event(first, now);
        for _ in 1..EVENTS_PER_TURN {
            let Ok(event) = self.events.try_recv() else { break };
            self.core.event(event, now);
        }
    }
}
