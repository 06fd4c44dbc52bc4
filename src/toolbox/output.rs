//! The lines that a tool prints. Whoever reads them may have seen enough and closed the pipe (`setup | head -1`). The tool's work does not
//! depend on being read, so it goes on in silence.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Writes a line to standard output, if anybody still reads that.
pub fn say(line: impl Display) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// Writes a line to standard error, if anybody still reads that.
pub fn remark(line: impl Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
