//! The processors of a round: slots, in each of which a processor is started again when it was killed, and guests, which join and
//! leave.

use crate::crm::unique;
use crate::world::{Processor, World};
use crm_processor::fail_points::FailPoint;
use crm_processor::store::simulated::Random;
use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

pub const SLOTS: usize = 3;

/// The places at which processors die, and the largest number of passes through each before they do: some seconds' worth.
const PLACES: [(FailPoint, u64); 5] = [
    (FailPoint::Claimed, 15),
    (FailPoint::Applied, 60),
    (FailPoint::OutputsSent, 40),
    (FailPoint::OffsetsSent, 40),
    (FailPoint::Committed, 40),
];
/// The name under which processors are counted that were killed from outside.
const AT_RANDOM: &str = "at random";
/// The number of processors that must have died at each of these places.
const EACH: u32 = 2;
/// How `sh` reports a child that SIGKILL ended.
const KILLED: i32 = 128 + 9;

pub struct Fleet<'a> {
    world: &'a World,
    random: Random,
    slots: Vec<Slot>,
    guest: Option<Processor>,
    kills: BTreeMap<&'static str, u32>,
    /// Whether new processors are doomed to die.
    dooming: bool,
    /// How many processors were doomed so far.
    dooms: usize,
}

struct Slot {
    instance: String,
    processor: Processor,
    /// The reason for which the processor may die.
    doom: Option<&'static str>,
    /// When the processor is killed.
    kill_at: Option<Instant>,
}

impl<'a> Fleet<'a> {
    /// Starts a processor in each slot.
    pub fn start(world: &'a World, random: Random) -> Self {
        let slots = (0..SLOTS).map(|n| {
            let instance = format!("slot-{n}");
            let processor = world.start(&instance);
            Slot { instance, processor, doom: None, kill_at: None }
        });
        let slots = slots.collect();
        Self { world, random, slots, guest: None, kills: BTreeMap::new(), dooming: false, dooms: 0 }
    }

    /// Returns how many processors were killed, and where.
    pub fn kills(&self) -> &BTreeMap<&'static str, u32> {
        &self.kills
    }

    /// Returns the processors in the slots, with their names.
    pub fn processors(&self) -> impl Iterator<Item = (&str, &Processor)> {
        self.slots.iter().map(|slot| (&*slot.instance, &slot.processor))
    }

    /// Kills the processors that are due, and starts those again that have ended. Returns which ended though nobody had killed
    /// them, and how.
    #[must_use]
    pub fn tend(&mut self) -> Vec<String> {
        let mut by_themselves = Vec::new();
        for n in 0..self.slots.len() {
            let slot = &mut self.slots[n];
            if slot.kill_at.is_some_and(|at| Instant::now() >= at) {
                slot.processor.kill();
            }
            if let Some(status) = slot.processor.ended() {
                if let Some(doom) = slot.doom {
                    was_killed(status, &slot.processor);
                    *self.kills.entry(doom).or_default() += 1;
                } else {
                    let (name, log) = (&slot.instance, slot.processor.log_tail());
                    by_themselves.push(format!("{name} ended by itself, {status}: {log}"));
                }
                self.restart(n);
            }
        }
        by_themselves
    }

    /// Dooms all processors: from now on each dies after a while, at one place after another.
    pub fn doom_all(&mut self) {
        self.dooming = true;
        (0..SLOTS).for_each(|n| self.kill(n));
    }

    /// Dooms no more processors, and kills those now that were doomed.
    pub fn spare_all(&mut self) {
        self.dooming = false;
        (0..SLOTS).for_each(|n| self.kill(n));
    }

    /// Returns whether enough processors were killed in all, and some at each place.
    pub fn was_killed_everywhere(&self, enough: u32) -> bool {
        let places = PLACES.iter().map(|(point, _)| point.name()).chain([AT_RANDOM]);
        self.kills.values().sum::<u32>() >= enough && places.into_iter().all(|p| self.kills.get(p).is_some_and(|n| *n >= EACH))
    }

    /// Kills a slot's processor by SIGKILL. [`Fleet::tend`] will start it again.
    pub fn kill(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.doom = Some(AT_RANDOM);
        slot.processor.kill();
    }

    /// Sends a slot's processor a signal, such as `STOP`.
    pub fn signal(&self, slot: usize, signal: &str) {
        self.slots[slot].processor.signal(signal);
    }

    /// Returns whether each slot has some of the partitions, and all slots together have all of them.
    pub fn all_share(&self, partitions: i32) -> bool {
        let assigned: Vec<_> = self.slots.iter().map(assigned).collect();
        assigned.iter().all(|n| *n > 0) && assigned.iter().sum::<u64>() == u64::from(partitions.unsigned_abs())
    }

    /// Returns whether the other slots have all partitions.
    pub fn others_have_all(&self, slot: usize, partitions: i32) -> bool {
        let others = self.slots.iter().enumerate().filter(|(n, _)| *n != slot);
        others.map(|(_, slot)| assigned(slot)).sum::<u64>() == u64::from(partitions.unsigned_abs())
    }

    /// Lets a guest join.
    pub fn join(&mut self) {
        self.guest = Some(self.world.start(&unique("guest")));
    }

    /// Lets the guest leave, by this signal.
    pub fn leave(&mut self, signal: &str) {
        let Some(guest) = self.guest.take() else { return };
        guest.signal(signal);
        if signal == "TERM" {
            assert_eq!(guest.wait(), 0, "{}", guest.log_tail());
        } else {
            *self.kills.entry("while it joined").or_default() += 1;
            guest.kill();
        }
    }

    /// Asks all processors to end, and waits for them.
    pub fn end(&mut self) {
        for slot in &self.slots {
            slot.processor.signal("TERM");
        }
        for slot in &self.slots {
            assert_eq!(slot.processor.wait(), 0, "{}", slot.processor.log_tail());
        }
    }

    fn restart(&mut self, n: usize) {
        let (mut doom, mut kill_at, mut fail_points) = (None, None, String::new());
        if self.dooming {
            let place = self.dooms % (PLACES.len() + 1);
            self.dooms += 1;
            if let Some((point, often)) = PLACES.get(place) {
                doom = Some(point.name());
                fail_points = format!("{}={}*off->return", point.name(), 1 + self.random.below(*often));
            } else {
                doom = Some(AT_RANDOM);
                kill_at = Some(Instant::now() + Duration::from_millis(2_000 + self.random.below(6_000)));
            }
        }
        let slot = &mut self.slots[n];
        slot.processor = self.world.start_with(&slot.instance, &[("FAILPOINTS", &fail_points)]);
        (slot.doom, slot.kill_at) = (doom, kill_at);
    }
}

/// Shows the state of each slot, for failures.
impl fmt::Debug for Fleet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in &self.slots {
            writeln!(f, "\n{}, to die {:?}\n{}", slot.instance, slot.doom, slot.processor.diagnosis())?;
        }
        write!(f, "killed: {:?}", self.kills)
    }
}

/// Returns how many partitions a slot has: 0 while its processor is starting or frozen.
fn assigned(slot: &Slot) -> u64 {
    slot.processor.metric_so_far("crm_partitions_assigned").unwrap_or(0)
}

fn was_killed(status: ExitStatus, processor: &Processor) {
    assert!(status.code() == Some(KILLED), "it was to be killed, and ended with {status}: {}", processor.log_tail());
}
