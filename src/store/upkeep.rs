//! Operations of the command line on entities: [`import`], [`show`] and [`erase`]. They use the claim protocol, so processors may run
//! meanwhile.

pub mod erase;
pub mod import;
pub mod show;
