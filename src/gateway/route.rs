//! Which resource a request is about, told by its method, path and query, and where the outcome of a request is found.

use super::problem::Problem;
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::use_case::UseCase;
use crate::domain::values::{ExternalId, RequestId, parse_ref_id};
use axum::http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt::Display;
use uuid::Uuid;

/// How many changes a page of a history has unless the client says otherwise.
pub const PAGE: usize = 100;
/// The most changes that a page may have: their texts at their longest make some 2 MiB.
pub const LARGEST_PAGE: usize = 1000;
/// The characters that stand for themselves in paths and queries.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A document that is the same for everybody.
    Document(Document),
    /// A resource for clients that show who they are, if the gateway asks for that.
    Guarded(Guarded),
}

/// A resource for clients that show who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// A command of this use case.
    Command(UseCase),
    /// A question, which the store answers.
    Question(Question),
}

/// A question that is answered from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The present values of an entity.
    Entity(EntityType, Reference),
    /// A page of the changes of an entity, newest first.
    History(EntityType, Uuid, Page),
    /// The outcome of a request.
    Outcome(EntityType, Reference, RequestId, Option<Uuid>),
}

impl Route {
    /// Returns what kind of request leads here, without anything of what it asks for.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Guarded(Guarded::Command(use_case)) => use_case.name(),
            Self::Guarded(Guarded::Question(Question::Entity(..))) => "entity",
            Self::Guarded(Guarded::Question(Question::History(..))) => "history",
            Self::Guarded(Guarded::Question(Question::Outcome(..))) => "outcome",
            Self::Document(Document::Json | Document::Yaml) => "description",
            Self::Document(Document::Page | Document::Style | Document::Script) => "page",
        }
    }
}

/// What everybody may read: the description of the API, and the page for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The description as JSON.
    Json,
    /// The description as YAML.
    Yaml,
    /// The page for people.
    Page,
    /// The page's style sheet.
    Style,
    /// The page's program.
    Script,
}

impl Document {
    /// All documents, each with its path.
    pub const ALL: [(&'static str, Self); 5] = [
        ("/openapi.json", Self::Json),
        ("/openapi.yaml", Self::Yaml),
        ("/", Self::Page),
        ("/page.css", Self::Style),
        ("/page.js", Self::Script),
    ];
}

/// A page of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only changes that led to a version before this one are shown. `None` if the newest change comes first.
    pub before: Option<i64>,
    /// The most changes that are shown.
    pub limit: usize,
}

/// A request that leads to no resource.
#[derive(Clone, Debug)]
pub struct Astray {
    /// What the client is told.
    pub problem: Box<Problem>,
    /// The methods that the path takes. `None` unless the method alone is wrong.
    pub allow: Option<&'static str>,
}

impl From<Problem> for Astray {
    fn from(problem: Problem) -> Self {
        Self { problem: problem.into(), allow: None }
    }
}

