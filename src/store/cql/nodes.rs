//! Which nodes of the database answer: the records that requests write, and the judgement about them.
//!
//! A node that is frozen, or whose network is cut, keeps its connections and answers nothing. A request to it would wait until its
//! time-out, and so would the next request that happens to go there. A short time-out is no way out: on an overloaded database or a slow
//! machine each request may take seconds and still succeed, and a request that is given up only comes again. So a node is judged by its
//! silence, in comparison with the others:
//!
//! 1. A node that owes answers and has given none for [`SUSPICION`] is suspected. It may still be well, if all the answers that it owes
//!    take long, those about a busy partition for example.
//! 2. So the node is probed: it is asked for something that it knows by itself. The other nodes are probed, too, unless they have just
//!    answered.
//! 3. A node that has answered nothing at all in the [`PATIENCE`] since its probe was sent, while another node has answered just now, is
//!    [silent](Node::is_silent). Requests that wait for it are given up, and it is asked last from now on.
//! 4. A silent node is still probed, and is asked like any other again as soon as it answers a probe [promptly](PROMPT).
//!
//! A node that is alone is never judged silent, nor is a node while none of the others answers: there is no other node to turn to. Besides,
//! fewer than half of the nodes can be silent at once. If half of them are, no quorum is left for what they hold, so asking other nodes
//! can't help. Such trouble has another cause, such as an overloaded database or machine, and the few nodes that are left would get all
//! the load. This file reads no clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use uuid::Uuid;

/// How long a node may owe answers and give none before it is probed. A node that is well answers something every few milliseconds if it
/// is asked. A needless probe costs it next to nothing.
pub(super) const SUSPICION: Duration = Duration::from_millis(250);
/// How long after its probe a node may answer nothing. Together with [`SUSPICION`] that makes a second: longer than most pauses of a Java
/// heap, and well below what a CRM notices.
pub(super) const PATIENCE: Duration = Duration::from_millis(750);
/// How fresh the answer of another node must be for a node to be judged silent in comparison. The others are probed when they have been
/// quiet for [`SUSPICION`], so a node that is well has always answered within twice that time.
const JUST_NOW: Duration = Duration::from_millis(500);
/// How long all other nodes must owe the answer to a probe before a silent node is asked like any other again, because no better node is
/// left. This is longer than [`PATIENCE`], so that a pause of all nodes at once does not end the silence of one.
const ALONE: Duration = Duration::from_secs(3);
/// How fast a silent node must answer a probe to be asked like any other again. A node that has only just woken up must first work off
/// everything that was sent to it.
const PROMPT: Duration = Duration::from_millis(500);
/// The time between two looks from which on this process itself must have been held up. The nodes' silence during that time does not
/// count against them.
const HELD_UP: Duration = Duration::from_millis(600);

/// The records of all known nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    /// The beginning. Times in the records are milliseconds since then.
    started: Instant,
    known: RwLock<HashMap<Uuid, Arc<NodeRecord>>>,
    any_silent: AtomicBool,
    /// Wakes the waiting attempts, so that they check whether their node is silent.
    reminder: Notify,
}

/// The record of one node. Requests write only a few atomics here.
#[derive(Debug)]
pub(super) struct NodeRecord {
    pub(super) id: Uuid,
    /// `host:port`
    pub(super) address: Arc<str>,
    owed: AtomicU32,
    owing_since: AtomicU64,
    answered: AtomicU64,
    silent: AtomicBool,
}

