//! The system as a state machine: deliveries of records, the attempts at them, the store, and everything that may happen to them. Each
//! action is one statement of one attempt, or one mishap. Actions come in any order.

use super::attempt::{AtWork, Attempt, Step};
use super::properties::properties;
use super::protocol::{Protocol, created};
use super::scenario::Scenario;
use super::store::{Store, Write};
use super::vocabulary::{
    Answer, Claim, Entity, EntityStatics, FIRST_ROW, Id, Lifetime, Outcome, RECORDS, Record, Request, Target,
};
use super::weakened::Weakening;
use super::witness::Witness;
use stateright::{Model, Property};

/// The most attempts, over all deliveries.
pub const ATTEMPTS: usize = 8;
/// The most writes in flight.
const IN_FLIGHT: usize = 2;
/// The record of the imports that made the entities of the beginning.
pub const BEFORE: Record = u8::MAX;

/// A scenario under the protocol, as it is or weakened.
#[derive(Clone, Debug)]
pub struct System {
    pub scenario: Scenario,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub store: Store,
    pub attempts: [Attempt; ATTEMPTS],
    /// Writes that timed out: each may be applied at any later time, or never.
    pub in_flight: [Option<Write>; IN_FLIGHT],
    /// The committed outputs, by record.
    pub outputs: [Option<Output>; RECORDS],
    /// For each record, what was true at some instant since it came.
    pub witnesses: [Witness; RECORDS],
    /// Whether an outcome was stored that was true at no instant since its record came.
    pub unfounded: bool,
    /// Whether an entity was created below a superior that was not there, or was deactivated, at each instant since its record came.
    pub misplaced: bool,
    pub crashes_left: u8,
    pub timeouts_left: u8,
    pub panics_left: u8,
}

/// The committed output of a record. There is one at most, because the record's outputs and its completion are one Kafka transaction, and
/// the broker fences a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    pub reply: Answer,
    /// The outcome of which the reply was made.
    pub outcome: Outcome,
    /// Whether there is a business transaction.
    pub published: bool,
    /// How often the outcome was forgotten since. A record that comes later is decided anew.
    pub forgotten: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// An attempt executes its next statement.
    Proceed(usize),
    /// An attempt takes the commands of its run one at a time, because a lane may cut its queue into runs in any way.
    TakeSingly(usize),
    /// An attempt begins with what a cache remembers from this instant.
    Remember(usize),
    /// The process of an attempt dies. The records are delivered again.
    Crash(usize),
    /// The write of an attempt gets no answer. The attempt begins again.
    TimeOut(usize),
    /// A write that timed out is applied after all.
    Land(usize),
    /// A bug panics while an attempt decides a command.
    Panic(usize),
    /// Half of the retention of an outcome is over.
    Age(Target, Request),
    /// The retention of an outcome is over.
    Expire(Target, Request),
    /// The retention of who held an id before is over.
    Forget(Id, Entity),
    /// An attempt answers with an internal error because the store can't be read. Only one weakened variant does that.
    AnswerUnread(usize),
}

impl System {
    /// Returns the delivery that an attempt is about.
    fn delivery(&self, attempt: usize) -> usize {
        let mut end = 0;
        let of = self.scenario.deliveries.iter().position(|d| {
            end += d.attempts;
            attempt < end
        });
        of.expect("an attempt belongs to a delivery")
    }

    pub fn run(&self, attempt: usize) -> &[Record] {
        self.scenario.deliveries[self.delivery(attempt)].run
    }

    pub fn attempts(&self) -> usize {
        self.scenario.deliveries.iter().map(|d| d.attempts).sum()
    }

    fn proceed(&self, s: &mut State, attempt: usize) {
        let run = self.run(attempt);
        let mut work = AtWork { protocol: &self.protocol, store: &s.store, run, attempt: s.attempts[attempt] };
        let written = work.proceed();
        let Attempt { step, .. } = std::mem::replace(&mut s.attempts[attempt], work.attempt);
        if step.is_unread() {
            s.call_witnesses(run);
        }
        if let Some(write) = written {
            // A decision from memory was true when it was remembered. By then its record had come, or else the condition fails.
            self.perform(s, &write);
        }
        if step == Step::Publish {
            self.publish(s, attempt);
        }
    }

    /// Commits the answers to the records of a run, unless another attempt has done so.
    fn publish(&self, s: &mut State, attempt: usize) {
        let Attempt { decided, applied, .. } = s.attempts[attempt];
        for (record, outcome) in self.run(attempt).iter().zip(decided) {
            let outcome = outcome.expect("all are decided");
            let output = &mut s.outputs[usize::from(*record)];
            if output.is_none() {
                let others = outcome.about.is_none() && outcome.record != *record;
                s.unfounded |= others && s.witnesses[usize::from(*record)].is_known_to_the_holder();
                let published = self.protocol.publishes(*record, &outcome, applied);
                *output = Some(Output { reply: self.protocol.reply(*record, &outcome), outcome, published, forgotten: 0 });
                s.witnesses[usize::from(*record)] = Witness::Done;
            }
        }
        s.attempts[attempt] = Attempt::OVER;
    }

    fn perform(&self, s: &mut State, write: &Write) {
        self.protocol.perform(&mut s.store, write);
        // For the later commands of a run the entity as the write has made it counts, too. So it is noted before the outcomes are compared.
        self.witness(s);
        s.hear_witnesses(&self.protocol, write);
    }

    pub fn answered(&self, s: &State, attempt: usize) -> bool {
        self.run(attempt).iter().all(|r| s.outputs[usize::from(*r)].is_some())
    }

