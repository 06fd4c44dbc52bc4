//! Reads over HTTP: an entity, its history, and what became of a request. The bodies have the form of `crm-processor
//! show --json`, or that of replies.

use super::headers::{has_already, wants_latest};
use super::problem::{self, Problem, RETRY_AFTER, with};
use super::reply::{JsonReply, etag};
use super::route::{Page, page_before};
use crate::domain::Timestamp;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::values::RequestId;
use crate::store::claims::{Claims, Freshness};
use crate::store::{ConditionalStore, EntityKey, StoreFault};
use crate::toolbox::shown;
use axum::body::Bytes;
use axum::http::header::{self, HeaderMap};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// Reads from a store for one request.
pub struct StoreReader<'a, S> {
    /// The claim protocol over the store.
    pub claims: &'a Claims<S>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

impl<S: ConditionalStore> StoreReader<'_, S> {
    /// Answers with the present values of an entity.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn entity(&self, entity_type: EntityType, reference: &Reference) -> Result<Response<Bytes>, StoreFault> {
        let Some(statics) = self.claims.find(entity_type, reference, self.freshness()).await? else {
            return Ok(no_such_entity(entity_type));
        };
        let version = statics.entity.version;
        Ok(self.unless_known(version, || json!({ "entity": shown::entity(statics.entity), "version": version })))
    }

    /// Answers with a page of an entity's changes, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn history(&self, entity_type: EntityType, ref_id: Uuid, page: Page) -> Result<Response<Bytes>, StoreFault> {
        let Some(statics) = self.claims.find(entity_type, &Reference::RefId(ref_id), self.freshness()).await? else {
            return Ok(no_such_entity(entity_type));
        };
        let version = statics.entity.version;
        let changes = self.claims.changes(EntityKey { entity_type, ref_id }).await?;
        // Changes that came after the entity was read belong to a version that the tag does not name.
        let before = page.before.unwrap_or(i64::MAX).min(version + 1);
        let mut shown = changes.iter().rev().filter(|change| change.version < before);
        let entries: Vec<_> = shown.by_ref().take(page.limit).collect();
        let next = entries.last().filter(|_| shown.next().is_some());
        let next = next.map(|last| format!("<{}>; rel=\"next\"", page_before(entity_type, ref_id, last.version, page.limit)));
        let response =
            self.unless_known(version, || json!({ "history": entries.into_iter().map(shown::change).collect::<Vec<_>>() }));
        Ok(match next {
            Some(next) => with(response, header::LINK, next),
            None => response,
        })
    }

    /// Answers with the reply that a duplicate of a request would get now.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn outcome(
        &self,
        entity_type: EntityType,
        reference: &Reference,
        request_id: &RequestId,
        contents: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Response<Bytes>, StoreFault> {
        let answer = self.claims.answer_to(entity_type, reference, request_id, contents, self.freshness()).await?;
        let Some(answer) = answer else {
            let detail = "this request has no outcome so far: it may still be on its way, or it was never sent, or its outcome has expired";
            let problem = Problem::new(StatusCode::NOT_FOUND, "no-outcome", detail).about(Some(request_id.as_str()), None);
            return Ok(with(problem.response(), header::RETRY_AFTER, RETRY_AFTER));
        };
        let reply = JsonReply::replay(request_id, &answer, now);
        if let Some(version) = reply.version().filter(|version| has_already(self.headers, *version)) {
            return Ok(not_modified(version));
        }
        Ok(reply.found())
    }

    fn freshness(&self) -> Freshness {
        if wants_latest(self.headers) { Freshness::Latest } else { Freshness::Quorum }
    }

    fn unless_known(&self, version: i64, body: impl FnOnce() -> Value) -> Response<Bytes> {
        if has_already(self.headers, version) {
            return not_modified(version);
        }
        with(problem::json(StatusCode::OK, &body()), header::ETAG, etag(version))
    }
}

fn not_modified(version: i64) -> Response<Bytes> {
    let mut response = with(Response::new(Bytes::new()), header::ETAG, etag(version));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn no_such_entity(entity_type: EntityType) -> Response<Bytes> {
    let detail = format!("there is no such {entity_type} (an external id that was given up does not lead to its entity)");
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail).response()
}