impl Nodes {
    /// Makes a record without any nodes.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, known: RwLock::default(), any_silent: AtomicBool::new(false), reminder: Notify::new() }
    }

    /// Returns the record of a node, or `None` if the node is not known yet.
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<NodeRecord>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Returns whether any node is silent, without looking at each.
    pub(super) fn any_silent(&self) -> bool {
        self.any_silent.load(Ordering::Relaxed)
    }

    /// Returns a future that is ready at the next [`Nodes::remind`] after this call.
    pub(super) fn reminded(&self) -> Notified<'_> {
        self.reminder.notified()
    }

    /// Makes all waiting attempts check whether their node is silent, if any node is. A timer for each attempt would wake the process
    /// again and again for nothing.
    pub(super) fn remind(&self) {
        if self.any_silent() {
            self.reminder.notify_waiters();
        }
    }

    /// Notes that a node was asked for something.
    pub(super) fn asked(&self, node: &NodeRecord, now: Instant) {
        if node.owed.load(Ordering::Relaxed) == 0 {
            node.owing_since.fetch_max(self.millis(now), Ordering::Relaxed);
        }
        // The order of the two writes makes sure that a thread which sees the debt also sees since when.
        node.owed.fetch_add(1, Ordering::Release);
    }

    /// Notes that a node answered something, if only with an error.
    pub(super) fn answered(&self, node: &NodeRecord, now: Instant) {
        node.answered.fetch_max(self.millis(now), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets which nodes there are. The records of nodes that were known before are kept.
    fn set(&self, nodes: &[(Uuid, Arc<str>)]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, node| nodes.iter().any(|(other, address)| other == id && *address == node.address));
        for (id, address) in nodes {
            known.entry(*id).or_insert_with(|| Arc::new(NodeRecord::new(*id, address.clone())));
        }
    }
}

impl NodeRecord {
    fn new(id: Uuid, address: Arc<str>) -> Self {
        let (owed, owing_since, answered) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { id, address, owed, owing_since, answered, silent: AtomicBool::new(false) }
    }

    /// Notes that a request to the node has ended or was given up.
    pub(super) fn settled(&self) {
        self.owed.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether the node is silent. No request waits for a silent node, and it is asked last.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Returns since when the node has owed answers and given none, in milliseconds since [`Nodes::started`]. Returns `None` if it owes
    /// none.
    fn quiet_since(&self) -> Option<u64> {
        let owes = self.owed.load(Ordering::Acquire) > 0;
        owes.then(|| self.owing_since.load(Ordering::Relaxed).max(self.answered.load(Ordering::Relaxed)))
    }
}

/// Moves the silent nodes of a plan to its end, and otherwise keeps the order. For conditional statements on ScyllaDB the driver's order
/// is the same in all processes, so that they contend less. Processes that have found the same nodes silent still share one order.
pub(super) fn silent_last<T>(plan: impl Iterator<Item = T>, is_silent: impl FnMut(&T) -> bool) -> Vec<T> {
    let (mut last, mut first): (Vec<_>, Vec<_>) = plan.partition(is_silent);
    first.append(&mut last);
    first
}

/// The judge of a session's nodes. Its owner must call [`NodeJudge::look`] about ten times a second.
#[derive(Debug)]
pub(super) struct NodeJudge {
    nodes: Arc<Nodes>,
    watched: Vec<WatchedNode>,
    looked: Instant,
}

#[derive(Debug)]
struct WatchedNode {
    node: Arc<NodeRecord>,
    connected: bool,
    /// When the probe that is under way was sent; `None` if there is none.
    probe: Option<Instant>,
}

/// The result of a look at the nodes.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// The nodes to be probed.
    pub(super) probe: Vec<Arc<NodeRecord>>,
    /// The nodes that are silent from now on.
    pub(super) silent: Vec<Arc<NodeRecord>>,
    /// The nodes that were silent and are so no longer.
    pub(super) back: Vec<Arc<NodeRecord>>,
}

impl NodeJudge {
    pub(super) fn new(nodes: Arc<Nodes>, now: Instant) -> Self {
        Self { nodes, watched: Vec::new(), looked: now }
    }

    /// Sets which nodes there are, and whether each is connected.
    pub(super) fn set(&mut self, present: &[(Uuid, Arc<str>, bool)]) {
        let same = self.watched.len() == present.len()
            && present.iter().all(|(id, address, _)| self.watched.iter().any(|w| w.node.id == *id && w.node.address == *address));
        if !same {
            self.nodes.set(&present.iter().map(|(id, address, _)| (*id, address.clone())).collect::<Vec<_>>());
            let mut before = std::mem::take(&mut self.watched);
            for (id, ..) in present {
                let Some(node) = self.nodes.get(*id) else { continue };
                let known = before.iter().position(|w| Arc::ptr_eq(&w.node, &node)).map(|at| before.swap_remove(at));
                self.watched.push(known.unwrap_or(WatchedNode { node, connected: true, probe: None }));
            }
        }
        for watched in &mut self.watched {
            watched.connected = present.iter().any(|(id, _, connected)| *id == watched.node.id && *connected);
        }
    }

