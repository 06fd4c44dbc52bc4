//! The labels of the metrics, each with all its possible values.

use super::series::Label;
use crate::domain::rejection::{Rejection, Status};
use crate::domain::use_case::UseCase;

/// Makes a type a label with all values of a list, in the order of their discriminants.
macro_rules! label {
    ($type:ty, $name:literal, $all:expr, |$value:ident| $text:expr) => {
        impl Label for $type {
            const COUNT: usize = $all.len();

            fn names() -> Vec<&'static str> {
                vec![$name]
            }

            fn all() -> Vec<Self> {
                $all.to_vec()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn texts(self) -> Vec<&'static str> {
                let $value = self;
                vec![$text]
            }
        }
    };
}

/// Defines an enum that is a label, with a text for each variant.
macro_rules! labels {
    ($(#[doc = $doc:literal])+ $type:ident($name:literal) { $($(#[doc = $what:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[doc = $what])+ $variant,)+ }

        impl $type {
            /// Returns the text of the label's value.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        label!($type, $name, [$(Self::$variant),+], |value| value.text());
    };
}

label!(UseCase, "use_case", UseCase::ALL, |value| value.name());
label!(Status, "status", Status::ALL, |value| value.code_text());

labels! {
    /// The status of an answer over HTTP.
    HttpStatus("status") {
        /// 200
        Ok = "200",
        /// 202: the command is on the topic, and the client does not wait.
        Accepted = "202",
        /// 304: the client has it already.
        NotModified = "304",
        /// 400: the request was refused.
        BadRequest = "400",
        /// 401: the client did not show who it is.
        Unauthorized = "401",
        /// 403: the client may not do that.
        Forbidden = "403",
        /// 404
        NotFound = "404",
        /// 405
        MethodNotAllowed = "405",
        /// 406
        NotAcceptable = "406",
        /// 408: the client did not send its body in time.
        RequestTimeout = "408",
        /// 412: the version is another one.
        PreconditionFailed = "412",
        /// 413: the body is too long.
        PayloadTooLarge = "413",
        /// 415: the body is no JSON.
        UnsupportedMediaType = "415",
        /// 421: the client calls the gateway by a name that is not the gateway's.
        MisdirectedRequest = "421",
        /// 500: a bug was caught.
        InternalServerError = "500",
        /// 503: nothing was written.
        ServiceUnavailable = "503",
        /// 504: the reply did not come in time.
        GatewayTimeout = "504",
    }
}

impl HttpStatus {
    /// Returns the label of a status code. A code that this program never answers counts as 500.
    pub fn of(code: u16) -> Self {
        let text = code.to_string();
        Self::all().into_iter().find(|status| status.text() == text).unwrap_or(Self::InternalServerError)
    }
}

labels! {
    /// The operations of the store: the methods of `ConditionalStore`.
    Operation("operation") {
        /// A read of an external id's partition.
        ReadId = "read_id",
        /// A read of an entity's partition.
        ReadEntity = "read_entity",
        /// The conditional write that claims an external id.
        Claim = "claim",
        /// The conditional write that applies a decision about an entity.
        Apply = "apply",
        /// The conditional write that refuses a request because there is no such entity.
        Refuse = "refuse",
        /// The conditional write that lets an outcome live on which would expire.
        Hold = "hold",
        /// A read of an entity's changes.
        History = "history",
        /// A question that only asks for a sign of life.
        Ping = "ping",
    }
}

labels! {
    /// The conditional writes of [`Operation`].
    ConditionalWrite("operation") {
        /// An external id is claimed.
        Claim = "claim",
        /// A decision about an entity.
        Apply = "apply",
        /// There is no such entity.
        Refuse = "refuse",
        /// An outcome that would expire lives on.
        Hold = "hold",
    }
}

labels! {
    /// Why an operation of the store failed.
    FaultKind("kind") {
        /// There was no answer within `store.request_timeout`, or the node gave up waiting for the replicas.
        TimedOut = "timed_out",
        /// The node that was asked has stopped answering while other nodes answer, so the operation did not wait for it.
        SilentNode = "silent_node",
        /// The connection broke, or there is none.
        ConnectionLost = "connection_lost",
        /// Too few replicas are up.
        Unavailable = "unavailable",
        /// The replicas did not decide about a condition in time, because too many writers wanted the same partition, or too few replicas
        /// took part.
        Undecided = "undecided",
        /// The database does not allow or understand what was asked for.
        Refused = "refused",
        /// Any other fault; the log has its text.
        Other = "other",
    }
}

labels! {
    /// How a command names its entity.
    ReferenceKind("by") {
        /// By the external id; a claim and an entity are looked up.
        ExternalId = "external_id",
        /// By the refId; an entity is looked up.
        RefId = "ref_id",
    }
}

labels! {
    /// The result of a look-up in the cache.
    CacheLookup("result") {
        /// The entry was there.
        Hit = "hit",
        /// The entry was missing and had to be read.
        Miss = "miss",
    }
}

labels! {
    /// The kinds of entries that the cache holds.
    Remembered("what") {
        /// Claims: which entity holds an external id.
        Claims = "claims",
        /// Entities.
        Entities = "entities",
    }
}

labels! {
    /// How a Kafka transaction ended.
    TransactionResult("result") {
        /// It was committed.
        Committed = "committed",
        /// It was aborted. Its records are answered again, in other transactions.
        Aborted = "aborted",
        /// Its end is unknown until the committed offsets tell it.
        Unknown = "unknown",
    }
}

labels! {
    /// The steps of an attempt at a Kafka transaction that are timed. `flow::attempt::Step` has all steps.
    TransactionStep("step") {
        /// The transaction begins, and its outputs are handed to the client.
        Produce = "produce",
        /// The brokers acknowledge the outputs.
        Flush = "flush",
        /// The offsets are added to the transaction.
        SendOffsets = "send_offsets",
        /// The transaction is committed.
        Commit = "commit",
        /// The transaction is aborted.
        Abort = "abort",
    }
}

labels! {
    /// The stages of a command, from its record's timestamp to the commit of its answer.
    CommandStage("stage") {
        /// From the record's timestamp until the record was taken from the Kafka client.
        Fetch = "fetch",
        /// Until its turn in its lane came.
        Queue = "queue",
        /// Until its outcome was known.
        Decide = "decide",
        /// Until the transaction began that was committed with its answer.
        Gather = "gather",
        /// Until that transaction was committed.
        Publish = "publish",
    }
}

labels! {
    /// Who waits for a call that is under way.
    Waits("by") {
        /// The consuming thread, which waits for Kafka.
        Consumer = "consumer",
        /// The publisher, which waits for Kafka.
        Publisher = "publisher",
        /// A lane, whose commands wait for the store to be decided.
        Lane = "lane",
    }
}

labels! {
    /// What happened to the assignment of partitions.
    Rebalance("kind") {
        /// Partitions were assigned.
        Assigned = "assigned",
        /// Partitions were given up in order.
        Revoked = "revoked",
        /// Partitions were taken away, and other processes may work on them already.
        Lost = "lost",
    }
}

labels! {
    /// How a look-up of a schema ended.
    LookUp("result") {
        /// The registry answered, if only to say that it does not know the schema.
        Answered = "answered",
        /// The registry did not answer, and is asked again.
        Failed = "failed",
    }
}

labels! {
    /// The topics that the processor writes to.
    OutputTopic("topic") {
        /// The default reply topic.
        Replies = "replies",
        /// A reply topic that a command named.
        NamedReplies = "named_replies",
        /// The topic of Business Transactions.
        Transactions = "transactions",
        /// The topic of change rows.
        Changes = "changes",
        /// The dead letter topic.
        Dlq = "dlq",
    }
}

labels! {
    /// Whether a reply repeats a stored answer.
    Replayed("replayed") {
        /// The reply is the first answer to the request.
        No = "false",
        /// The request came in another record before, and the reply repeats the answer.
        Yes = "true",
    }
}

labels! {
    /// The codes of rejections.
    Code("code") {
        /// See [`Rejection::MandatoryAttribute`].
        MandatoryAttribute = "CASM-MANDATORY-ATTRIBUTE",
        /// See [`Rejection::InvalidAttribute`].
        InvalidAttribute = "CASM-INVALID-ATTRIBUTE",
        /// See [`Rejection::SegmentNotConfigured`].
        SegmentNotConfigured = "CASM-SEGMENT-NOT-CONFIGURED",
        /// See [`Rejection::RequestIdReused`].
        RequestIdReused = "CASM-REQUEST-ID-REUSED",
        /// See [`Rejection::EntityNotFound`].
        EntityNotFound = "CASM-ENTITY-NOT-FOUND",
        /// See [`Rejection::Deactivated`].
        Deactivated = "CASM-STATE-DEACTIVATED",
        /// See [`Rejection::VersionConflict`].
        VersionConflict = "CASM-VERSION-CONFLICT",
        /// See [`Rejection::ExternalIdNotUnique`].
        ExternalIdNotUnique = "CASM-EXTERNAL-ID-NOT-UNIQUE",
        /// See [`Rejection::RecordUnreadable`].
        RecordUnreadable = "CASM-RECORD-UNREADABLE",
        /// See [`Rejection::InternalError`].
        InternalError = "CASM-INTERNAL-ERROR",
    }
}

impl From<&Rejection> for Code {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::MandatoryAttribute { .. } => Self::MandatoryAttribute,
            Rejection::InvalidAttribute { .. } => Self::InvalidAttribute,
            Rejection::SegmentNotConfigured { .. } => Self::SegmentNotConfigured,
            Rejection::RequestIdReused => Self::RequestIdReused,
            Rejection::EntityNotFound { .. } => Self::EntityNotFound,
            Rejection::Deactivated { .. } => Self::Deactivated,
            Rejection::VersionConflict { .. } => Self::VersionConflict,
            Rejection::ExternalIdNotUnique => Self::ExternalIdNotUnique,
            Rejection::RecordUnreadable { .. } => Self::RecordUnreadable,
            Rejection::InternalError => Self::InternalError,
        }
    }
}

