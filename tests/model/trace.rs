//! Tells people how a state comes about: a line for each statement and mishap, and the store in the end.

use super::attempt::Step;
use super::store::Write;
use super::system::{Action, BEFORE, Output, State, System};
use super::vocabulary::{
    Answer, Claim, Command, Entity, EntityStatics, FIRST_ROW, Id, Outcome, Record, Request, Target, UseCase,
};
use stateright::Path;
use std::fmt::Write as _;

/// Returns the way to a state as text.
pub fn trace(system: &System, path: Path<State, Action>) -> String {
    let mut text = String::new();
    for (record, command) in system.protocol.commands.iter().enumerate() {
        let _ = writeln!(text, "  record {record}: {}", asked(command));
    }
    let steps = path.into_vec();
    let mut number = 0;
    for pair in steps.windows(2) {
        let ((before, action), (after, _)) = (&pair[0], &pair[1]);
        let Some(action) = action else { continue };
        number += 1;
        let _ = writeln!(text, "{number:3} {}", happened(system, before, *action));
        for (record, (output, _)) in after.outputs.iter().zip(&before.outputs).enumerate().filter(|(_, (a, b))| a != b) {
            if let Some(Output { reply, published, .. }) = output {
                let transaction = if *published { ", with a business transaction" } else { "" };
                let _ = writeln!(text, "    record {record} is answered: {}{transaction}", answered(*reply));
            }
        }
    }
    if let Some((last, _)) = steps.last() {
        in_the_end(&mut text, last);
    }
    text
}

fn in_the_end(text: &mut String, last: &State) {
    let _ = writeln!(text, "  in the end:");
    for (n, there) in (0..).zip(&last.store.ids) {
        let Some(claim) = there.statics.claim else { continue };
        let _ = write!(text, "  {} is claimed: {}", id(n), claimed(&claim));
        for (owner, until) in (0..).zip(there.statics.previous_owners).filter(|(_, until)| *until > 0) {
            let _ = write!(text, "; {} held it until epoch {until}", entity(owner));
        }
        let _ = writeln!(text, "{}", if there.statics.refused { "; somebody was refused" } else { "" });
        outcomes(text, &there.log);
    }
    for (n, there) in (0..).zip(&last.store.entities) {
        let _ = writeln!(text, "  {}: {}", entity(n), there.statics.as_ref().map_or("is not there".into(), is_now));
        outcomes(text, &there.log);
    }
}

fn outcomes(text: &mut String, log: &[Option<Outcome>]) {
    for (request, outcome) in (0..).zip(log).filter_map(|(request, outcome)| Some((request, outcome.as_ref()?))) {
        let _ = writeln!(text, "    {}", decided(request, outcome));
    }
}

fn happened(system: &System, before: &State, action: Action) -> String {
    let who = |i: usize| {
        let records: Vec<_> = system.run(i).iter().map(ToString::to_string).collect();
        let beside = (0..system.attempts()).filter(|j| system.run(*j) == system.run(i)).position(|j| j == i);
        let one_of = if beside > Some(0) { " (beside)" } else { "" };
        format!("record {}{one_of}", records.join(" and "))
    };
    match action {
        Action::Proceed(i) => format!("{}: {}", who(i), statement(system, before, i)),
        Action::TakeSingly(i) => format!("{}: takes its commands one at a time", who(i)),
        Action::Remember(i) => format!("{}: remembers what is there", who(i)),
        Action::Crash(i) => format!("{}: crashes, and is delivered again", who(i)),
        Action::TimeOut(i) => format!("{}: gets no answer, and goes round again: {}", who(i), statement(system, before, i)),
        Action::Land(n) => format!("late: {}", wrote(&before.in_flight[n].expect("a write in flight"))),
        Action::Panic(i) => format!("{}: panics", who(i)),
        Action::Age(place, request) => format!("what is known at {} of request {request} is old", named(place)),
        Action::Expire(place, request) => format!("what is known at {} of request {request} expires", named(place)),
        Action::Forget(n, owner) => format!("it is forgotten that {} held {}", entity(owner), id(n)),
        Action::AnswerUnread(i) => format!("{}: is answered unread", who(i)),
    }
}

/// Returns what an attempt is about to do.
fn statement(system: &System, s: &State, i: usize) -> String {
    let decided = s.attempts[i].decided;
    let open = system.run(i).iter().zip(decided).find(|(_, decided)| decided.is_none());
    let command = open.map(|(record, _)| system.protocol.command(*record));
    let asked_for = command.map_or("nothing".into(), |c| named(c.target));
    let wanted = command.and_then(Command::wanted).map_or("nothing", id);
    match s.attempts[i].step {
        Step::Waiting | Step::ReadTarget { .. } => format!("reads {asked_for}"),
        Step::Remembering { entity, .. } => format!("goes by its memory: {}", is_now(&entity)),
        Step::ReadOwner { there, .. } => {
            format!("reads who claims {asked_for}: {}", there.claim.map_or("nobody", |c| entity(c.owner)))
        }
        Step::ReadPrevious { left, .. } => {
            let next = (0..).zip(left).find(|(_, until)| *until > 0);
            next.map_or("asks nobody".into(), |(n, until)| {
                format!("asks {}, who held {asked_for} until epoch {until}", entity(n))
            })
        }
        Step::Creating { .. } => "begins with nothing but its memory".into(),
        Step::ReadSuperior { .. } => "reads the superior".into(),
        Step::ReadSuperiorsOwner { remembered, .. } => {
            format!("reads who claims the superior's id{}", if remembered { ", from memory" } else { "" })
        }
        Step::ReadWanted { .. } => format!("reads {wanted}, which is wanted"),
        Step::ReadRival { there, .. } => {
            format!("reads who claims {wanted}: {}", there.claim.map_or("nobody", |c| entity(c.owner)))
        }
        Step::Try { write, .. } | Step::Hold { write, .. } => {
            let applied = if system.protocol.condition_holds(&s.store, &write) { "" } else { " (not applied)" };
            format!("{}{applied}", wrote(&write))
        }
        Step::Publish => "commits".into(),
        Step::Over => "is over".into(),
    }
}

