//! The map: what lives where.

//! The map.
pub mod config;
pub mod domain;
pub mod flow;
pub mod store;
pub mod wire;