    /// Looks at all nodes, and decides which are silent and which are to be probed.
    pub(super) fn look(&mut self, now: Instant) -> Judgement {
        let mut judgement = Judgement::default();
        if now.saturating_duration_since(self.looked) > HELD_UP {
            self.watched.iter_mut().filter_map(|w| w.probe.as_mut()).for_each(|sent| *sent = now);
        }
        self.looked = now;
        if self.watched.len() > 1 {
            self.judge(now, &mut judgement);
            self.choose_whom_to_probe(now, &mut judgement);
        } else {
            self.watched.iter().filter(|w| w.node.is_silent()).for_each(|w| judgement.back.push(w.node.clone()));
        }
        judgement.silent.iter().for_each(|node| node.silent.store(true, Ordering::Relaxed));
        judgement.back.iter().for_each(|node| node.silent.store(false, Ordering::Relaxed));
        self.nodes.any_silent.store(self.watched.iter().any(|w| w.node.is_silent()), Ordering::Relaxed);
        judgement
    }

    /// Notes the end of a node's probe: an answer, or a failure because the connection broke. Returns true if that ends the node's
    /// silence.
    pub(super) fn probed(&mut self, id: Uuid, answered: bool, now: Instant) -> bool {
        let Some(watched) = self.watched.iter_mut().find(|w| w.node.id == id) else { return false };
        let sent = watched.probe.take();
        if !answered {
            return false;
        }
        self.nodes.answered(&watched.node, now);
        let prompt = sent.is_some_and(|sent| now.saturating_duration_since(sent) < PROMPT);
        let back = prompt && watched.node.silent.swap(false, Ordering::Relaxed);
        self.nodes.any_silent.store(self.watched.iter().any(|w| w.node.is_silent()), Ordering::Relaxed);
        back
    }

    fn judge(&self, now: Instant, judgement: &mut Judgement) {
        let mut silent = self.watched.iter().filter(|w| w.node.is_silent()).count();
        for WatchedNode { node, probe, .. } in &self.watched {
            let mut others = self.watched.iter().filter(|w| w.node.id != node.id && !w.node.is_silent());
            let waited = |probe: Option<Instant>, by| probe.is_some_and(|sent| now.saturating_duration_since(sent) >= by);
            if node.is_silent() {
                if others.all(|other| !other.connected || waited(other.probe, ALONE)) {
                    judgement.back.push(node.clone());
                }
                continue;
            }
            let quiet = probe.is_some_and(|sent| node.answered.load(Ordering::Relaxed) <= self.nodes.millis(sent));
            let answered_just_now = |other: &WatchedNode| {
                let answered = other.node.answered.load(Ordering::Relaxed);
                answered > 0 && !self.is_before(answered, now, JUST_NOW)
            };
            let minority = 2 * (silent + 1) < self.watched.len();
            if minority && quiet && waited(*probe, PATIENCE) && others.any(answered_just_now) {
                silent += 1;
                judgement.silent.push(node.clone());
            }
        }
    }

    fn choose_whom_to_probe(&mut self, now: Instant, judgement: &mut Judgement) {
        let suspected = |w: &WatchedNode| {
            w.connected && (w.node.is_silent() || w.node.quiet_since().is_some_and(|at| self.is_before(at, now, SUSPICION)))
        };
        if !self.watched.iter().any(suspected) {
            return;
        }
        let to_probe: Vec<_> = self
            .watched
            .iter()
            .map(|w| {
                let lately = !self.is_before(w.node.answered.load(Ordering::Relaxed), now, SUSPICION);
                w.connected && w.probe.is_none() && (suspected(w) || !lately)
            })
            .collect();
        for (watched, _) in self.watched.iter_mut().zip(to_probe).filter(|(_, probe)| *probe) {
            watched.probe = Some(now);
            judgement.probe.push(watched.node.clone());
        }
    }

    fn is_before(&self, at: u64, now: Instant, by: Duration) -> bool {
        u128::from(self.nodes.millis(now).saturating_sub(at)) >= by.as_millis()
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
