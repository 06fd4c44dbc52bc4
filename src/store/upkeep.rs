//! What the command line does with entities, over the protocol and beside processors that run: [`import`], [`show`], [`erase`].

pub mod erase;
pub mod import;
pub mod show;
