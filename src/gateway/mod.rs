//! The HTTP gateway: the `RESTful` API of the business documents, over the topics. It takes commands as JSON, writes them to the command
//! topic and waits for their replies. It reads entities from the store. It keeps nothing, so any number of gateways may run.
//!
//! **The promise**: no client is told a 200 or a 400 that the topic does not hold, save what request validation finds, which needs no
//! entity and is stored nowhere. A client is told 503 only if its command is certainly not on the topic. In all other cases the client asks
//! again with the same request id, and gets the one answer.
//!
//! The pure part, from a request to its answer:
//!
//! - [`route`]: which resource a request is about; [`headers`]: what its headers ask for
//! - [`json`], [`body`]: strict JSON as the Avro of a command; [`command`]: a request as a command, or why it is none
//! - [`open`]: the requests whose replies are awaited
//! - [`reply`], [`problem`]: what the client gets
//! - [`openapi`]: what the API is, for programs; [`documents`]: what everybody may read, this description and the page for people
//! - [`tokens`]: whether a bearer token is genuine, and whose it is
//!
//! The shell: [`writer`] writes commands, [`replies`] reads replies, [`reads`] reads the store, and [`received`] receives a body.
//! [`service`] puts these together for one request, with the spans of [`traced`] and within the bounds of [`room`]. [`serve`] serves
//! connections, and [`paced`] ends those whose clients read too slowly. [`access`] says who a client is, by the [`keys`] of tokens or by
//! [`tls`]. [`hosts`] restricts the names by which a gateway without authentication may be called. [`start`] begins.

pub mod access;
pub mod body;
pub mod command;
pub mod documents;
pub mod headers;
pub mod hosts;
pub mod json;
pub mod keys;
pub mod open;
pub mod openapi;
pub mod paced;
pub mod problem;
pub mod reads;
pub mod received;
pub mod replies;
pub mod reply;
pub mod room;
pub mod route;
pub mod serve;
pub mod service;
pub mod start;
pub mod tls;
pub mod tokens;
pub mod traced;
pub mod writer;
