//! The cases of `bench`: the commands of each case, the entities that they are about, and their order.

use serde::{Deserialize, Serialize};

/// How many of a hundred commands of `mixed` are names, and how many are renames. The one that is left is rejected.
const MIXED_NAMES: u32 = 90;
const MIXED_RENAMES: u32 = 9;
/// The exponent of `skewed`: the most wanted key has about a seventh of 20,000 commands over 20,000 keys.
const ZIPF: f64 = 1.1;
/// The step that spreads the kinds of `mixed`. It has no divisor in common with a hundred, so that each place comes once.
const STRIDE: u32 = 37;

/// A case that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// New names, one customer after another
    Name,
    /// New segments, one customer after another
    Segment,
    /// New external ids, one account after another
    Rename,
    /// New states, one customer after another
    State,
    /// New accounts, below one customer after another
    Create,
    /// 90 % names, 9 % renames, 1 % rejected
    Mixed,
    /// New names, all for one customer
    Hot,
    /// New names, customers by Zipf's law (1.1)
    Skewed,
    /// New names, then all the same commands once more
    Duplicates,
    /// Refused, because the entity has another version
    Rejected,
}

/// The change that a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new name for a customer.
    Name,
    /// A new segment for a customer.
    Segment,
    /// A new external id for an account.
    Rename,
    /// A new state and a new reason for a customer.
    State,
    /// A new account below a customer.
    Create,
    /// A new name for a customer, on condition of a version that the customer does not have.
    Rejected,
}

/// A command of a case, before it is made into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseStep {
    /// The change that the command asks for.
    pub kind: Kind,
    /// The number of the customer, or account; for a creation, that of the customer below whom the account is created.
    pub entity: u32,
    /// The number of the request; the same for a duplicate.
    pub request: u32,
}

/// How many entities a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Customers from number 0.
    pub customers: u32,
    /// Accounts from number 0.
    pub accounts: u32,
}

impl Case {
    /// All cases, in the order in which they are run.
    pub const ALL: [Self; 10] = [
        Self::Name,
        Self::Segment,
        Self::Rename,
        Self::State,
        Self::Create,
        Self::Mixed,
        Self::Hot,
        Self::Skewed,
        Self::Duplicates,
        Self::Rejected,
    ];

    /// Returns the name of the case on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Segment => "segment",
            Self::Rename => "rename",
            Self::State => "state",
            Self::Create => "create",
            Self::Mixed => "mixed",
            Self::Hot => "hot",
            Self::Skewed => "skewed",
            Self::Duplicates => "duplicates",
            Self::Rejected => "rejected",
        }
    }

    /// Returns how many entities so many commands over so many keys need.
    pub fn needs(self, commands: u32, entities: u32) -> Needs {
        match self {
            Self::Hot => Needs { customers: 1, accounts: 0 },
            Self::Rename => Needs { customers: 0, accounts: entities },
            Self::Mixed => Needs { customers: entities, accounts: entities.min((commands / 100 + 1) * MIXED_RENAMES) },
            _ => Needs { customers: entities, accounts: 0 },
        }
    }

    /// Returns the commands, in the order in which they are written.
    pub fn steps(self, commands: u32, entities: u32) -> Vec<CaseStep> {
        let needs = self.needs(commands, entities);
        let mut zipf = (self == Self::Skewed).then(|| Zipf::new(entities));
        let mut renames = 0;
        let mut step = |n: u32| {
            let kind = self.kind(n);
            let entity = match (kind, self) {
                (Kind::Rename, _) => {
                    renames += 1;
                    (renames - 1) % needs.accounts
                }
                (_, Self::Duplicates) => (n % commands.div_ceil(2)) % needs.customers,
                _ => zipf.as_mut().map_or(n % needs.customers, Zipf::next),
            };
            CaseStep { kind, entity, request: if self == Self::Duplicates { n % commands.div_ceil(2) } else { n } }
        };
        (0..commands).map(&mut step).collect()
    }

    /// Returns one command for each entity of the case, so that the processor has seen them all.
    pub fn touch(self, commands: u32, entities: u32) -> Vec<CaseStep> {
        let Needs { customers, accounts } = self.needs(commands, entities);
        let of_customers = match self {
            Self::Segment => Kind::Segment,
            Self::State => Kind::State,
            _ => Kind::Name,
        };
        let all = (0..customers).map(|entity| (of_customers, entity)).chain((0..accounts).map(|entity| (Kind::Rename, entity)));
        all.zip(0..).map(|((kind, entity), request)| CaseStep { kind, entity, request }).collect()
    }

    fn kind(self, n: u32) -> Kind {
        match self {
            Self::Segment => Kind::Segment,
            Self::Rename => Kind::Rename,
            Self::State => Kind::State,
            Self::Create => Kind::Create,
            Self::Rejected => Kind::Rejected,
            Self::Mixed => match n % 100 * STRIDE % 100 {
                place if place < MIXED_NAMES => Kind::Name,
                place if place < MIXED_NAMES + MIXED_RENAMES => Kind::Rename,
                _ => Kind::Rejected,
            },
            Self::Name | Self::Hot | Self::Skewed | Self::Duplicates => Kind::Name,
        }
    }
}

