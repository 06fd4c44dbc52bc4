//! The story: the commands that the CRM sends, and what is promised about each answer.

use super::cast::ref_id;
use super::commands::{command, name, rename, segment};
use super::life;
use super::promise::Promise::{Changed, Refused, Replayed, Unchanged};
use super::show::Show;
use crate::domain::attribute::RawValues;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::entity::EntityType;
use crate::domain::use_case::UseCase;

/// Plays all scenes, in order.
pub async fn play(show: &mut Show<'_>) -> anyhow::Result<()> {
    names_and_segments(show).await?;
    duplicates(show).await?;
    mistakes(show).await?;
    refusals(show).await?;
    renames(show).await?;
    life::play(show).await?;
    a_race(show).await
}

async fn names_and_segments(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("Ann opens a shop")?;
    let flowers = "Ann's Flowers";
    show.ask(
        "She gives her contract a name.",
        &name("r-1", "c-ann", flowers),
        Changed { field: "customName", old: None, new: flowers, version: 2 },
    )
    .await?;
    show.ask("She asks for the same name once more. It is hers already.", &name("r-2", "c-ann", flowers), Unchanged).await?;
    let business = RawCommand { expected_version: Some(2), ..segment("r-3", "c-ann", "SMALL_BUSINESS") };
    show.ask(
        "Sales moves her to another segment, provided that nobody changed her in between.",
        &business,
        Changed { field: "customerSegment", old: Some("RESIDENTIAL"), new: "SMALL_BUSINESS", version: 3 },
    )
    .await?;
    let bob = RawReference { external_id: None, ref_id: Some(ref_id(EntityType::Customer, "c-bob").to_string()) };
    show.ask(
        "Bob is suspended, which keeps nobody from choosing a name. The CRM names him by his refId.",
        &RawCommand { reference: Some(bob), ..name("r-1", "", "Bob & Sons") },
        Changed { field: "customName", old: None, new: "Bob & Sons", version: 2 },
    )
    .await?;
    Ok(())
}

async fn duplicates(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("The network stutters")?;
    let command = segment("r-4", "c-ann", "ENTERPRISE");
    let first = show
        .ask(
            "Ann grows again.",
            &command,
            Changed { field: "customerSegment", old: Some("SMALL_BUSINESS"), new: "ENTERPRISE", version: 4 },
        )
        .await?;
    show.ask("The CRM did not see the reply and sends the command again.", &command, Replayed(first.into())).await?;
    show.ask(
        "By mistake, it uses that request id for something else, too.",
        &segment("r-4", "c-ann", "RESIDENTIAL"),
        Refused(&[("CASM-REQUEST-ID-REUSED", "requestId")]),
    )
    .await?;
    Ok(())
}

async fn mistakes(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("A new developer joins the CRM team")?;
    let use_case = UseCase::UpdateCustomerCustomName;
    show.ask(
        "The first command has nothing in it. All findings come at once.",
        &RawCommand { use_case, request_id: None, reference: None, values: RawValues::default(), expected_version: None },
        Refused(&[
            ("CASM-MANDATORY-ATTRIBUTE", "requestId"),
            ("CASM-MANDATORY-ATTRIBUTE", "customer"),
            ("CASM-MANDATORY-ATTRIBUTE", "customName"),
        ]),
    )
    .await?;
    let both = RawReference { external_id: Some("c-ann".into()), ref_id: Some("4711".into()) };
    show.ask(
        "The second has too much.",
        &RawCommand { reference: Some(both), expected_version: Some(-1), ..name(" r-5", "", "Ann\u{7}") },
        Refused(&[
            ("CASM-INVALID-ATTRIBUTE", "requestId"),
            ("CASM-INVALID-ATTRIBUTE", "customer"),
            ("CASM-INVALID-ATTRIBUTE", "customer.refId"),
            ("CASM-INVALID-ATTRIBUTE", "customName"),
            ("CASM-INVALID-ATTRIBUTE", "expectedVersion"),
        ]),
    )
    .await?;
    show.ask(
        "The third has a segment that is nearly right.",
        &segment("r-6", "c-ann", "Enterprise"),
        Refused(&[("CASM-SEGMENT-NOT-CONFIGURED", "customerSegment")]),
    )
    .await?;
    show.send_garbage(
        "The fourth is JSON where Avro belongs.",
        r#"{"customer": "c-ann", "customName": "Ann"}"#,
        Refused(&[("CASM-RECORD-UNREADABLE", "")]),
    )
    .await
}

async fn refusals(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("What must not be is refused")?;
    show.ask(
        "Nobody has this id.",
        &name("r-1", "c-nobody", "Nobody"),
        Refused(&[("CASM-ENTITY-NOT-FOUND", "customer.externalId")]),
    )
    .await?;
    show.ask(
        "This customer has left for good.",
        &name("r-1", "c-gone", "Back again"),
        Refused(&[("CASM-STATE-DEACTIVATED", "customer")]),
    )
    .await?;
    show.ask(
        "The CRM decided this on values that are old by now.",
        &RawCommand { expected_version: Some(1), ..name("r-7", "c-ann", "Ann's Bouquets") },
        Refused(&[("CASM-VERSION-CONFLICT", "expectedVersion")]),
    )
    .await?;
    show.ask(
        "Another account has the id that this one asks for.",
        &rename("r-1", "a-200", "a-300"),
        Refused(&[("CASM-EXTERNAL-ID-NOT-UNIQUE", "externalId")]),
    )
    .await?;
    Ok(())
}

async fn renames(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("External ids move")?;
    let command = rename("r-1", "a-100", "a-900");
    let first = show
        .ask(
            "Account a-100 becomes a-900.",
            &command,
            Changed { field: "externalId", old: Some("a-100"), new: "a-900", version: 2 },
        )
        .await?;
    show.ask(
        "From now on the old id leads nowhere.",
        &rename("r-2", "a-100", "a-901"),
        Refused(&[("CASM-ENTITY-NOT-FOUND", "account.externalId")]),
    )
    .await?;
    show.ask(
        "It is free at once: another account takes it.",
        &rename("r-3", "a-600", "a-100"),
        Changed { field: "externalId", old: Some("a-600"), new: "a-100", version: 2 },
    )
    .await?;
    show.ask(
        "The very first command arrives once more, under an id that is somebody else's by now. It is still recognised.",
        &command,
        Replayed(first.into()),
    )
    .await?;
    Ok(())
}

async fn a_race(show: &mut Show<'_>) -> anyhow::Result<()> {
    show.scene("Five accounts, one golden number")?;
    let accounts = ["a-100", "a-200", "a-300", "a-400", "a-500"];
    let commands: Vec<_> = accounts.iter().map(|account| rename(&format!("{account}-gold"), account, "7777777")).collect();
    show.race(
        "All ask for it at the same time, under keys of their own. Exactly one gets it.",
        &commands,
        Refused(&[("CASM-EXTERNAL-ID-NOT-UNIQUE", "externalId")]),
    )
    .await?;
    show.ask(
        "A subscriber may have the same number: ids are unique per type.",
        &command(UseCase::UpdateSubscriberExternalId, "r-1", "s-1", "7777777"),
        Changed { field: "externalId", old: Some("s-1"), new: "7777777", version: 2 },
    )
    .await?;
    Ok(())
}
