//! The servers themselves.

use crate::servers;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

#[test]
fn the_servers_start_and_answer() {
    let (Some(kafka), Some(cassandra)) = (servers::kafka(), servers::cassandra()) else { return };
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", kafka).create().expect("a consumer");
    let metadata = client.fetch_metadata(None, Duration::from_secs(30)).expect("metadata");
    assert_eq!(metadata.brokers().len(), 1, "brokers at {kafka}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let release = runtime.block_on(async {
        let session =
            scylla::client::session_builder::SessionBuilder::new().known_node(cassandra).build().await.expect("a session");
        let rows = session.query_unpaged("SELECT release_version FROM system.local", ()).await.expect("an answer");
        rows.into_rows_result().expect("rows").single_row::<(String,)>().expect("one row").0
    });
    assert!(!release.is_empty(), "release of {cassandra}");
}
