//! The keys of `store` that are about data centres: which one is asked, and which of them agree on a write. They hang together:
//! what is right for one depends on the others.

use super::given::{boolean, text};
use super::reader::Section;

/// Where conditional writes are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialConsistency {
    /// `serial`: by all data centres. External ids are unique everywhere.
    Serial,
    /// `local_serial`: by one data centre. With two that take commands, uniqueness is given up.
    LocalSerial,
}

/// How many replicas must have a conditional write, once it is agreed on, before it is acknowledged; as many are asked by a
/// plain read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitConsistency {
    /// `quorum`: most of all replicas.
    Quorum,
    /// `local_quorum`: most of the replicas in the data centre of the node that is asked.
    LocalQuorum,
}

/// Which data centre is asked, and which of them agree.
pub(super) struct Datacenters {
    pub local_datacenter: Option<String>,
    pub datacenter_failover: bool,
    pub serial_consistency: SerialConsistency,
    pub consistency: CommitConsistency,
}

/// Reads the keys of `store` that are about data centres.
pub(super) fn datacenters(s: &mut Section<'_>) -> Datacenters {
    let local_datacenter = s.optional("local_datacenter", "the name of a data centre", text);
    let named = [("serial", SerialConsistency::Serial), ("local_serial", SerialConsistency::LocalSerial)];
    let serial_consistency = s.choice("serial_consistency", SerialConsistency::Serial, &named, "is no serial consistency");
    let follows = match serial_consistency {
        SerialConsistency::Serial => CommitConsistency::Quorum,
        SerialConsistency::LocalSerial => CommitConsistency::LocalQuorum,
    };
    let named = [("quorum", CommitConsistency::Quorum), ("local_quorum", CommitConsistency::LocalQuorum)];
    let consistency = s.choice("consistency", follows, &named, "is no consistency of commits and plain reads");
    let datacenter_failover = s.value("datacenter_failover", false, "true or false", |given| {
        let failover = boolean(given)?;
        if failover && serial_consistency == SerialConsistency::LocalSerial {
            // Commands would be applied twice.
            return Err("must be false with serial_consistency = \"local_serial\": the other data centre may not know what was \
                        decided"
                .to_owned());
        }
        if failover && local_datacenter.is_none() {
            return Err("has no meaning without local_datacenter: nodes of all data centres are asked then".to_owned());
        }
        Ok(failover)
    });
    Datacenters { local_datacenter, datacenter_failover, serial_consistency, consistency }
}
