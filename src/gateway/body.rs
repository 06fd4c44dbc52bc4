//! A command's JSON as the Avro of its record. The schema of the use case says which fields there are and what they may hold, so a use case
//! needs no line here. What comes out is decoded again by `wire::command`, so that the gateway checks the very command that a processor
//! will read.

use super::json::Json;
use crate::domain::command::RawCommand;
use crate::domain::use_case::UseCase;
use crate::wire::command::WriterSchema;
use apache_avro::Schema;
use apache_avro::schema::{RecordField, RecordSchema, UnionSchema};
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use std::sync::LazyLock;

/// Why a body can't be read as the use case's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The path of the field, such as `customer.externalId`. `None` if the body as a whole is wrong.
    pub path: Option<String>,
    /// What is wrong with it, as the end of a sentence that begins with the field.
    pub reason: String,
}

/// A use case's record, for reading and writing.
struct Form {
    use_case: UseCase,
    record: &'static RecordSchema,
    writer: GenericDatumWriter<'static>,
    reader: WriterSchema,
}

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
        UseCase::ALL.iter().map(|u| Schema::parse_str(u.schema()).expect("our schemas are checked by the tests")).collect()
    });
    let form = |(use_case, schema): (&UseCase, &'static Schema)| {
        let Schema::Record(record) = schema else { panic!("each command is a record") };
        let writer = GenericDatumWriter::builder(schema).human_readable(false).build();
        Form {
            use_case: *use_case,
            record,
            writer: writer.expect("our schemas name nothing but what they define"),
            reader: WriterSchema::parse(use_case.schema()).expect("our own schemas can be read"),
        }
    };
    UseCase::ALL.iter().zip(&*SCHEMAS).map(form).collect()
});

/// Returns the form of a use case.
fn form(use_case: UseCase) -> &'static Form {
    FORMS.iter().find(|form| form.use_case == use_case).expect("each use case has a form")
}

/// Returns whether the record of a use case has a field of this name.
pub fn has_field(use_case: UseCase, field: &str) -> bool {
    form(use_case).record.fields.iter().any(|f| f.name == field)
}

/// Returns the fields of a body, which must be an object.
///
/// # Errors
/// The bytes are no JSON object, or have a key twice.
pub fn fields(bytes: &[u8]) -> Result<Vec<(String, Json)>, Misfit> {
    let whole = |reason: String| Misfit { path: None, reason };
    let json = Json::parse(bytes).map_err(|error| whole(format!("the body is no JSON: {error}")))?;
    let Json::Object(fields) = json else { return Err(whole(format!("the body must be an object, and is {}", json.kind()))) };
    Ok(fields)
}

/// Returns the Avro body of the use case's record with these fields, and the command that it is read as.
///
/// # Errors
/// There is a field that the record does not have, one that occurs twice, or one of the wrong type.
pub fn command(use_case: UseCase, fields: &[(String, Json)]) -> Result<(Vec<u8>, RawCommand), Misfit> {
    let form = form(use_case);
    let value = record(form.record, fields, None)?;
    let body = form.writer.write_value_to_vec(value).expect("the value was made by the schema");
    let command = form.reader.decode(&body).expect("what was written by a schema can be read by it");
    Ok((body, command))
}

fn record(schema: &RecordSchema, given: &[(String, Json)], path: Option<&str>) -> Result<Avro, Misfit> {
    let path_of = |field: &str| path.map_or_else(|| field.to_owned(), |path| format!("{path}.{field}"));
    let misfit = |field: &str, reason: &str| Misfit { path: Some(path_of(field)), reason: reason.to_owned() };
    for (at, (key, _)) in given.iter().enumerate() {
        if !schema.fields.iter().any(|field| field.name == *key) {
            return Err(misfit(&shown(key), "is no field of this command"));
        }
        if given[..at].iter().any(|(earlier, _)| earlier == key) {
            return Err(misfit(key, "is given more than once"));
        }
    }
    let field = |RecordField { name, schema, .. }: &RecordField| {
        let json = given.iter().find(|(key, _)| key == name).map_or(&Json::Null, |(_, json)| json);
        Ok((name.clone(), value(schema, json, &path_of(name))?))
    };
    Ok(Avro::Record(schema.fields.iter().map(field).collect::<Result<_, _>>()?))
}

fn value(schema: &Schema, json: &Json, path: &str) -> Result<Avro, Misfit> {
    let must = |be: &str| Err(Misfit { path: Some(path.to_owned()), reason: format!("must be {be}, and is {}", json.kind()) });
    match (schema, json) {
        (Schema::Union(union), json) => in_union(union, json, path),
        (Schema::Null, Json::Null) => Ok(Avro::Null),
        (Schema::String, Json::Text(text)) => Ok(Avro::String(text.clone())),
        (Schema::String, _) => must("a text or null"),
        (Schema::Long, Json::Whole(number)) => Ok(Avro::Long(*number)),
        (Schema::Long, _) => must("a whole number or null"),
        (Schema::Record(schema), Json::Object(fields)) => record(schema, fields, Some(path)),
        (Schema::Record(_), _) => must("an object or null"),
        _ => Err(Misfit {
            path: Some(path.to_owned()),
            reason: "has a type in the schema that this program can't write".to_owned(),
        }),
    }
}

