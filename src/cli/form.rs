//! In which form a subcommand prints: for people at a terminal, as JSON where its output is piped or redirected.

use std::io::IsTerminal as _;

/// Flags that decide otherwise.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Form {
    /// Print JSON [default where the output is no terminal]
    #[arg(long)]
    json: bool,
    /// Print for people [default on a terminal]
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Form {
    /// True for JSON.
    pub fn is_json(self) -> bool {
        self.json || !self.text && !std::io::stdout().is_terminal()
    }
}
