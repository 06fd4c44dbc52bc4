//! Tests a broker that its controller fences for a moment, as it does with one that has just started: meanwhile the broker says that
//! the cluster has no brokers. Clients that believe it must come back by themselves.

use crate::crm::{Entity, Kind, unique};
use crate::gateway::client::Gateway;
use crate::inbox::Inbox;
use crate::servers;
use crate::servers::own::OwnServer;
use crate::world::World;
use serde_json::json;
use std::time::Instant;

/// The broker tells its controller that it is there more rarely than it must. So it is fenced for 8 s in each 48: for longer than a
/// client waits until it asks about its topics again.
const FENCED_NOW_AND_THEN: &str = "broker.heartbeat.interval.ms=48000\nbroker.session.timeout.ms=40000";
const FORGOTTEN: &str = "a Kafka client has forgotten all brokers";

#[test]
fn a_broker_that_says_that_there_are_no_brokers_stops_nobody_for_long() {
    let Some(cassandra) = servers::cassandra() else { return };
    let Some(kafka) = OwnServer::kafka_with(FENCED_NOW_AND_THEN) else { return };
    let world = World::set_up_on(kafka.address(), cassandra, "fenced", |_| ());
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let processor = world.run();
    let gateway = Gateway::start(&world, &[]);
    let until_answered = |when: &str| {
        let request = unique("r");
        let command = json!({"requestId": request, "customer": customer.by_ref_id(), "customName": when});
        let deadline = Instant::now() + Inbox::PATIENCE;
        loop {
            let got = gateway.ask("/v1/updateCustomerCustomName", &[("prefer", "wait=5")], &command);
            if got.status == 200 {
                break;
            }
            let text = || format!("{when}: {got:?}\n{}\n{}", gateway.log(), processor.log_tail());
            assert!(matches!(got.status, 503 | 504) && Instant::now() < deadline, "{}", text());
            crate::pause();
        }
        // The reader of the test is such a client, too.
        world.inbox.first("the reply", |r| r.topic == world.replies && r.body["requestId"] == request.as_str());
    };

    until_answered("before");
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !(processor.log().contains(FORGOTTEN) && gateway.log().contains(FORGOTTEN)) {
        assert!(Instant::now() < deadline, "nobody has forgotten them: {}\n{}", gateway.log(), processor.log_tail());
        crate::pause();
    }
    until_answered("afterwards");
    processor.until_metric("crm_kafka_brokers_connected", 1);
}
