//! The promises of the protocol, which are invariants of every reachable state, and the events that a scenario must reach for its result to
//! mean anything.

use super::attempt::Step;
use super::protocol::Standing;
use super::scenario::Reached;
use super::store::Write;
use super::system::{Output, State, System};
use super::vocabulary::{Answer, Command, Entity, EntityPartition, FIRST_ROW, Outcome, Record, Target, UseCase};
use stateright::Property;

pub fn properties(system: &System) -> Vec<Property<System>> {
    let mut properties = vec![
        Property::always("external ids are unique", |_, s: &State| {
            let mut held: Vec<_> = s.store.statics().map(|e| e.external_id).collect();
            held.sort_unstable();
            held.windows(2).all(|w| w[0] != w[1])
        }),
        Property::always("who holds an id has the current claim on it", |m: &System, s: &State| {
            s.store.statics().all(|e| {
                let claim = s.store.id(e.external_id).statics.claim;
                claim.is_some_and(|c| {
                    c.owner == e.ref_id && m.protocol.standing(e.external_id, &c, Some(e), None) == Standing::Current
                })
            })
        }),
        // It follows that no change is applied twice: that would raise the version twice for one outcome.
        Property::always("each change raises the version by one, each rename the epoch", |m: &System, s: &State| {
            s.store.entities.iter().all(|e| gapless(m, e))
        }),
        Property::always("a record causes one outcome at most", |m: &System, s: &State| {
            records(m).all(|(record, _)| caused(s, record).count() <= 1)
        }),
        Property::always("a record is answered with the outcome that it caused", |m: &System, s: &State| {
            answered(m, s).all(|(record, _, output)| caused(s, record).all(|o| o.same(&output.outcome)))
        }),
        // It follows that redeliveries and duplicates publish nothing, and that nothing is published without a change.
        Property::always("each change is published once, by the record that caused it", |m: &System, s: &State| {
            answered(m, s).all(|(record, _, output)| output.published == caused(s, record).any(|o| o.answer.is_change()))
        }),
        Property::always("replies to a request agree, and other contents get none", |m: &System, s: &State| {
            answered(m, s).all(|(_, a, one)| {
                let asked_there = answered(m, s).filter(|(_, b, _)| (a.request, a.target) == (b.request, b.target));
                m.scenario.shares_request_ids
                    || asked_there
                        .filter(|(_, b, other)| !a.is_import() && !b.is_import() && one.forgotten == other.forgotten)
                        .all(|(_, b, other)| agree(a.same_contents(b), one.reply, other.reply))
            })
        }),
        Property::always("an answer is that of an entity that was named", |m: &System, s: &State| {
            answered(m, s).all(|(_, command, output)| named(m, s, command.target, &output.outcome))
        }),
        Property::always("a refusal or no-op was true at some instant", |_, s: &State| !s.unfounded),
        Property::always("an entity is created below a superior that was there", |_, s: &State| !s.misplaced),
        Property::always("a change was made of the version that was expected", |m: &System, s: &State| {
            s.store
                .outcomes()
                .filter_map(|(_, o)| Some((m.protocol.commands.get(usize::from(o.record))?, version(o)?)))
                .all(|(command, version)| command.expected_version.is_none_or(|expected| expected + 1 == version))
        }),
        Property::always("commands of a run take effect in their order", |m: &System, s: &State| {
            m.scenario.deliveries.iter().flat_map(|d| d.run.windows(2)).all(|pair| {
                let version = |record| caused(s, record).find_map(|o| version(&o));
                version(pair[0]).zip(version(pair[1])).is_none_or(|(one, other)| one < other)
            })
        }),
        Property::always("an entity comes into being as was asked", |m: &System, s: &State| {
            (0..).zip(&s.store.entities).all(|(e, there)| as_asked(m, e, there))
        }),
        Property::sometimes("all are answered", |m: &System, s: &State| answered(m, s).count() == m.protocol.commands.len()),
    ];
    if system.scenario.progress {
        properties.push(Property::always("left alone, an attempt ends", System::all_would_end));
    }
    if system.protocol.weakening.is_none() {
        properties.extend(system.scenario.reaches.iter().map(reached));
    }
    properties
}

fn records(m: &System) -> impl Iterator<Item = (Record, &Command)> {
    (0..).zip(&m.protocol.commands)
}

fn answered<'a>(m: &'a System, s: &'a State) -> impl Iterator<Item = (Record, &'a Command, &'a Output)> {
    records(m).filter_map(|(record, command)| Some((record, command, s.outputs[usize::from(record)].as_ref()?)))
}

/// Returns the outcomes of requests that a record caused.
fn caused(s: &State, record: Record) -> impl Iterator<Item = Outcome> {
    let of_requests = s.store.outcomes().filter(|(request, _)| *request != FIRST_ROW);
    of_requests.map(|(_, o)| *o).filter(move |o| o.record == record)
}

fn agree(same_contents: bool, one: Answer, other: Answer) -> bool {
    if same_contents { one == other } else { one == Answer::Reused || other == Answer::Reused }
}

fn version(outcome: &Outcome) -> Option<u8> {
    match outcome.answer {
        Answer::Changed { version, .. } => Some(version),
        _ => None,
    }
}

fn is_rename(m: &System, outcome: &Outcome) -> bool {
    matches!(m.protocol.command(outcome.record).use_case, UseCase::Rename(_))
}

