//! Tests runs: the outcomes are the same as if the commands were decided one at a time, with one write for all that can be
//! folded.

use super::world::{World, assert_replay, published, refused};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::EntityType::Customer;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::use_case::UseCase::UpdateAccountExternalId;
use crm_processor::domain::values::{CustomName, ExternalId, RequestId};
use crm_processor::store::ConditionalStore;
use crm_processor::store::claims::{MAX_RUN, Submission};

pub async fn a_run_takes_one_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let process = w.process();
    let first = process.decide(&[w.name("first", w.by_id("c"), "first")]).await.expect("no faults");
    assert_eq!(published(&first[0]).entity.version, 2);
    let run: Vec<_> = (0..512).map(|n| w.name(&format!("r{n}"), w.by_id("c"), &format!("name {n}"))).collect();
    assert_eq!(run.len(), MAX_RUN);
    let (decided, counts) = w.counted(process.decide(&run)).await;
    let versions: Vec<_> = decided.expect("no faults").iter().map(|d| published(d).entity.version).collect();
    assert_eq!((versions, counts), ((3..515).collect(), [0, 1]), "it is remembered, so nothing is read");
    assert_eq!(w.version(Customer, "c").await, 514);
}

/// Decides more commands than one read may ask for, about an entity that is not in the cache; then all of them once more, in
/// processes that have it in their cache and in others.
pub async fn a_run_may_be_longer_than_a_read<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    for (prefix, reference) in ["c", "nobody"].into_iter().flat_map(|who| [("i", w.by_id(who)), ("r", w.by_ref(who))]) {
        let name = |n| w.name(&format!("{prefix}{n}"), reference.clone(), &format!("name {prefix}{n}"));
        let run: Vec<_> = (0..MAX_RUN).map(name).collect();
        let process = w.process();
        let first = process.decide(&run).await.expect("no faults");
        let redelivered = w.process().decide(&run).await.expect("no faults");
        assert_eq!(redelivered, first, "{reference:?}: decided by the same records");
        let again: Vec<_> = run.iter().map(|submission| w.again(submission)).collect();
        for process in [process, w.process()] {
            let decided = process.decide(&again).await.expect("no faults");
            decided.iter().zip(&first).for_each(|(decided, first)| assert_replay(decided, first));
        }
    }
    assert_eq!(w.version(Customer, "c").await, 1 + 2 * i64::try_from(MAX_RUN).expect("few"));
}

/// Four of these rows have 120 KiB and more, five do not fit.
pub async fn what_one_write_has_no_room_for_goes_into_the_next<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let large = |mut s: Submission| {
        s.request.correlation_id = Some("x".repeat(30 << 10));
        s
    };
    for reference in [w.by_id("c"), w.by_id("nobody"), w.by_ref("nobody")] {
        let name = |n| large(w.name(&format!("r{n}"), reference.clone(), &format!("name {n}")));
        let mut run: Vec<_> = (0..10).map(name).collect();
        run.push(w.again(&run[0]));
        let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
        let decided = decided.expect("no faults");
        let refusals = decided[..10].iter().filter(|d| matches!(d.answer, Answer::Rejected(_))).count();
        if refusals == 0 {
            let versions: Vec<_> = decided[..10].iter().map(|d| published(d).entity.version).collect();
            assert_eq!(versions, (2..12).collect::<Vec<_>>());
            // Beside the three writes that are applied, one finds the first outcome there.
            assert_eq!(writes, 4, "{reference:?}");
        } else {
            assert_eq!(refusals, 10);
        }
        assert!((1..=4).contains(&writes), "{reference:?}: {writes}");
        assert_replay(&decided[10], &decided[0]);
    }
}

/// A change of the external id needs a claim. The refusals between two such changes take one write.
pub async fn what_is_behind_a_rename_is_folded<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let rename = |request: &str, to: &str, expected| {
        w.submit(UpdateAccountExternalId, request, w.by_ref("a"), w.id(to).as_str(), Some(expected))
    };
    let stale = |n: usize| rename(&format!("stale {n}"), "z", 7);
    let mut run = vec![rename("r1", "x", 1)];
    run.extend((0..20).map(stale));
    run.push(rename("r2", "y", 2));
    run.extend((20..40).map(stale));
    let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
    let decided = decided.expect("no faults");
    assert_eq!([0, 21].map(|n| published(&decided[n]).entity.version), [2, 3]);
    for (range, actual) in [(1..21, 2), (22..42, 3)] {
        for n in range {
            assert_eq!(refused(&decided[n]), &Rejection::VersionConflict { expected: 7, actual });
        }
    }
    assert_eq!(writes, 2 + 1 + 2 + 1);
}

