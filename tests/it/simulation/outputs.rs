//! What an instance publishes for a record.

use crm_processor::domain::transaction::Transaction;
use crm_processor::flow::RecordId;
use crm_processor::flow::batch::Weighed;
use crm_processor::store::claims::Decided;

/// A reply's contents, as far as they matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was decided.
    Decided(Box<Decided>),
    /// It did not pass request validation.
    Invalid,
    /// It could not be read.
    Unreadable,
}

/// A record to be published, with the record of the command topic that it is for.
#[derive(Clone, Debug)]
pub enum Output {
    /// `named`: to a topic of the CRM's choice.
    Reply {
        of: RecordId,
        reply: Reply,
        named: bool,
    },
    Transaction {
        of: RecordId,
        transaction: Transaction,
    },
    DeadLetter {
        of: RecordId,
    },
}

impl Output {
    pub fn of(&self) -> RecordId {
        match self {
            Self::Reply { of, .. } | Self::Transaction { of, .. } | Self::DeadLetter { of } => *of,
        }
    }

    /// Does the broker refuse it? Of records that come under `refusing`, one output each; and replies to topics of the CRM's
    /// choice in any case of every third.
    pub fn is_refused(&self, refusing: bool) -> bool {
        match self {
            Self::Reply { of, named, .. } => (*named && of.offset % 3 == 0) || (refusing && of.offset % 2 == 0),
            Self::Transaction { of, .. } | Self::DeadLetter { of } => refusing && of.offset % 2 == 1,
        }
    }
}

/// All that is published for one record.
#[derive(Clone, Debug, Default)]
pub struct Outputs(pub Vec<Output>);

impl Weighed for Outputs {
    fn weight(&self) -> usize {
        self.0.len()
    }
}
