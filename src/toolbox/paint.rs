//! Lines for people, in colours at a terminal. Output that is piped or redirected stays plain, and so does all output if `NO_COLOR` is set
//! or the terminal is dumb.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};

/// A painter of text, which colours it or leaves it plain.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    /// Returns the painter for standard output.
    pub fn for_stdout() -> Self {
        Self::on(&std::io::stdout())
    }

    /// Returns the painter for standard error.
    pub fn for_stderr() -> Self {
        Self::on(&std::io::stderr())
    }

    fn on(stream: &impl IsTerminal) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb }
    }

    /// Returns the painter that leaves text plain.
    #[cfg(test)]
    pub const fn plain() -> Self {
        Self { colours: false }
    }

    /// Paints a heading.
    pub fn bold(self, text: impl Display) -> String {
        self.sgr("1", text)
    }

    /// Paints details.
    pub fn dim(self, text: impl Display) -> String {
        self.sgr("2", text)
    }

    /// Paints what went as asked.
    pub fn green(self, text: impl Display) -> String {
        self.sgr("32", text)
    }

    /// Paints what was refused.
    pub fn yellow(self, text: impl Display) -> String {
        self.sgr("33", text)
    }

    /// Paints what is wrong.
    pub fn red(self, text: impl Display) -> String {
        self.sgr("1;31", text)
    }

    /// Paints what was published.
    pub fn cyan(self, text: impl Display) -> String {
        self.sgr("36", text)
    }

    fn sgr(self, code: &str, text: impl Display) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Prints a line on standard output.
///
/// # Errors
/// Nobody reads it any more.
pub fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
