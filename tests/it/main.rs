//! The integration tests: one binary, so that all of them share one real Kafka and one real Cassandra.
//!
//! They treat the processor as other systems do: they start its binary, write to and read from its topics with a client and a
//! schema of their own, and know nothing but the contract. `servers` starts what it runs against, `world` is an installation of
//! it, `crm` writes commands, `inbox` reads what comes out.

mod crm;
mod duplicates;
mod guarded;
mod inbox;
mod registry;
mod rejections;
mod servers;
mod smoke;
mod use_cases;
mod world;

/// The tokio runtime of the tests' own clients.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}
