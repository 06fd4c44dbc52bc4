//! Makes the outputs that an instance publishes for a record.

use crm_processor::domain::transaction::Transaction;
use crm_processor::flow::attempt::Why;
use crm_processor::flow::batch::{Publishable, Redirection};
use crm_processor::flow::{Partition, RecordId};
use crm_processor::store::claims::Decided;

/// The contents of a reply, as far as they matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was decided.
    Decided(Box<Decided>),
    /// The command did not pass request validation.
    Invalid,
    /// The record could not be read.
    Unreadable,
}

/// A partition of one of the topics that outputs go to.
pub type OutputPartition = (u8, Partition);

/// A record to be published, with the record of the command topic that it is for.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Output {
    /// A reply. With `named` it goes to a topic of the CRM's choice.
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

    /// Returns where the output goes. Outputs for commands with the same key go to the same partition of their topic.
    pub fn partition(&self) -> OutputPartition {
        let topic = match self {
            Self::Reply { named: false, .. } => 0,
            Self::Reply { named: true, .. } => 1,
            Self::Transaction { .. } => 2,
            Self::DeadLetter { .. } => 3,
        };
        (topic, self.of().partition)
    }

    /// Returns whether the broker refuses the output. It refuses one output of each record under `refusing`, and always the
    /// replies of every third record to topics of the CRM's choice.
    pub fn is_refused(&self, refusing: bool) -> bool {
        match self {
            Self::Reply { of, named, .. } => (*named && of.offset % 3 == 0) || (refusing && of.offset % 2 == 0),
            Self::Transaction { of, .. } | Self::DeadLetter { of } => refusing && of.offset % 2 == 1,
        }
    }
}

/// Returns all outputs that are published for one record.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    pub all: Vec<Output>,
    /// Whether they are dropped if one is refused; for a defect.
    pub dropped_if_refused: bool,
}

impl Publishable for Outputs {
    type Refused = ();

    fn weight(&self) -> usize {
        self.all.len()
    }

    /// As `processor` has it, where topics have names: a reply that is refused at a topic or a partition of the CRM's choice goes to the
    /// default topic.
    fn redirect(&mut self, _: RecordId, output: usize, _: Why) -> Redirection<()> {
        let has_other_place = match self.all.get_mut(output) {
            Some(Output::Reply { named, .. }) => std::mem::take(named),
            _ => false,
        };
        if !has_other_place && self.dropped_if_refused {
            self.all.clear();
        }
        Redirection { has_other_place: has_other_place || self.dropped_if_refused, report: () }
    }
}
