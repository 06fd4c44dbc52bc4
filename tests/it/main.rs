//! The integration tests: one binary, a file for each subject.

mod architecture;
//! The integration tests: one binary, a file per subject.

mod conformance;
mod cql;
mod embedded;
mod servers;
//! The integration tests: one binary, a file per subject.

mod protocol;
