//! What the subcommands of `cli`, `demo` and `bench` share.
//!
//! | for | files |
//! |---|---|
//! | the command line | `flags`, `moment`, `lines` (files line by line), `interrupt` (Ctrl-C), `output` (what a tool says), `paint` (its colours), `state_file` (how far it has come) |
//! | Kafka as an administrator sees it | `reach`, `patience` (brokers that are not ready yet), `cluster`, `topics`, `replication` |
//! | records as a CRM or a tool sees them | `crm_client`, `reply`, `record`, `topic_reader`, `topic_scan`, `publisher`, `snapshots` |
//! | registry and store | `connect`, `database` (its nodes), `shown` (an entity as JSON), `trial` (one real read and write), `walk` (through all entities), `pace` (how fast, with a bar) |
//! | assessments | `assessment` (what `check` and `setup` think of a thing) |

pub mod assessment;
pub mod cluster;
pub mod connect;
pub mod crm_client;
pub mod database;
pub mod flags;
pub mod interrupt;
pub mod lines;
pub mod moment;
pub mod output;
pub mod pace;
pub mod paint;
pub mod patience;
pub mod publisher;
pub mod reach;
pub mod record;
pub mod replication;
pub mod reply;
pub mod shown;
pub mod snapshots;
pub mod state_file;
pub mod topic_reader;
pub mod topic_scan;
pub mod topics;
pub mod trial;
pub mod walk;

/// The exit code of a subcommand that failed.
pub const FAILED: u8 = 1;
/// The exit code for wrong usage (clap uses the same) and for a wrong configuration.
pub const WRONG_CONFIGURATION: u8 = 2;
