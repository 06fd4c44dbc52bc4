//! The servers that tests run on.

/// `host:port` of a Cassandra.
pub fn cassandra() -> String {
    std::env::var("CRM_TEST_CQL").expect("CRM_TEST_CQL names a Cassandra by host:port")
}
