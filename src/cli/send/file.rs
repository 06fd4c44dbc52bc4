//! Sends the commands of a file, with many under way at once. Commands are written, and replies are printed, in the order of the file.

use super::line;
use crate::toolbox::crm_client::{CrmClient, NoReply, Submitted};
use crate::toolbox::flags::Form;
use crate::toolbox::lines::{Line, open, read_lines};
use crate::toolbox::output::{remark, say};
use crate::toolbox::paint::Paint;
use crate::toolbox::reply::DecodedReply;
use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many commands may wait for their replies at once: as many as the processor executes at once by default.
const WINDOW: usize = 256;
/// How many lines are read ahead.
const READ_AHEAD: usize = 1_024;

/// The reason why a line has no reply.
enum Unanswered {
    /// The line is no command; the text says why.
    BadLine(String),
    /// The command has no reply, whether it was sent or not.
    NoReply(NoReply),
}

/// The outcome of sending a file.
pub(super) struct SentFile {
    /// True if the status of each line is 200.
    pub all_ok: bool,
    /// The first command that got no reply in time, if there is one.
    pub no_reply: Option<NoReply>,
}

/// Sends the commands of the file at `path`, and prints the replies.
pub(super) async fn send(crm: &CrmClient, path: &Path, timeout: Duration, form: Form) -> anyhow::Result<SentFile> {
    let (input, _) = open(path)?;
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_lines(input, &sender));

    let lines = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|line| (line, receiver)));
    // Commands are submitted one after another, in the order of the lines; only the waiting goes on side by side.
    let answers = lines.map(|line| (line.number, submit(crm, line))).map(async |(number, submitted)| {
        let answer = match submitted {
            Ok(submitted) => submitted.reply(timeout).await.map_err(Unanswered::NoReply),
            Err(unanswered) => Err(unanswered),
        };
        (number, answer)
    });
    let mut answers = std::pin::pin!(answers.buffered(WINDOW));
    let mut sent = SentFile { all_ok: true, no_reply: None };
    let paint = Paint::for_stdout();
    while let Some((number, answer)) = answers.next().await {
        sent.all_ok &= answer.as_ref().is_ok_and(DecodedReply::is_ok);
        match answer {
            Ok(reply) if form.is_json() => say(reply.json),
            Ok(reply) => {
                let details = reply.details(paint).fold(String::new(), |all, detail| all + "\n  " + &detail);
                say(format_args!("{} {}{details}", paint.dim(format!("line {number}:")), reply.headline(paint)));
            }
            Err(Unanswered::BadLine(text)) => remark(format_args!("line {number}: {text}")),
            Err(Unanswered::NoReply(no_reply)) => {
                remark(format_args!("line {number}: {no_reply}"));
                let timed_out = Some(no_reply).filter(|no_reply| matches!(no_reply, NoReply::TimedOut { .. }));
                sent.no_reply = sent.no_reply.or(timed_out);
            }
        }
    }
    reading.await?.with_context(|| format!("reading {}", path.display()))?;
    Ok(sent)
}

fn submit(crm: &CrmClient, line: Line) -> Result<Submitted, Unanswered> {
    let text = line.text.map_err(Unanswered::BadLine)?;
    let outgoing = line::parse(&text).map_err(|findings| Unanswered::BadLine(findings.join("; ")))?;
    crm.submit(&outgoing.command, outgoing.key.as_deref(), outgoing.actor.as_ref()).map_err(Unanswered::NoReply)
}