    /// Returns whether every attempt would come to its end within a bounded number of statements if it were left alone.
    pub fn all_would_end(&self, s: &State) -> bool {
        (0..self.attempts()).all(|i| {
            let mut s = s.clone();
            (0..60).any(|_| {
                self.proceed(&mut s, i);
                s.attempts[i].step == Step::Over
            })
        })
    }

    fn mishaps(&self, s: &State, i: usize, actions: &mut Vec<Action>) {
        let Attempt { step, gave_up, .. } = s.attempts[i];
        let begun = !step.is_unread();
        if s.crashes_left > 0 && begun && !self.answered(s, i) {
            actions.push(Action::Crash(i));
        }
        if s.timeouts_left > 0 && matches!(step, Step::Try { .. } | Step::Hold { .. }) && s.in_flight[0].is_none() {
            actions.push(Action::TimeOut(i));
        }
        if s.panics_left > 0 && begun && !gave_up && step != Step::Publish {
            actions.push(Action::Panic(i));
        }
        if self.protocol.is(Weakening::AnsweredUnread) && step == Step::Waiting {
            actions.push(Action::AnswerUnread(i));
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut store = Store::default();
        for (ref_id, external_id) in (0..).zip(self.scenario.held).filter_map(|(e, id)| Some((e, id?))) {
            let claim = Claim { generation: 1, owner: ref_id, epoch: 1, claimed_by: FIRST_ROW, record: BEFORE, superior: None };
            store.ids[usize::from(external_id)].statics.claim = Some(claim);
            let entity = &mut store.entities[usize::from(ref_id)];
            entity.statics = Some(EntityStatics { external_id, generation: 1, epoch: 1, ..created(ref_id) });
            let (answer, about) = (Answer::Imported { external_id }, Some((ref_id, 0)));
            entity.log[usize::from(FIRST_ROW)] = Some(Outcome { answer, record: BEFORE, about, lifetime: Lifetime::Kept });
        }
        let mut attempts = [Attempt::OVER; ATTEMPTS];
        attempts[..self.attempts()].fill(Attempt::NEW);
        if self.scenario.stalled_import {
            attempts[0].step = Step::ReadWanted { seen: None, taken: false };
        }
        vec![State {
            store,
            attempts,
            in_flight: [None; IN_FLIGHT],
            outputs: [None; RECORDS],
            witnesses: [Witness::NotCome; RECORDS],
            unfounded: false,
            misplaced: false,
            crashes_left: self.scenario.faults.crashes,
            timeouts_left: self.scenario.faults.timeouts,
            panics_left: self.scenario.faults.panics,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        for i in 0..self.attempts() {
            let twin = i > 0 && self.delivery(i - 1) == self.delivery(i) && s.attempts[i - 1] == s.attempts[i];
            if twin || s.attempts[i].step == Step::Over {
                continue;
            }
            actions.push(Action::Proceed(i));
            if s.attempts[i] == Attempt::NEW && self.run(i).len() > 1 {
                actions.push(Action::TakeSingly(i));
            }
            if self.scenario.cache && s.attempts[i].step == Step::Waiting {
                actions.push(Action::Remember(i));
            }
            self.mishaps(s, i, actions);
        }
        for (n, write) in s.in_flight.iter().enumerate() {
            if write.is_some_and(|write| self.protocol.condition_holds(&s.store, &write)) {
                actions.push(Action::Land(n));
            }
        }
        if self.scenario.expiry {
            self.expiries(s, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        match action {
            Action::Proceed(i) => self.proceed(&mut s, i),
            Action::TakeSingly(i) => s.attempts[i].singly = true,
            Action::Remember(i) => {
                let work = AtWork { protocol: &self.protocol, store: &s.store, run: self.run(i), attempt: s.attempts[i] };
                s.attempts[i].step = work.remember()?;
            }
            Action::Crash(i) => {
                s.attempts[i] = Attempt::NEW;
                s.crashes_left -= 1;
            }
            Action::TimeOut(i) => {
                let Attempt { step: Step::Try { write, .. } | Step::Hold { write, .. }, gave_up, .. } = s.attempts[i] else {
                    unreachable!("only writes time out")
                };
                s.in_flight[0] = Some(write);
                s.attempts[i] = Attempt { gave_up, ..Attempt::NEW };
                s.timeouts_left -= 1;
            }
            Action::Land(n) => {
                let write = s.in_flight[n].take().expect("a write in flight");
                self.perform(&mut s, &write);
            }
            Action::Panic(i) => {
                s.attempts[i] = Attempt { step: Attempt::AGAIN, gave_up: true, ..Attempt::NEW };
                s.panics_left -= 1;
            }
            Action::Age(place, request) => s.store.age(place, request),
            Action::Expire(place, request) => {
                s.store.expire(place, request);
                self.forget(&mut s, |command, _| command.request == request);
            }
            Action::Forget(id, owner) => {
                let of = |o: &Output| o.outcome.about.is_some_and(|(e, _)| e == owner);
                self.forget(&mut s, |command, output| command.target == Target::Id(id) && of(output));
                s.store.ids[usize::from(id)].statics.previous_owners[usize::from(owner)] = 0;
            }
            Action::AnswerUnread(i) => {
                let record = self.run(i)[0];
                let outcome = Outcome { answer: Answer::InternalError, record, about: None, lifetime: Lifetime::Kept };
                s.outputs[usize::from(record)] = Some(Output { reply: outcome.answer, outcome, published: false, forgotten: 0 });
            }
        }
        self.witness(&mut s);
        self.normalize(&mut s);
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self)
    }
}
