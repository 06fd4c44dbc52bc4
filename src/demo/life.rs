//! The scene that tells the life of a customer. She is created with an account and a subscriber, gets a name and a segment, is suspended,
//! gets another external id, and is deactivated in the end.

use super::commands::{by_external_id, command, creation, name, segment, state};
use super::promise::Promise::{self, Changed, ChangedAll, Refused, Replayed};
use super::show::Show;
use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use crate::toolbox::reply::DecodedReply;

/// Plays the scene.
pub async fn play(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("The life of a customer")?;
    comes_into_being(show).await?;
    grows(show).await?;
    ends(show).await
}

async fn comes_into_being(show: &mut Show<'_>) -> anyhow::Result<()> {
    let dora = creation(UseCase::CreateCustomer, "r-1", None, "c-dora");
    let dora = RawCommand { values: dora.values.clone().with(Attribute::Segment, Some("RESIDENTIAL".into())), ..dora };
    let given = vec![("externalId", None, "c-dora".into()), ("customerSegment", None, "RESIDENTIAL".into())];
    let created =
        show.ask("Dora signs a contract. Nobody imports her.", &dora, ChangedAll { changes: given, version: 1 }).await?;
    show.ask("The CRM sends it again. It is the same customer, not a second one.", &dora, Replayed(created.clone().into()))
        .await?;
    let account = show
        .ask(
            "She gets an account …",
            &creation(UseCase::CreateAccount, "r-1", Some(by_external_id("c-dora")), "a-dora"),
            below("a-dora", "customerRefId", &created),
        )
        .await?;
    let by_ref_id = RawReference { external_id: None, ref_id: Some(ref_id(&account)) };
    show.ask(
        "… and a telephone. The CRM names the account by its refId.",
        &creation(UseCase::CreateSubscriber, "r-1", Some(by_ref_id), "s-dora"),
        below("s-dora", "accountRefId", &account),
    )
    .await?;
    Ok(())
}

async fn grows(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.ask(
        "She opens a bakery.",
        &name("r-2", "c-dora", "Dora's Bakery"),
        Changed { field: "customName", old: None, new: "Dora's Bakery", version: 2 },
    )
    .await?;
    show.ask(
        "It grows.",
        &segment("r-3", "c-dora", "SMALL_BUSINESS"),
        Changed { field: "customerSegment", old: Some("RESIDENTIAL"), new: "SMALL_BUSINESS", version: 3 },
    )
    .await?;
    let both = vec![("state", Some("ACTIVE"), "SUSPENDED".into()), ("stateReason", None, "unpaid".into())];
    show.ask("A bill is not paid.", &state("r-4", "c-dora", "SUSPENDED", "unpaid"), ChangedAll { changes: both, version: 4 })
        .await?;
    show.ask(
        "Later there is another reason. The state has its date, and keeps it.",
        &state("r-5", "c-dora", "SUSPENDED", "insolvent"),
        Changed { field: "stateReason", old: Some("unpaid"), new: "insolvent", version: 5 },
    )
    .await?;
    Ok(())
}

async fn ends(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.ask(
        "The receiver gives her a number of his own.",
        &command(UseCase::UpdateCustomerExternalId, "r-6", "c-dora", "c-4711"),
        Changed { field: "externalId", old: Some("c-dora"), new: "c-4711", version: 6 },
    )
    .await?;
    show.ask(
        "The bakery closes.",
        &state("r-7", "c-4711", "DEACTIVATED", "insolvent"),
        Changed { field: "state", old: Some("SUSPENDED"), new: "DEACTIVATED", version: 7 },
    )
    .await?;
    show.ask(
        "Nothing leaves this state.",
        &state("r-8", "c-4711", "ACTIVE", "insolvent"),
        Refused(&[("CASM-STATE-DEACTIVATED", "customer")]),
    )
    .await?;
    show.ask(
        "Nor does she get another account.",
        &creation(UseCase::CreateAccount, "r-2", Some(by_external_id("c-4711")), "a-more"),
        Refused(&[("CASM-STATE-DEACTIVATED", "customer")]),
    )
    .await?;
    show.ask(
        "Her number stays taken.",
        &creation(UseCase::CreateCustomer, "r-2", None, "c-4711"),
        Refused(&[("CASM-EXTERNAL-ID-NOT-UNIQUE", "externalId")]),
    )
    .await?;
    Ok(())
}

/// Returns the promise that an entity comes into being below the one that `superior` tells of.
fn below(external_id: &str, field: &'static str, superior: &DecodedReply) -> Promise {
    ChangedAll { changes: vec![("externalId", None, external_id.into()), (field, None, ref_id(superior))], version: 1 }
}

/// Returns the refId of the entity that a reply is about; it is empty in a reply that is not as promised.
fn ref_id(reply: &DecodedReply) -> String {
    reply.business_transaction.as_ref().map(|transaction| transaction.ref_id.clone()).unwrap_or_default()
}
