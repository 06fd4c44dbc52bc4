//! The flags of one command, and the command that they make. Values are sent as they are: the processor checks them. Only what the use
//! case's record has no field for is refused here, because it can't be sent.

use super::line::{CommandToSend, new_request_id};
use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use crate::domain::values::Actor;
use crate::toolbox::crm_client::key_of;
use crate::toolbox::flags::actor;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// The flags that describe a single command.
#[derive(Debug, clap::Args)]
pub(super) struct CommandArgs {
    /// The use case, such as updateCustomerCustomName
    #[arg(value_name = "USE_CASE", required_unless_present = "file", value_parser = use_case())]
    use_case: Option<UseCase>,
    /// The entity's external id, in a creation that of the new entity
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    external_id: Option<String>,
    /// The entity's refId, a UUID
    #[arg(long, value_name = "UUID", allow_hyphen_values = true)]
    ref_id: Option<String>,
    /// In an update, the new value: a name, a segment, a state, an external id
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    value: Option<String>,
    /// Why the entity has or gets its state
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    reason: Option<String>,
    /// In a creation, the custom name
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    custom_name: Option<String>,
    /// In the creation of a customer, the segment
    #[arg(long, value_name = "CODE", allow_hyphen_values = true)]
    segment: Option<String>,
    /// In a creation, the state [default: ACTIVE]
    #[arg(long, value_name = "STATE", allow_hyphen_values = true)]
    state: Option<String>,
    /// In a creation, the external id of the customer to which the account belongs, or of the account to which the subscriber belongs
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    superior: Option<String>,
    /// In a creation, the refId of that customer or account, a UUID
    #[arg(long, value_name = "UUID", allow_hyphen_values = true)]
    superior_ref_id: Option<String>,
    /// Names the request, so that it is recognised when it comes again [default: a random UUID]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    request_id: Option<String>,
    /// In an update, the version that the entity must have
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    expected_version: Option<i64>,
    /// The user or program that asks. It goes into the header crm-actor, is stored, and is shown in the business transaction
    #[arg(long, value_name = "TEXT", value_parser = actor)]
    actor: Option<Actor>,
    /// The record's key: commands with the same key take effect in their order [default: the entity's id]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    key: Option<String>,
}

fn use_case() -> impl TypedValueParser<Value = UseCase> {
    let names = PossibleValuesParser::new(UseCase::ALL.iter().map(|u| u.name()));
    names.try_map(|name| UseCase::from_name(&name).ok_or("is no use case"))
}

impl CommandArgs {
    /// Returns the command, or `None` if the flags name no use case.
    ///
    /// # Errors
    /// Returns a sentence for each flag for which the use case's record has no field.
    pub(super) fn outgoing(self) -> Result<Option<CommandToSend>, Vec<String>> {
        let Some(use_case) = self.use_case else { return Ok(None) };
        let findings = self.misfits(use_case);
        if !findings.is_empty() {
            return Err(findings);
        }
        let Self { external_id, ref_id, value, reason, custom_name, segment, state, superior, superior_ref_id, .. } = self;
        let refers = |external_id: Option<String>, ref_id: Option<String>| {
            (external_id.is_some() || ref_id.is_some()).then_some(RawReference { external_id, ref_id })
        };
        let (reference, values) = if use_case.is_creation() {
            let values = use_case.first_value(external_id).with(Attribute::CustomName, custom_name);
            let values = values.with(Attribute::Segment, segment).with(Attribute::State, state);
            (refers(superior, superior_ref_id), values)
        } else {
            (refers(external_id, ref_id), use_case.first_value(value))
        };
        let request_id = Some(self.request_id.unwrap_or_else(new_request_id));
        let values = values.with(Attribute::StateReason, reason);
        let command = RawCommand { use_case, request_id, reference, values, expected_version: self.expected_version };
        Ok(Some(CommandToSend { key: self.key.or_else(|| key_of(&command)), command, actor: self.actor }))
    }

    /// Returns a sentence for each flag that is given although commands of this use case have no place for it.
    fn misfits(&self, use_case: UseCase) -> Vec<String> {
        let flags = [
            ("--ref-id", self.ref_id.is_some()),
            ("--value", self.value.is_some()),
            ("--reason", self.reason.is_some()),
            ("--custom-name", self.custom_name.is_some()),
            ("--segment", self.segment.is_some()),
            ("--state", self.state.is_some()),
            ("--superior", self.superior.is_some()),
            ("--superior-ref-id", self.superior_ref_id.is_some()),
            ("--expected-version", self.expected_version.is_some()),
        ];
        let given = flags.into_iter().filter_map(|(flag, is_given)| is_given.then_some(flag));
        given.filter_map(|flag| Some(format!("{} takes no {flag}: {}", use_case.name(), misfit(use_case, flag)?))).collect()
    }
}

