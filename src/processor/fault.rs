//! Why the processor can't go on in this process.

use crate::kafka::StartFault;
use crate::kafka::publishing::PublishingFault;

/// Why the processor can't go on in this process.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// A client or its thread could not be made.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// Too many publishers hang.
    #[error(transparent)]
    Publishing(#[from] PublishingFault),
    /// The command topic was deleted and made again, or its log was cut off: the offsets that this process knows belong to another log.
    #[error(
        "the command topic {topic} is not the one that it was: it was deleted and made again, or its log was cut off ({how}). The process \
         ends, to be started anew; then it reads the topic from its beginning. Commands of the old topic that were not answered are gone"
    )]
    TopicReplaced {
        /// The topic's name.
        topic: String,
        /// How that was noticed.
        how: String,
    },
    /// A part of the processor ended, which it never does unless it panics.
    #[error(
        "{part} ended because of a bug; the process ends, to be started anew: what it was processing will be processed again"
    )]
    PartEnded {
        /// The name of the part, with which the message begins.
        part: &'static str,
    },
    /// The consuming thread hangs, and it can't be replaced: the group knows its consumer.
    #[error(
        "the Kafka consumer has been in {call} for {seconds} s; the process ends, to be started anew: what it was processing will be \
         processed again"
    )]
    ConsumerStuck {
        /// The call that the thread is in.
        call: &'static str,
        /// How long that call has taken, in seconds.
        seconds: u64,
    },
}
