//! The keys of `[store]` about data centres: which one is asked, and which ones agree on a write. The right value of one key depends on
//! the others, so they are read together.

use super::given::{boolean, text};
use super::reader::Section;

/// The data centres that agree on a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialConsistency {
    /// `serial`: all data centres agree. External ids are unique everywhere.
    Serial,
    /// `local_serial`: one data centre agrees alone. If two data centres take commands, external ids are no longer unique.
    LocalSerial,
}

/// The number of replicas that must have a conditional write, once it is agreed on, before it is acknowledged. A plain read asks as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitConsistency {
    /// `quorum`: more than half of all replicas.
    Quorum,
    /// `local_quorum`: more than half of the replicas in the data centre of the node that is asked.
    LocalQuorum,
}

/// The values of these keys; [`Cql`](super::store::Cql) explains each.
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
    let serial_consistency = s.choice("serial_consistency", SerialConsistency::Serial, &named, "is not a serial consistency");
    let follows = match serial_consistency {
        SerialConsistency::Serial => CommitConsistency::Quorum,
        SerialConsistency::LocalSerial => CommitConsistency::LocalQuorum,
    };
    let named = [("quorum", CommitConsistency::Quorum), ("local_quorum", CommitConsistency::LocalQuorum)];
    let consistency = s.choice("consistency", follows, &named, "is not a consistency of commits and plain reads");
    let datacenter_failover = s.value("datacenter_failover", false, "true or false", |given| {
        let failover = boolean(given)?;
        if failover && serial_consistency == SerialConsistency::LocalSerial {
            // With a failover, commands would be applied twice.
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
