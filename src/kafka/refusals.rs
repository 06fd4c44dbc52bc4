//! Outputs that the broker does not take: which errors say so, and which of several outputs that were refused together is to blame.

use super::{Output, Outputs};
use crate::flow::attempt::{Refusal, Why};
use crate::flow::batch::Finished;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::{BTreeMap, BTreeSet};

/// Returns what is wrong with an output, if the broker's error is about one record or one topic, so that sending the record again can't
/// help. Returns `None` for all other errors.
pub fn why(code: Code) -> Option<Why> {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Some(Why::TooLarge),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Some(Why::Missing),
        Code::TopicAuthorizationFailed => Some(Why::Denied),
        Code::InvalidMessage | Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTopic | Code::InvalidTimestamp => {
            Some(Why::Invalid)
        }
        _ => None,
    }
}

/// Returns the refusal of the output with this index, counted across the outputs of all records.
pub fn refusal<M>(records: &[Finished<Outputs<M>>], index: usize, why: Why) -> Refusal {
    let outputs_of = |(record, finished): (usize, &Finished<Outputs<M>>)| {
        let outputs = 0..finished.outputs.outputs.len();
        outputs.map(move |output| (record, output))
    };
    let mut outputs = records.iter().enumerate().flat_map(outputs_of);
    let (record, output) = outputs.nth(index).expect("the index was counted through the same records");
    Refusal { record, output, why }
}

/// Returns the refusals of the outputs that are to blame, one for each. If a batch is too large, the broker refuses all its outputs; of
/// these only the largest of each topic is taken for the culprit. If others are too large, too, that shows when the rest is tried again.
pub fn culprits<M>(records: &[Finished<Outputs<M>>], refusals: &BTreeSet<Refusal>) -> Vec<Refusal> {
    let output = |r: &Refusal| &records[r.record].outputs.outputs[r.output];
    let size = |r: &Refusal| output(r).size();
    let (too_large, mut culprits): (Vec<Refusal>, Vec<Refusal>) = refusals.iter().partition(|r| r.why == Why::TooLarge);
    culprits.dedup_by_key(|r| (r.record, r.output));
    let mut largest: BTreeMap<&str, Refusal> = BTreeMap::new();
    for refusal in too_large {
        let largest = largest.entry(&output(&refusal).topic).or_insert(refusal);
        if size(&refusal) > size(largest) {
            *largest = refusal;
        }
    }
    culprits.extend(largest.into_values());
    culprits
}

/// Returns the largest output, which is taken for the culprit if the broker does not take the records and does not say why. Returns
/// `None` if there is no output.
pub fn largest<M>(records: &[Finished<Outputs<M>>]) -> Option<Refusal> {
    let outputs = |(record, finished): (usize, &Finished<Outputs<M>>)| {
        let sizes = finished.outputs.outputs.iter().map(Output::size).enumerate();
        sizes.map(|(output, size)| (size, Refusal { record, output, why: Why::Silent })).collect::<Vec<_>>()
    };
    records.iter().enumerate().flat_map(outputs).max().map(|(_, refusal)| refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::RecordId;
    use crate::kafka::{Fallback, OutputKind};

    /// Returns records with outputs of these topics and sizes.
    fn records(outputs: &[&[(&str, usize)]]) -> Vec<Finished<Outputs<()>>> {
        let output = |(topic, size): &(&str, usize)| Output {
            kind: OutputKind::Reply,
            topic: (*topic).into(),
            partition: None,
            key: None,
            value: Some(vec![0; *size].into()),
            headers: Vec::new(),
            fallback: Fallback::None,
        };
        (0..)
            .zip(outputs)
            .map(|(offset, outputs)| Finished {
                at: RecordId { partition: 0, offset },
                outputs: Outputs { outputs: outputs.iter().map(output).collect(), memo: () },
            })
            .collect()
    }

    #[test]
    fn an_index_is_counted_across_the_outputs_of_all_records() {
        let records = records(&[&[("replies", 1), ("transactions", 1)], &[], &[("replies", 1)]]);
        let found = |index| {
            let Refusal { record, output, .. } = refusal(&records, index, Why::Missing);
            (record, output)
        };
        assert_eq!([found(0), found(1), found(2)], [(0, 0), (0, 1), (2, 0)]);
    }

    #[test]
    fn of_outputs_refused_for_their_size_the_largest_of_each_topic_is_to_blame() {
        let records = records(&[&[("dlq", 10), ("replies", 30)], &[("replies", 900)], &[("replies", 40), ("dlq", 20)]]);
        let refusal = |record, output, why| Refusal { record, output, why };
        let size = Why::TooLarge;
        let check = |refused: &[Refusal], to_blame: &[(usize, usize)]| {
            let got: Vec<_> =
                culprits(&records, &refused.iter().copied().collect()).iter().map(|r| (r.record, r.output)).collect();
            assert_eq!(got, to_blame, "{refused:?}");
        };
        check(&[refusal(0, 1, size), refusal(1, 0, size), refusal(2, 0, size)], &[(1, 0)]);
        check(&[refusal(0, 0, size), refusal(0, 1, size), refusal(2, 0, size), refusal(2, 1, size)], &[(2, 1), (2, 0)]);
        let missing = Why::Missing;
        check(&[refusal(0, 0, missing), refusal(2, 1, missing)], &[(0, 0), (2, 1)]);
    }
}