/// Returns why commands of this use case have no place for what the flag brings, or `None` if they have one.
fn misfit(use_case: UseCase, flag: &str) -> Option<&'static str> {
    let creates = use_case.is_creation();
    let lacks = |attribute| !use_case.attributes().contains(&attribute);
    match flag {
        "--ref-id" if creates => Some("the refId of a new entity follows from its external id and the request id"),
        "--value" if creates => Some("each value of a creation has a flag of its own, such as --external-id and --custom-name"),
        "--expected-version" if creates => Some("an entity that is to be created has no version yet"),
        "--superior" | "--superior-ref-id" if !creates => Some("only a creation says to which entity another belongs"),
        "--superior" | "--superior-ref-id" if use_case.reference_type().is_none() => {
            Some("a customer belongs to no other entity")
        }
        "--custom-name" | "--segment" | "--state" if !creates => Some("the new value is given by --value"),
        "--segment" if lacks(Attribute::Segment) => Some("only customers have a segment"),
        "--reason" if lacks(Attribute::StateReason) => Some("a reason is only given for a state"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::RawValues;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        command: CommandArgs,
        #[arg(long)]
        file: bool,
    }

    fn parse(flags: &[&str]) -> CommandArgs {
        Line::try_parse_from(["send"].iter().chain(flags)).unwrap().command
    }

    fn outgoing(flags: &[&str]) -> CommandToSend {
        parse(flags).outgoing().unwrap().unwrap()
    }

    #[test]
    fn flags_become_a_command_with_a_key_and_a_request_id() {
        let sent = outgoing(&["updateAccountExternalId", "--external-id", "a-1", "--value", "a-2", "--actor", "Zoe"]);
        let CommandToSend { command, key, actor } = sent;
        assert_eq!((command.use_case, key.as_deref()), (UseCase::UpdateAccountExternalId, Some("a-1")));
        assert!(command.request_id.is_some_and(|id| !id.is_empty()));
        assert_eq!(command.values.get(Attribute::ExternalId), Some("a-2"));
        assert_eq!(actor.unwrap().as_str(), "Zoe");
    }

    #[test]
    fn a_creation_has_a_flag_for_each_value_and_its_own_external_id_is_the_key() {
        let flags = ["createCustomer", "--external-id", "c-1", "--custom-name", "Ann", "--segment", "ENTERPRISE"];
        let CommandToSend { command, key, .. } = outgoing(&[&flags[..], &["--state", "INACTIVE", "--reason", "new"]].concat());
        let values = RawValues::default().with(Attribute::ExternalId, Some("c-1".into()));
        let values = values.with(Attribute::CustomName, Some("Ann".into())).with(Attribute::Segment, Some("ENTERPRISE".into()));
        let values = values.with(Attribute::State, Some("INACTIVE".into())).with(Attribute::StateReason, Some("new".into()));
        assert_eq!((command.values, command.reference, key.as_deref()), (values, None, Some("c-1")));
        for (flag, reference) in [
            ("--superior", RawReference { external_id: Some("x".into()), ref_id: None }),
            ("--superior-ref-id", RawReference { external_id: None, ref_id: Some("x".into()) }),
        ] {
            for use_case in ["createAccount", "createSubscriber"] {
                let CommandToSend { command, key, .. } = outgoing(&[use_case, "--external-id", "e-1", flag, "x"]);
                assert_eq!((command.reference.as_ref(), key.as_deref()), (Some(&reference), Some("e-1")), "{use_case} {flag}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_null_and_what_is_wrong_may_be_sent() {
        for use_case in UseCase::ALL {
            let empty = outgoing(&[use_case.name(), "--request-id", ""]);
            let (request_id, values) = (Some(String::new()), RawValues::default());
            let expected = RawCommand { use_case: *use_case, request_id, reference: None, values, expected_version: None };
            assert_eq!(empty, CommandToSend { command: expected, key: None, actor: None });
        }
        let flags = ["updateCustomerSegment", "--external-id", "-1", "--ref-id", "-", "--expected-version", "-3", "--key", "k"];
        let both = outgoing(&flags);
        assert_eq!((both.command.expected_version, both.key.as_deref()), (Some(-3), Some("k")));
        let both = outgoing(&["createAccount", "--superior", "", "--superior-ref-id", "-", "--state", "GONE"]).command.reference;
        assert_eq!(both, Some(RawReference { external_id: Some(String::new()), ref_id: Some("-".into()) }));
    }

    #[test]
    fn each_flag_for_which_the_record_has_no_field_is_a_finding() {
        let of_creations = ["--custom-name=x", "--segment=x", "--state=x", "--superior=x", "--superior-ref-id=x"];
        let of_updates = ["--ref-id=x", "--value=x", "--expected-version=1"];
        for (use_case, misfits) in [
            ("createCustomer", [&of_updates[..], &of_creations[3..]].concat()),
            ("createAccount", [&of_updates[..], &["--segment=x"]].concat()),
            ("updateSubscriberState", of_creations.to_vec()),
            ("updateCustomerSegment", [&["--reason=x"], &of_creations[..]].concat()),
        ] {
            let all = [&of_updates[..], &of_creations, &["--reason=x", "--external-id=x", "--actor=x", "--key=x"]].concat();
            for flag in all {
                let sent = parse(&[use_case, flag]).outgoing();
                let name = flag.split('=').next().unwrap();
                match sent {
                    Ok(_) => assert!(!misfits.contains(&flag), "{use_case} {flag}"),
                    Err(findings) => {
                        assert!(misfits.contains(&flag), "{use_case}: {findings:?}");
                        assert!(findings.len() == 1 && findings[0].starts_with(&format!("{use_case} takes no {name}: ")));
                    }
                }
            }
            let findings = parse(&[&[use_case], &misfits[..]].concat()).outgoing().unwrap_err();
            assert_eq!(findings.len(), misfits.len(), "all at once: {findings:?}");
        }
    }

    #[test]
    fn without_a_use_case_there_is_no_command() {
        assert_eq!(parse(&["--file"]).outgoing(), Ok(None));
    }
}
