//! The servers that tests run on.

/// `host:port` of a real Cassandra or ScyllaDB. None: the caller is to return, the reason has been printed.
pub fn cassandra() -> Option<&'static str> {
    static ADDRESS: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let address = ADDRESS.get_or_init(|| std::env::var("CRM_TEST_CQL").ok()).as_deref();
    if address.is_none() {
        println!("skipped: CRM_TEST_CQL names no database");
    }
    address
}
