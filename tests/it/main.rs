//! The integration tests: one binary, so that all of them share one real Kafka and one real Cassandra.

mod guarded;
mod servers;
mod smoke;