/// A source of numbers below a bound, which draws the number k with a weight of 1 / (k + 1)^1.1. It draws the same numbers each time.
struct Zipf {
    /// The sum of the weights up to each number.
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(bound: u32) -> Self {
        let mut sum = 0.0;
        let weight = |k: u32| {
            sum += f64::from(k + 1).powf(-ZIPF);
            sum
        };
        Self { sums: (0..bound).map(weight).collect(), state: 1 }
    }

    fn next(&mut self) -> u32 {
        let drawn = self.uniform() * self.sums.last().copied().unwrap_or_default();
        let at = self.sums.partition_point(|sum| *sum <= drawn);
        u32::try_from(at.min(self.sums.len().saturating_sub(1))).unwrap_or_default()
    }

    /// Draws a number from 0 to 1, by `SplitMix64` (Steele, Lea and Flood, 2014).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        f64::from(u32::try_from(z >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn mixed_has_ninety_names_nine_renames_and_a_rejection_in_a_hundred() {
        let steps = Case::Mixed.steps(1000, 50);
        let count = |kind| steps.iter().filter(|s| s.kind == kind).count();
        assert_eq!([Kind::Name, Kind::Rename, Kind::Rejected].map(count), [900, 90, 10]);
    }

    #[test]
    fn each_command_of_duplicates_comes_twice() {
        let steps = Case::Duplicates.steps(200, 30);
        let (first, second) = steps.split_at(100);
        assert_eq!(first, second);
    }

    #[test]
    fn skewed_prefers_low_numbers_and_stays_below_the_bound() {
        let steps = Case::Skewed.steps(20_000, 1000);
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for step in &steps {
            *counts.entry(step.entity).or_default() += 1;
        }
        assert!(steps.iter().all(|s| s.entity < 1000));
        // 1 / (1 + 2^-1.1 + … + 1000^-1.1) of all.
        assert!((3300..3900).contains(&counts[&0]), "{}", counts[&0]);
        assert!(counts[&0] > counts[&1] && counts[&1] > counts[&10]);
    }

    #[test]
    fn no_case_is_about_an_entity_that_it_does_not_need() {
        for case in Case::ALL {
            for (commands, entities) in [(1, 1), (7, 3), (250, 1000)] {
                let needs = case.needs(commands, entities);
                for step in case.steps(commands, entities).iter().chain(&case.touch(commands, entities)) {
                    let bound = if step.kind == Kind::Rename { needs.accounts } else { needs.customers };
                    assert!(step.entity < bound, "{case:?} of {commands} over {entities}: {step:?}");
                }
                assert_eq!(case.steps(commands, entities).len(), commands as usize);
            }
        }
    }
}
