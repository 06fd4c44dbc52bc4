//! Clients that have forgotten all brokers.
//!
//! A broker that has just started, or that its controller has fenced for a moment, may answer that the cluster has no brokers. librdkafka
//! (since 2.10; its issue 5301) believes that. It forgets all brokers, those of `bootstrap.servers` too, and never connects again. Its
//! statistics show that state, and telling it of the brokers again ends it. So each client that lives long looks at its own statistics
//! ([`Bootstrap::seen`]), and its owner calls [`Bootstrap::remind`] now and then.
//!
//! A producer in transactions needs none of this: its next transaction fails, and another producer takes its place.

#![allow(unsafe_code, reason = "rdkafka offers no way to tell a client of brokers")]

use rdkafka::client::Client;
use rdkafka::consumer::ConsumerContext;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, ClientContext, bindings};
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The time between two statistics of a client, in milliseconds. A client that has forgotten all brokers notices it within this time.
const STATISTICS_INTERVAL_MS: &str = "1000";

/// The brokers that a client begins with, and whether it has forgotten all brokers.
#[derive(Debug)]
pub struct Bootstrap {
    servers: CString,
    forgotten: AtomicBool,
}

impl Bootstrap {
    /// Takes `bootstrap.servers` from a client's properties, before the client is made, and lets the client make statistics, because only
    /// these show that it has forgotten all brokers.
    pub fn of(config: &mut ClientConfig) -> Self {
        config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
        let servers = config.get("bootstrap.servers").unwrap_or_default();
        // librdkafka takes no servers with a NUL, so that there is no client with them.
        Self { servers: CString::new(servers).unwrap_or_default(), forgotten: AtomicBool::new(false) }
    }

    /// Takes note of whether the client knows any broker.
    pub fn seen(&self, statistics: &Statistics) {
        // The group coordinator is listed as a "logical" broker, which has no address of its own.
        let knows_any = statistics.brokers.values().any(|broker| ["configured", "learned"].contains(&broker.source.as_str()));
        self.forgotten.store(!knows_any, Relaxed);
    }

    /// Tells the client of its first brokers again, if it has forgotten all brokers. Returns before the client is connected to them.
    pub fn remind<C: ClientContext>(&self, client: &Client<C>) {
        // A client that knows its brokers must not be told of them: it would add them once more.
        if self.forgotten.swap(false, Relaxed) {
            tracing::warn!(
                "a Kafka client has forgotten all brokers, because one of them said that there are none; it is told of bootstrap.servers again"
            );
            // SAFETY: the pointer is the live client's, whose functions may be called from any thread; it copies the text.
            unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), self.servers.as_ptr()) };
        }
    }
}

/// The callbacks of a client that needs no others than those of [`Bootstrap`].
#[derive(Debug)]
pub struct Reminded(pub Arc<Bootstrap>);

impl ClientContext for Reminded {
    fn stats(&self, statistics: Statistics) {
        self.0.seen(&statistics);
    }
}

impl ConsumerContext for Reminded {}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Broker;
    use std::collections::HashMap;

    #[test]
    fn a_client_without_any_broker_but_its_coordinator_has_forgotten_them() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "a:9092,b:9092");
        let bootstrap = Bootstrap::of(&mut config);
        assert_eq!(config.get("statistics.interval.ms"), Some(STATISTICS_INTERVAL_MS));
        assert_eq!(bootstrap.servers.to_str(), Ok("a:9092,b:9092"));
        for (sources, forgotten) in [
            (&["logical"][..], true),
            (&["configured", "logical"], false),
            (&["learned"], false),
            (&["internal", "logical"], true),
            (&[], true),
        ] {
            let broker = |source: &&str| ((*source).to_owned(), Broker { source: (*source).into(), ..Broker::default() });
            let brokers: HashMap<_, _> = sources.iter().map(broker).collect();
            bootstrap.seen(&Statistics { brokers, ..Statistics::default() });
            assert_eq!(bootstrap.forgotten.load(Relaxed), forgotten, "{sources:?}");
        }
    }
}