/// Returns a command with all texts as long as they may be, in the characters that take most room.
pub async fn a_run_of_the_largest_commands_is_decided<S: ConditionalStore>(w: &World<S>) {
    let padding = "\u{1f600}".repeat(ExternalId::MAX_CHARS - w.id("c").as_str().len());
    let name = format!("c{padding}");
    w.customer(&name).await;
    for (prefix, reference) in [("i", w.by_id(&name)), ("r", w.by_ref(&name))] {
        let largest = |n: usize| {
            let letter = char::from_u32(0x1f600 + u32::try_from(n % 70).expect("few")).expect("a letter");
            let text = |length: usize| letter.to_string().repeat(length);
            let request = format!("{prefix}{n:03}{}", text(RequestId::MAX_CHARS - 4));
            let mut submission = w.name(&request, reference.clone(), &text(CustomName::MAX_CHARS));
            // A correlation header of 1 KiB, each byte of which is escaped in JSON.
            submission.request.correlation_id = Some("\u{1}".repeat(1024));
            submission
        };
        let run: Vec<_> = (0..MAX_RUN).map(largest).collect();
        let before = w.version(Customer, &name).await;
        let decided = w.process().decide(&run).await.expect("no faults");
        let versions: Vec<_> = decided.iter().map(|d| published(d).entity.version).collect();
        assert_eq!(versions, (1..=i64::try_from(MAX_RUN).expect("few")).map(|n| before + n).collect::<Vec<_>>());
    }
}

pub async fn a_duplicate_in_a_run_sees_the_first_ones_outcome<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let before = w.name("r0", w.by_id("c"), "Ada");
    let before = w.process().decide(&[before]).await.expect("no faults");
    let run = [
        w.name("r1", w.by_id("c"), "Bea"),
        w.name("r1", w.by_id("c"), "Bea"),
        w.name("r1", w.by_id("c"), "Cleo"),
        w.name("r0", w.by_id("c"), "Ada"),
        w.name("r2", w.by_id("c"), "Bea"),
    ];
    let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
    let decided = decided.expect("no faults");
    assert_eq!((published(&decided[0]).entity.version, writes), (3, 1));
    assert_replay(&decided[1], &decided[0]);
    assert_eq!(refused(&decided[2]), &Rejection::RequestIdReused);
    assert_replay(&decided[3], &before[0]);
    assert!(matches!(decided[4].answer, Answer::Unchanged(_)), "{:?}", decided[4]);
}

pub async fn a_run_of_renames_is_decided_one_after_another<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let run = [w.rename("r1", w.by_ref("a"), "x"), w.rename("r2", w.by_ref("a"), "y"), w.rename("r1", w.by_ref("a"), "x")];
    let decided = w.process().decide(&run).await.expect("no faults");
    assert_eq!([&decided[0], &decided[1]].map(|d| published(d).entity.version), [2, 3]);
    assert_replay(&decided[2], &decided[0]);

    w.account("b").await;
    let run = [w.rename("r1", w.by_id("b"), "v"), w.rename("r2", w.by_id("b"), "w"), w.rename("r1", w.by_id("b"), "v")];
    let decided = w.process().decide(&run).await.expect("no faults");
    published(&decided[0]);
    assert_eq!(refused(&decided[1]), &Rejection::EntityNotFound { field: "account.externalId".into() });
    assert_replay(&decided[2], &decided[0]);
}

pub async fn a_run_for_nobody_takes_one_write<S: ConditionalStore>(w: &World<S>) {
    for reference in [w.by_id("c"), w.by_ref("c")] {
        let run = ["r1", "r2", "r1"].map(|request| w.name(request, reference.clone(), "Ada"));
        let (decided, [_, writes]) = w.counted(w.process().decide(&run)).await;
        let decided = decided.expect("no faults");
        assert!(matches!(refused(&decided[0]), Rejection::EntityNotFound { .. }));
        assert_eq!((&decided[1], writes), (&decided[0], 1));
        assert_replay(&decided[2], &decided[0]);
    }
}
