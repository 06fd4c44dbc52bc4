//! The map: what lives where.

pub mod config;
pub mod domain;
pub mod flow;
pub mod kafka;
pub mod processor;
pub mod store;
pub mod telemetry;
pub mod wire;
