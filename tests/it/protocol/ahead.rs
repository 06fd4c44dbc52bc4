//! Tests reads ahead of a command's turn: the reads that they save, and that they decide nothing.

use super::world::{World, assert_replay, decide, not_found, published, refused};
use crm_processor::domain::entity::EntityType::{Account, Customer};
use crm_processor::store::ConditionalStore;

pub async fn a_command_that_was_read_ahead_takes_one_write_and_no_read<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    for (request, reference, reads) in [("r1", w.by_id("c"), 2), ("r2", w.by_ref("c"), 1)] {
        let (process, name) = (w.process(), w.name(request, reference, request));
        assert!(process.can_read_ahead(&name));
        let ((), ahead) = w.counted(process.read_ahead(&name)).await;
        assert!(!process.can_read_ahead(&name));
        let ((), again) = w.counted(process.read_ahead(&name)).await;
        let (decided, turn) = w.counted(decide(&process, &name)).await;
        assert_eq!((ahead, again, turn), ([reads, 0], [0, 0], [0, 1]), "[reads, writes]");
        published(&decided);
    }
    assert_eq!(w.version(Customer, "c").await, 3);
}

pub async fn a_turn_waits_for_what_is_being_read_ahead<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (process, name) = (w.process(), w.name("r1", w.by_id("c"), "Ada"));
    let ahead = async { tokio::join!(process.read_ahead(&name), process.read_ahead(&name)) };
    let both = async { tokio::join!(ahead, decide(&process, &name)).1 };
    let (decided, counted) = w.counted(both).await;
    assert_eq!(counted, [2, 1], "[reads, writes]");
    published(&decided);
}

pub async fn what_a_turn_is_reading_is_not_read_ahead<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (process, first, second) = (w.process(), w.name("r1", w.by_id("c"), "Ada"), w.name("r2", w.by_id("c"), "Bea"));
    let both = async { tokio::join!(decide(&process, &first), process.read_ahead(&second)).0 };
    let (decided, counted) = w.counted(both).await;
    assert_eq!(counted, [2, 1], "[reads, writes]");
    published(&decided);
    assert_eq!(w.counted(decide(&process, &second)).await.1, [0, 1], "[reads, writes]");
}

pub async fn a_turn_goes_on_when_what_reads_ahead_is_gone<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (process, name) = (w.process(), w.name("r1", w.by_id("c"), "Ada"));
    // It is dropped when it is about to read for the second time; the turn has begun to wait for it by then.
    let decided = {
        let ahead = process.read_ahead(&name);
        let turn = decide(&process, &name);
        w.abandoned(1, ahead, turn).await
    };
    published(&decided);
}

pub async fn what_was_read_ahead_and_has_changed_since_is_read_again<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let (process, other) = (w.process(), w.process());
    let name = w.name("r1", w.by_id("c"), "Ada");
    process.read_ahead(&name).await;
    published(&decide(&other, &w.name("r2", w.by_id("c"), "Bea")).await);
    let decided = decide(&process, &name).await;
    assert_eq!((published(&decided).previous_version, published(&decided).entity.version), (2, 3));
}

pub async fn a_duplicate_that_is_read_ahead_takes_no_write<S: ConditionalStore>(w: &World<S>) {
    w.customer("c").await;
    let name = w.name("r1", w.by_id("c"), "Ada");
    let first = decide(&w.process(), &name).await;
    let (process, duplicate) = (w.process(), w.again(&name));
    process.read_ahead(&duplicate).await;
    let (again, [_, writes]) = w.counted(decide(&process, &duplicate)).await;
    assert_replay(&again, &first);
    assert_eq!(writes, 0);
}

pub async fn an_unknown_id_that_is_read_ahead_is_refused_only_if_nobody_has_it_at_its_turn<S: ConditionalStore>(w: &World<S>) {
    let process = w.process();
    let (unknown, late) = (w.name("r1", w.by_id("c"), "Ada"), w.name("r2", w.by_id("d"), "Ada"));
    process.read_ahead(&unknown).await;
    process.read_ahead(&late).await;
    w.customer("d").await;
    let (decided, [_, writes]) = w.counted(decide(&process, &unknown)).await;
    assert_eq!((refused(&decided), writes), (&not_found(), 1));
    published(&decide(&process, &late).await);
}

pub async fn what_a_rename_names_is_read_ahead<S: ConditionalStore>(w: &World<S>) {
    w.account("a").await;
    let (process, rename) = (w.process(), w.rename("r1", w.by_id("a"), "x"));
    assert!(process.can_read_ahead(&rename));
    let ((), ahead) = w.counted(process.read_ahead(&rename)).await;
    let (decided, turn) = w.counted(decide(&process, &rename)).await;
    assert_eq!((ahead, turn), ([2, 0], [0, 2]), "[reads, writes]");
    published(&decided);
    assert_eq!(w.version(Account, "a").await, 2);
}
