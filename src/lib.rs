//! `crm-processor` applies a CRM's commands from Kafka to ScyllaDB and publishes Business Transactions, each change exactly
//! once.
//!
//! The map; dependencies point down only:
//!
//! | module | what lives there |
//! |---|---|
//! | [`cli`] | a file or a folder for each subcommand; where everything is put together |
//! | `bench`, `demo` | the benchmark, and the show without servers |
//! | `gateway` | commands and reads over HTTP, beside the processor |
//! | `toolbox` | what subcommands, gateway, benchmark and demo share |
//! | [`processor`] | the loop: records in, decisions, outputs; where bugs are caught |
//! | [`kafka`] | the consuming and the publishing thread |
//! | [`store`] | the claim protocol, and the databases that it runs on |
//! | [`wire`] | Avro in and out, headers, the schema registry |
//! | [`telemetry`] | metrics, health, logs |
//! | [`config`] | one typed configuration, with every finding at once |
//! | [`flow`] | the stream's state machines, pure: lanes, offsets, group commit |
//! | [`domain`] | the business rules, pure: commands, entities, decisions |
//! | `pauses` | the back-off between attempts |
//! | [`fail_points`] | the places at which a test build can be told to die; other builds have none |
//!
//! A command's way: [`kafka::consumer`] reads its record, [`processor`] decodes it with [`wire::command`] and validates it
//! with [`domain::command`]; [`flow`] gives it a turn in the lane of its key; [`store::claims`] decides it with one
//! conditional write; [`kafka::publisher`] commits its reply, its Business Transaction and its offset in one transaction.

#[cfg(test)]
mod allocated;
mod bench;
pub mod cli;
pub mod config;
mod demo;
pub mod domain;
pub mod fail_points;
pub mod flow;
mod gateway;
pub mod kafka;
mod pauses;
pub mod processor;
pub mod store;
pub mod telemetry;
mod toolbox;
pub mod wire;