impl Route {
    /// Finds the resource.
    ///
    /// # Errors
    /// There is no such path, it does not take the method, or a part of it can't be read.
    pub fn of(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Astray> {
        if let Some((_, document)) = Document::ALL.into_iter().find(|(of, _)| *of == path) {
            takes(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            return Ok(Self::Document(document));
        }
        let segments: Vec<&str> = path.strip_prefix("/v1/").unwrap_or_default().split('/').collect();
        if let [name] = segments[..]
            && let Some(use_case) = UseCase::from_name(name)
        {
            takes(method, &[Method::POST], "POST")?;
            return Ok(Self::Guarded(Guarded::Command(use_case)));
        }
        let entity_type = EntityType::ALL.into_iter().find(|t| segments[0].strip_prefix(t.name()) == Some("s"));
        let (Some(entity_type), 1..=4) = (entity_type, segments.len()) else { return Err(nothing_here()) };
        let is_known = matches!(segments[1..], [] | [_] | [_, "history"] | ["requests", _] | [_, "requests", _]);
        if !is_known || segments.iter().any(|segment| segment.is_empty()) {
            return Err(nothing_here());
        }
        takes(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
        let mut query = Query::parse(query)?;
        let question = match segments[1..] {
            [] => Question::Entity(entity_type, query.external_id()?),
            ["requests", id] => Question::Outcome(entity_type, query.external_id()?, request_id_of(id)?, query.contents()?),
            [ref_id, "history"] => Question::History(entity_type, ref_id_of(ref_id)?, query.page()?),
            [ref_id, "requests", id] => {
                Question::Outcome(entity_type, Reference::RefId(ref_id_of(ref_id)?), request_id_of(id)?, query.contents()?)
            }
            [ref_id] => Question::Entity(entity_type, Reference::RefId(ref_id_of(ref_id)?)),
            _ => return Err(nothing_here()),
        };
        query.finish()?;
        Ok(Self::Guarded(Guarded::Question(question)))
    }
}

/// Returns the place at which the outcome of a request is found. `contents` tells the request from another one with the same id.
pub fn outcome_of(entity_type: EntityType, target: &Reference, request_id: &RequestId, contents: Uuid) -> String {
    let id = utf8_percent_encode(request_id.as_str(), PLAIN);
    match target {
        Reference::RefId(ref_id) => format!("/v1/{entity_type}s/{ref_id}/requests/{id}?contents={contents}"),
        Reference::ExternalId(external_id) => {
            let external_id = utf8_percent_encode(external_id.as_str(), PLAIN);
            format!("/v1/{entity_type}s/requests/{id}?externalId={external_id}&contents={contents}")
        }
    }
}

/// Returns the place of the page of a history with changes before a version.
pub fn page_before(entity_type: EntityType, ref_id: Uuid, before: i64, limit: usize) -> String {
    format!("/v1/{entity_type}s/{ref_id}/history?before={before}&limit={limit}")
}

fn nothing_here() -> Astray {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path; /openapi.json says what there is").into()
}

fn takes(method: &Method, methods: &[Method], allow: &'static str) -> Result<(), Astray> {
    if methods.contains(method) {
        return Ok(());
    }
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("this path takes {allow}"));
    Err(Astray { problem: problem.into(), allow: Some(allow) })
}

fn ref_id_of(segment: &str) -> Result<Uuid, Problem> {
    let unreadable = || Problem::unreadable(Some("refId".into()), "must be a hyphenated UUID");
    parse_ref_id(&decoded(segment, "refId")?).ok_or_else(unreadable)
}

fn request_id_of(segment: &str) -> Result<RequestId, Problem> {
    RequestId::parse(&decoded(segment, "requestId")?).map_err(|reason| unreadable("requestId", reason))
}

fn unreadable(field: &str, reason: impl Display) -> Problem {
    Problem::unreadable(Some(field.to_owned()), &reason.to_string())
}

fn decoded(text: &str, field: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| unreadable(field, "must be UTF-8"))?;
    Ok(decoded.into_owned())
}

/// The parameters of a query that are not read yet.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut all: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name, "query")?;
            if all.iter().any(|(earlier, _)| *earlier == name) {
                return Err(unreadable("query", "must have each parameter once"));
            }
            let value = decoded(&value.replace('+', " "), "query")?;
            all.push((name, value));
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn external_id(&mut self) -> Result<Reference, Problem> {
        let text = self.take("externalId").ok_or_else(|| unreadable("externalId", "is missing in the query"))?;
        ExternalId::parse(&text).map(Reference::ExternalId).map_err(|reason| unreadable("externalId", reason))
    }