labels! {
    /// Why a record became a dead letter.
    DeadLetter("reason") {
        /// The value is null.
        NullValue = "null_value",
        /// The value is not in the Confluent wire format.
        NotWireFormat = "not_wire_format",
        /// A header names the schema in a way that can't be read.
        SchemaHeader = "schema_header",
        /// The registry has no such schema.
        UnknownSchemaId = "unknown_schema_id",
        /// The registry neither gives out the writer's schema nor says that there is none.
        OddRegistryAnswer = "odd_registry_answer",
        /// The name of the record's schema is that of no command.
        UnknownRecordName = "unknown_record_name",
        /// The writer's schema can't be used.
        SchemaUnusable = "schema_unusable",
        /// The value's bytes don't match the schema.
        Malformed = "malformed",
        /// The record's batch can't be decoded, because it can't be decompressed for example.
        Undecodable = "undecodable",
        /// The record is larger than `kafka.max_command_bytes`.
        TooLarge = "too_large",
        /// A correlation header is too long.
        CorrelationHeaderTooLong = "correlation_header_too_long",
    }
}

labels! {
    /// On which side of the present a record's timestamp lies that can't be true.
    AbsurdTimestamp("in") {
        /// The timestamp is a year old or more.
        Past = "past",
        /// The timestamp is ahead of this machine's clock.
        Future = "future",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label + PartialEq + std::fmt::Debug>() {
        let all = L::all();
        assert_eq!(all.len(), L::COUNT);
        for (at, label) in all.into_iter().enumerate() {
            assert_eq!(label.index(), at, "{label:?}");
            assert_eq!(label.texts().len(), L::names().len(), "{label:?}");
        }
    }

    #[test]
    fn the_index_of_each_label_is_its_place() {
        check::<(UseCase, Status)>();
        check::<(Code, Replayed)>();
        check::<(Operation, FaultKind)>();
        check::<DeadLetter>();
        check::<(ReferenceKind, CacheLookup)>();
        check::<Remembered>();
        check::<TransactionStep>();
        check::<CommandStage>();
    }

    #[test]
    fn codes_are_those_of_the_replies() {
        let rejections = Rejection::one_of_each();
        assert_eq!(rejections.len(), Code::COUNT);
        for rejection in &rejections {
            assert_eq!(Code::from(rejection).text(), rejection.code());
        }
    }
}
