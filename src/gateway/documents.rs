//! The documents that are the same for everybody, and need no credential: the description of the API, and the page for people, which is in
//! the folder `page`. The page has no data. What it shows comes from the API, with the reader's credential.

use super::headers::{JSON, has_tag};
use super::openapi;
use super::problem::with;
use super::route::Document;
use axum::body::Bytes;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use std::sync::LazyLock;
use uuid::Uuid;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One module in several files, each of which leans only on those before it until the last one begins.
const SCRIPT: &str = concat!(
    include_str!("page/api.js"),
    include_str!("page/parts.js"),
    include_str!("page/look_up.js"),
    include_str!("page/command.js"),
    include_str!("page/verdict.js"),
    include_str!("page/reference.js"),
    include_str!("page/start.js"),
);

/// What the page may do: run its own script, wear its own style sheet, ask this gateway, and show the picture that is within the page
/// itself. It may make no HTML of texts, be in no frame, and send no form anywhere but by its script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers that all documents have. The page of a gateway belongs to its API, so a browser asks each time whether it is the same still.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A document as it is sent.
struct Sent {
    media_type: &'static str,
    body: Bytes,
    /// The tag of the body, in its quotes.
    tag: String,
}

impl Sent {
    fn new(media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let tag = format!("\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_OID, &body).simple());
        Self { media_type, body, tag }
    }
}

/// Returns a document as it is sent.
fn sent(document: Document) -> &'static Sent {
    static JSON_SENT: LazyLock<Sent> = LazyLock::new(|| Sent::new(JSON, openapi::document().to_string()));
    static YAML_SENT: LazyLock<Sent> = LazyLock::new(|| Sent::new("application/yaml", openapi::yaml()));
    static PAGE_SENT: LazyLock<Sent> = LazyLock::new(|| Sent::new("text/html; charset=utf-8", PAGE));
    static STYLE_SENT: LazyLock<Sent> = LazyLock::new(|| Sent::new("text/css; charset=utf-8", STYLE));
    static SCRIPT_SENT: LazyLock<Sent> = LazyLock::new(|| Sent::new("text/javascript; charset=utf-8", SCRIPT));
    match document {
        Document::Json => &JSON_SENT,
        Document::Yaml => &YAML_SENT,
        Document::Page => &PAGE_SENT,
        Document::Style => &STYLE_SENT,
        Document::Script => &SCRIPT_SENT,
    }
}

/// Answers with a document, unless the client has it already.
pub fn response(document: Document, headers: &HeaderMap) -> Response<Bytes> {
    let Sent { media_type, body, tag } = sent(document);
    let is_known = has_tag(headers, tag);
    let mut response = Response::new(if is_known { Bytes::new() } else { body.clone() });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    with(response, header::ETAG, tag.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_is_sent_once_to_who_keeps_it() {
        for (path, document) in Document::ALL {
            let first = response(document, &HeaderMap::new());
            assert_eq!((first.status(), first.body().is_empty()), (StatusCode::OK, false), "{path}");
            assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
            let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
            let again = response(document, &known);
            assert_eq!((again.status(), again.body().is_empty()), (StatusCode::NOT_MODIFIED, true), "{path}");
            let other = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static("\"1\""))]);
            assert_eq!(response(document, &other).status(), StatusCode::OK, "{path}");
        }
    }

    #[test]
    fn the_page_is_small_and_has_neither_scripts_nor_styles_within_and_nothing_from_elsewhere() {
        const MOST: usize = 80 << 10;
        assert!(PAGE.len() + STYLE.len() + SCRIPT.len() < MOST);
        assert!(!PAGE.contains("style=") && !PAGE.contains("<style") && !PAGE.contains(" on"), "{PAGE}");
        assert_eq!(PAGE.matches("<script").count(), 1);
        for (name, text) in [("page", PAGE), ("style", STYLE), ("script", SCRIPT)] {
            let elsewhere = text.matches("https://").count() + text.matches("http://").count();
            // The name space of the picture in the page is a name, and nobody asks for it.
            assert_eq!(elsewhere, text.matches("http://www.w3.org/2000/svg").count(), "{name}");
        }
        for banned in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "sessionStorage"]
        {
            assert!(!SCRIPT.contains(banned), "{banned}");
        }
    }
}
