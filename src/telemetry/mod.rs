//! What operators see of a process: metrics, health, logs and traces. None of these holds personal data such as custom names or external
//! ids, except logs at debug level and below.

pub mod admin;
pub mod concerns;
pub mod gathered;
pub mod health;
pub mod labels;
pub mod log;
pub mod metrics;
pub mod otlp;
pub mod process;
pub mod series;
pub mod spans;
pub mod store_health;
pub mod trace_context;
pub mod watchdog;
pub mod wording;
