//! Sends the commands of a file, many under way at once. They are written in the order of the file, and so are their replies.

use super::line;
use crate::cli::crm_client::{CrmClient, NoReply, Submitted};
use crate::cli::lines::{Line, open, read_lines};
use crate::cli::reply::Reply;
use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Commands that wait for their replies at once: as many as the processor executes at once by default.
const WINDOW: usize = 256;
/// Lines read ahead.
const READ_AHEAD: usize = 1_024;

/// Why a line has no reply.
enum Finding {
    /// It is no command.
    BadLine(String),
    /// It was sent, or not.
    NoReply(NoReply),
}

/// Sends them, prints the replies; true if the status of each line is 200.
pub(super) async fn send(crm: &CrmClient, path: &Path, timeout: Duration) -> anyhow::Result<bool> {
    let (input, _) = open(path)?;
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_lines(input, &sender));

    let lines = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|line| (line, receiver)));
    // Submitted in the order in which lines are taken; only the waiting goes on side by side.
    let answers = lines.map(|line| (line.number, submit(crm, line))).map(async |(number, submitted)| {
        let answer = match submitted {
            Ok(submitted) => submitted.reply(timeout).await.map_err(Finding::NoReply),
            Err(finding) => Err(finding),
        };
        (number, answer)
    });
    let mut answers = std::pin::pin!(answers.buffered(WINDOW));
    let (mut all_ok, mut way_out) = (true, None);
    while let Some((number, answer)) = answers.next().await {
        all_ok &= answer.as_ref().is_ok_and(Reply::is_ok);
        match answer {
            Ok(reply) => writeln!(io::stdout(), "{}", reply.json)?,
            Err(Finding::BadLine(text)) => eprintln!("line {number}: {text}"),
            Err(Finding::NoReply(no_reply)) => {
                eprintln!("line {number}: {no_reply}");
                way_out = way_out.or(no_reply.way_out());
            }
        }
    }
    if let Some(way_out) = way_out {
        eprintln!("{way_out}");
    }
    reading.await?.with_context(|| format!("reading {}", path.display()))?;
    Ok(all_ok)
}

fn submit(crm: &CrmClient, line: Line) -> Result<Submitted, Finding> {
    let text = line.text.map_err(Finding::BadLine)?;
    let outgoing = line::parse(&text).map_err(|findings| Finding::BadLine(findings.join("; ")))?;
    crm.submit(&outgoing.command, outgoing.key.as_deref()).map_err(Finding::NoReply)
}