fn is_creation(m: &System, outcome: &Outcome) -> bool {
    m.protocol.command(outcome.record).is_creation()
}

fn gapless(m: &System, e: &EntityPartition) -> bool {
    let Some(statics) = e.statics else { return true };
    let changes = || e.log.iter().flatten().filter(|o| o.answer.is_change());
    let mut versions: Vec<u8> = changes().filter_map(version).collect();
    versions.sort_unstable();
    // A creation is a change, and an import is none.
    let created = changes().any(|o| is_creation(m, o));
    versions.iter().copied().eq(if created { 1 } else { 2 }..=statics.version)
        && usize::from(statics.epoch) == 1 + changes().filter(|o| is_rename(m, o)).count()
}

/// Returns whether the entity that an outcome is about held the reference when the outcome was decided, or came to hold it later. (An
/// outcome that was decided after the entity gave the id up is no answer, because request ids are scoped to an entity.)
fn named(m: &System, s: &State, target: Target, outcome: &Outcome) -> bool {
    let (Some((entity, decided_in)), Target::Id(id)) = (outcome.about, target) else { return true };
    s.store.entity(entity).log.iter().flatten().any(|row| {
        let Some((_, epoch)) = row.about else { return false };
        // The after-image shows the id, and in which epoch the entity held it.
        let held_in = match row.answer {
            Answer::Imported { external_id } => Some((external_id, epoch + 1)),
            Answer::Changed { external_id, .. } => {
                Some((external_id, epoch + u8::from(m.protocol.command(row.record).is_claimer())))
            }
            _ => None,
        };
        held_in.is_some_and(|(held, epoch)| held == id && decided_in <= epoch)
    })
}

/// Returns whether an entity is there if it was imported or created, and as the line or the creation says.
fn as_asked(m: &System, e: Entity, there: &EntityPartition) -> bool {
    let Some(row) = there.log[usize::from(FIRST_ROW)] else { return there.statics.is_none() };
    let asked = m.protocol.commands.get(usize::from(row.record));
    let as_it_says = |asked: &Command| {
        let says = asked.wanted().map(|external_id| Answer::Imported { external_id });
        let outcome = there.log[usize::from(asked.request)];
        let changed = outcome.is_some_and(|o| o.record == row.record && version(&o) == Some(1));
        asked.target == Target::RefId(e) && says == Some(row.answer) && (asked.is_import() || changed)
    };
    there.statics.is_some() && asked.is_none_or(as_it_says)
}

fn reached(what: &Reached) -> Property<System> {
    let is_so: fn(&System, &State) -> bool = match what {
        Reached::Helped => |m: &System, s: &State| {
            trying(m, s).any(|(i, write)| {
                let mine = |record: &Record| write.concerns(m.protocol.request(*record));
                matches!(write, Write::Apply { .. }) && !m.run(i).iter().any(mine)
            })
        },
        Reached::Replaced => |_, s| s.store.ids.iter().any(|id| id.statics.claim.is_some_and(|c| c.generation > 1)),
        Reached::AnsweredFromThePast => |m: &System, s: &State| {
            answered(m, s).any(|(_, c, o)| {
                let holder = s.store.holder(c.target);
                matches!(c.target, Target::Id(_)) && o.outcome.about.is_some_and(|(e, _)| Some(e) != holder)
            })
        },
        Reached::Batched => |m: &System, s: &State| trying(m, s).any(|(_, write)| write.rows().count() > 1),
        Reached::Reused => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::Reused),
        Reached::Shared => |m: &System, s: &State| {
            records(m).any(|(_, c)| {
                let has = |e: &&EntityPartition| e.log[usize::from(c.request)].is_some();
                s.store.entities.iter().filter(has).count() > 1
            })
        },
        Reached::Taken => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::Taken),
        Reached::NotFound => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::NotFound),
        Reached::VersionConflict => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::VersionConflict),
        Reached::Unchanged => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::Unchanged),
        Reached::InternalError => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::InternalError),
        Reached::Forgotten => |m: &System, s: &State| {
            answered(m, s).any(|(record, c, o)| {
                let answer = o.outcome.answer;
                !c.is_import() && !answer.is_change() && o.outcome.record == record && caused(s, record).count() == 0
            })
        },
        Reached::Held => {
            |_, s| s.attempts.iter().any(|a| matches!(a.step, Step::Hold { .. } | Step::Try { write: Write::Hold { .. }, .. }))
        }
        Reached::Created => |m: &System, s: &State| answered(m, s).any(|(_, c, o)| c.is_creation() && o.reply.is_change()),
        Reached::Deactivated => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::Deactivated),
        Reached::NoSuperior => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::NoSuperior),
        Reached::SuperiorDeactivated => {
            |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::SuperiorDeactivated)
        }
        Reached::Contradicted => |m: &System, s: &State| answered(m, s).any(|(.., o)| o.reply == Answer::Contradicts),
    };
    Property::sometimes(what.name(), is_so)
}

/// Returns the writes that would be applied at this instant, each with its attempt.
fn trying<'a>(m: &'a System, s: &'a State) -> impl Iterator<Item = (usize, Write)> + 'a {
    (0..m.attempts()).filter_map(|i| match s.attempts[i].step {
        Step::Try { write, .. } if m.protocol.condition_holds(&s.store, &write) => Some((i, write)),
        _ => None,
    })
}