fn wrote(write: &Write) -> String {
    let rows: Vec<_> = write.rows().map(|(request, outcome)| decided(request, &outcome)).collect();
    match write {
        Write::Claim { id: n, claim, .. } => format!("claims {}: {}", id(*n), claimed(claim)),
        Write::Apply { entity: n, after, .. } => {
            let becomes = after.as_ref().map_or(String::new(), |e| format!("becomes {}; ", is_now(e)));
            format!("applies: {} {becomes}{}", entity(*n), rows.join(", "))
        }
        Write::Hold { place, row: (request, outcome) } => {
            format!("holds at {}: {}", named(*place), decided(*request, outcome))
        }
        Write::Refuse { id: n, .. } => format!("refuses under {}: {}", id(*n), rows.join(", ")),
    }
}

fn asked(command: &Command) -> String {
    let Command { request, target, use_case, expected_version } = *command;
    let what = match use_case {
        UseCase::Rename(to) => format!("request {request} renames {} to {}", named(target), id(to)),
        UseCase::Name(name) => format!("request {request} sets the name of {} to {name}", named(target)),
        UseCase::Deactivate => format!("request {request} deactivates {}", named(target)),
        UseCase::Create { id: to, superior } => {
            let below = superior.map_or(String::new(), |superior| format!(" below {}", named(superior)));
            format!("request {request} creates {} as {}{below}", named(target), id(to))
        }
        UseCase::Import(to) => format!("an import of {} as {}", named(target), id(to)),
    };
    expected_version.map_or(what.clone(), |version| format!("{what} if it has version {version}"))
}

fn claimed(claim: &Claim) -> String {
    let Claim { generation, owner, epoch, claimed_by, record, superior } = *claim;
    let below = superior.map_or(String::new(), |superior| format!(", below {}", entity(superior)));
    format!("generation {generation}, by {} for epoch {epoch}, for {}{}{below}", entity(owner), of(claimed_by), by(record))
}

fn is_now(e: &EntityStatics) -> String {
    let EntityStatics { external_id, generation, epoch, version, name, deactivated, superior, .. } = *e;
    let state = if deactivated { ", deactivated" } else { "" };
    let below = superior.map_or(String::new(), |superior| format!(", below {}", entity(superior)));
    format!("version {version}, {} by generation {generation}, epoch {epoch}, name {name}{state}{below}", id(external_id))
}

fn decided(request: Request, outcome: &Outcome) -> String {
    let epoch = outcome.about.map_or(String::new(), |(_, epoch)| format!(" in epoch {epoch}"));
    format!("{} is {}{epoch}{}", of(request), answered(outcome.answer), by(outcome.record))
}

fn answered(answer: Answer) -> String {
    match answer {
        Answer::Changed { version, external_id } => format!("changed to version {version}, {}", id(external_id)),
        Answer::Imported { external_id } => format!("imported as {}", id(external_id)),
        Answer::Unchanged => "unchanged".into(),
        Answer::VersionConflict => "refused, a version conflict".into(),
        Answer::Taken => "refused, the id is taken".into(),
        Answer::NotFound => "refused, nobody is there".into(),
        Answer::Deactivated => "refused, it is deactivated".into(),
        Answer::NoSuperior => "refused, the superior is not there".into(),
        Answer::SuperiorDeactivated => "refused, the superior is deactivated".into(),
        Answer::InternalError => "an internal error".into(),
        Answer::Reused => "refused, the request id is reused".into(),
        Answer::Existed => "there already".into(),
        Answer::Contradicts => "contradicted by what is there".into(),
    }
}

fn of(request: Request) -> String {
    if request == FIRST_ROW { "the first row".into() } else { format!("request {request}") }
}

fn by(record: Record) -> String {
    if record == BEFORE { ", from the beginning".into() } else { format!(", by record {record}") }
}

fn named(target: Target) -> String {
    match target {
        Target::Id(n) => id(n).into(),
        Target::RefId(n) => entity(n).into(),
    }
}

/// Returns an external id as the scenarios call it.
fn id(id: Id) -> &'static str {
    ["A", "B", "X", "Y"][usize::from(id)]
}

/// Returns an entity as the scenarios call it.
fn entity(entity: Entity) -> &'static str {
    ["FIRST", "SECOND"][usize::from(entity)]
}