/// All fields of commands are unions of null and one type.
fn in_union(union: &UnionSchema, json: &Json, path: &str) -> Result<Avro, Misfit> {
    let is_wanted = |schema: &Schema| matches!(schema, Schema::Null) == matches!(json, Json::Null);
    let at = union.variants().iter().position(is_wanted).unwrap_or_default();
    let inner = value(&union.variants()[at], json, path)?;
    Ok(Avro::Union(u32::try_from(at).unwrap_or_default(), Box::new(inner)))
}

/// Returns a key that is no field of ours in a form that fits into a message: shortened, and without control characters.
fn shown(key: &str) -> String {
    const CHARS: usize = 40;
    let shown: String = key.chars().filter(|c| !c.is_control()).take(CHARS).collect();
    if key.chars().count() > CHARS { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::Attribute;
    use serde_json::json;

    /// Returns a body with a value in each field of the use case's record.
    fn full(use_case: UseCase) -> serde_json::Value {
        fn example(schema: &Schema) -> serde_json::Value {
            match schema {
                Schema::Union(union) => example(union.variants().iter().find(|v| !matches!(v, Schema::Null)).unwrap()),
                Schema::String => json!("x"),
                Schema::Long => json!(7),
                Schema::Record(record) => record.fields.iter().map(|f| (f.name.clone(), example(&f.schema))).collect(),
                other => panic!("{other:?}"),
            }
        }
        example(&Schema::parse_str(use_case.schema()).unwrap())
    }

    fn read(use_case: UseCase, body: &[u8]) -> Result<RawCommand, Misfit> {
        command(use_case, &fields(body)?).map(|(_, command)| command)
    }

    #[test]
    fn each_use_case_is_read_with_all_its_fields_and_with_none() {
        for use_case in UseCase::ALL {
            let command = read(*use_case, full(*use_case).to_string().as_bytes()).unwrap();
            assert_eq!((command.use_case, command.request_id.as_deref()), (*use_case, Some("x")), "{use_case:?}");
            let empty = read(*use_case, b"{}").unwrap();
            assert_eq!(empty.request_id, None, "{use_case:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let cases: [(&str, Option<&str>, &str); 13] = [
            ("[]", None, "must be an object"),
            ("7", None, "must be an object"),
            ("{} x", None, "no JSON"),
            (r#"{"customName":7}"#, Some("customName"), "a text or null, and is a number"),
            (r#"{"customName":["x"]}"#, Some("customName"), "is a list"),
            (r#"{"expectedVersion":"1"}"#, Some("expectedVersion"), "a whole number or null, and is a text"),
            (r#"{"expectedVersion":1.5}"#, Some("expectedVersion"), "a whole number"),
            (r#"{"customer":"c-1"}"#, Some("customer"), "an object or null"),
            (r#"{"customer":{"externalId":true}}"#, Some("customer.externalId"), "a text or null"),
            (r#"{"customer":{"id":"x"}}"#, Some("customer.id"), "no field"),
            (r#"{"customer":{"refId":"x","refId":"x"}}"#, Some("customer.refId"), "more than once"),
            (r#"{"colour":1}"#, Some("colour"), "no field"),
            (r#"{"requestId":"a","requestId":"a"}"#, Some("requestId"), "more than once"),
        ];
        for (body, path, reason) in cases {
            let misfit = read(UseCase::UpdateCustomerCustomName, body.as_bytes()).expect_err(body);
            assert_eq!(misfit.path.as_deref(), path, "{body}: {misfit:?}");
            assert!(misfit.reason.contains(reason), "{body}: {misfit:?}");
        }
    }

    #[test]
    fn values_arrive_as_they_were_sent() {
        let body = "{\"requestId\":\"r\\u00e9\\ud83d\\ude00\",\"customer\":{\"externalId\":\" ü \"},\"customName\":null,\"expectedVersion\":-3}";
        let command = read(UseCase::UpdateCustomerCustomName, body.as_bytes()).unwrap();
        assert_eq!(command.request_id.as_deref(), Some("ré😀"));
        assert_eq!(command.reference.unwrap().external_id.as_deref(), Some(" ü "));
        assert_eq!((command.values.get(Attribute::CustomName), command.expected_version), (None, Some(-3)));
    }

    #[test]
    fn a_version_with_a_fraction_of_zero_is_whole() {
        for (body, version) in [(r#"{"expectedVersion":1.0}"#, 1), (r#"{"expectedVersion":2e3}"#, 2000)] {
            let command = read(UseCase::UpdateCustomerCustomName, body.as_bytes()).unwrap();
            assert_eq!(command.expected_version, Some(version), "{body}");
        }
    }
}
