//! The binary: parses the command line, dispatches.

fn main() {}
