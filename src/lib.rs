//! The map: what lives where.

pub mod domain;
pub mod flow;
pub mod store;
pub mod wire;