    fn page(&mut self) -> Result<Page, Problem> {
        let before = self.take("before").map(|text| text.parse::<i64>());
        let before = before.transpose().ok().filter(|before| before.is_none_or(|version| version >= 0));
        let before = before.ok_or_else(|| unreadable("before", "must be a version"))?;
        let limit = self.take("limit").map_or(Ok(PAGE), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        let limit = limit.ok_or_else(|| unreadable("limit", format!("must be a number from 1 to {LARGEST_PAGE}")))?;
        Ok(Page { before, limit })
    }

    fn contents(&mut self) -> Result<Option<Uuid>, Problem> {
        let digest = self.take("contents").map(|text| parse_ref_id(&text).ok_or(()));
        digest.transpose().map_err(|()| unreadable("contents", "must be as it stands in Location"))
    }

    fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(unreadable("query", "has a parameter that is not known here")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c7a0-0000-7000-8000-00000000000a";

    fn get(uri: &str) -> Result<Route, Astray> {
        let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        Route::of(&Method::GET, path, query)
    }

    fn external(text: &str) -> Reference {
        Reference::ExternalId(ExternalId::parse(text).unwrap())
    }

    #[test]
    fn each_use_case_and_each_reading_has_its_path() {
        for use_case in UseCase::ALL {
            let route = Route::of(&Method::POST, &format!("/v1/{}", use_case.name()), None);
            assert_eq!(route.unwrap(), Route::Guarded(Guarded::Command(*use_case)));
        }
        for (path, document) in Document::ALL {
            assert_eq!(get(path).unwrap(), Route::Document(document));
        }
        let ref_id = Uuid::try_parse(ID).unwrap();
        let request = |text| RequestId::parse(text).unwrap();
        let page = |before, limit| Page { before, limit };
        let cases = [
            (format!("/v1/customers/{ID}"), Question::Entity(EntityType::Customer, Reference::RefId(ref_id))),
            (format!("/v1/accounts/{}", ID.to_uppercase()), Question::Entity(EntityType::Account, Reference::RefId(ref_id))),
            ("/v1/subscribers?externalId=a+b%2Fc%C3%A9".into(), Question::Entity(EntityType::Subscriber, external("a b/cé"))),
            (format!("/v1/customers/{ID}/history"), Question::History(EntityType::Customer, ref_id, page(None, 100))),
            (
                format!("/v1/customers/{ID}/history?before=7&limit=1000"),
                Question::History(EntityType::Customer, ref_id, page(Some(7), 1000)),
            ),
            (
                format!("/v1/customers/{ID}/requests/a%2Fb"),
                Question::Outcome(EntityType::Customer, Reference::RefId(ref_id), request("a/b"), None),
            ),
            (
                format!("/v1/customers/requests/history?externalId=c-1&contents={ID}"),
                Question::Outcome(EntityType::Customer, external("c-1"), request("history"), Some(ref_id)),
            ),
        ];
        for (uri, expected) in cases {
            let expected = Route::Guarded(Guarded::Question(expected));
            assert_eq!(get(&uri).unwrap_or_else(|astray| panic!("{uri}: {astray:?}")), expected, "{uri}");
        }
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        let cases = [
            ("/page".to_owned(), 404),
            ("/v1".into(), 404),
            ("/v1/".into(), 404),
            ("/v1/customer".into(), 404),
            ("/v2/customers".into(), 404),
            (format!("/v1/customers/{ID}/"), 404),
            (format!("/v1/customers/{ID}/present"), 404),
            (format!("/v1/customers/{ID}/requests/x/y"), 404),
            ("/v1/updateCustomerSegment".into(), 405),
            ("/v1/customers".into(), 400),
            ("/v1/customers?externalId=".into(), 400),
            ("/v1/customers?externalId=%FF".into(), 400),
            ("/v1/customers?externalId=a&externalId=a".into(), 400),
            ("/v1/customers?externalId=a&colour=red".into(), 400),
            ("/v1/customers/c-1".into(), 400),
            (format!("/v1/customers/{ID}/history?limit=0"), 400),
            (format!("/v1/customers/{ID}/history?limit=1001"), 400),
            (format!("/v1/customers/{ID}/history?before=-1"), 400),
            (format!("/v1/customers/{ID}/history?before=x"), 400),
            (format!("/v1/customers/{ID}/requests/%20"), 400),
            (format!("/v1/customers/{ID}/requests/r?contents=x"), 400),
            (format!("/v1/customers/{ID}/requests/r?contents={}", ID.replace('-', "")), 400),
        ];
        for (uri, status) in cases {
            let astray = get(&uri).expect_err(&uri);
            assert_eq!(astray.problem.status, status, "{uri}: {astray:?}");
            assert_eq!(astray.allow.is_some(), status == 405, "{uri}");
        }
        assert_eq!(Route::of(&Method::DELETE, "/v1/customers", None).unwrap_err().allow, Some("GET, HEAD"));
    }

    #[test]
    fn the_place_of_an_outcome_leads_back_to_it() {
        let (request, contents) = (RequestId::parse("r/1 ?é").unwrap(), Uuid::from_u128(7));
        for target in [external("c/1&x=2+3"), Reference::RefId(Uuid::from_u128(9))] {
            let location = outcome_of(EntityType::Account, &target, &request, contents);
            let expected = Question::Outcome(EntityType::Account, target, request.clone(), Some(contents));
            assert_eq!(get(&location).unwrap(), Route::Guarded(Guarded::Question(expected)), "{location}");
        }
    }
}
