//! The map: what lives where.

pub mod domain;
pub mod store;
