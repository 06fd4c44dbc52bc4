//! Takes a record's value apart into schema id and body. The id stands before the body, or in a header, and then the whole value is the
//! body.
//!
//! A header goes first, as with Confluent's own deserializers. If there is one, a body that happens to begin with byte 0 must not be taken
//! for the wire format, because it would be decoded with whatever schema has that number.

use super::schema_id::SchemaId;
use super::unreadable::Unreadable;
use uuid::Uuid;

/// The first byte of the Confluent wire format.
const MAGIC: u8 = 0;

/// The header into which Confluent's serializers write the schema's id if they are told to use headers: byte 1 and the 16 bytes of a GUID,
/// or byte 0 and the 4 bytes of a number.
const CONFLUENT: &str = "__value_schema_id";
/// The byte before the bytes of a GUID.
const MAGIC_OF_GUID: u8 = 1;
/// The headers in which Apicurio's serializers name the schema, if they use headers. These are ids of Apicurio's own API, which is not
/// asked here.
const APICURIO: [&str; 4] =
    ["apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.contentHash", "apicurio.value.artifactId"];

/// Takes a value apart into schema id and body.
///
/// # Errors
/// The value is null or not in the wire format, or a header names the schema in a way that can't be read here.
pub fn frame<'h, 'v>(
    value: Option<&'v [u8]>,
    headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
) -> Result<(SchemaId, &'v [u8]), Unreadable> {
    let value = value.ok_or(Unreadable::NullValue)?;
    let (mut confluent, mut apicurio) = (None, None);
    for (name, id) in headers {
        if name == CONFLUENT {
            confluent = id;
        } else if id.is_some() {
            apicurio = APICURIO.iter().find(|header| **header == name).copied().or(apicurio);
        }
    }
    if let Some(id) = confluent {
        return Ok((in_header(id)?, value));
    }
    if let Some(header) = apicurio {
        let reason = "which is an id of Apicurio's own API; its serializers write Confluent's with apicurio.registry.headers.enabled=false \
                      and apicurio.registry.as-confluent=true";
        return Err(Unreadable::SchemaHeader { header, reason });
    }
    match value.split_first_chunk::<5>() {
        Some(([MAGIC, id @ ..], body)) => Ok((u32::from_be_bytes(*id).into(), body)),
        _ => Err(Unreadable::NotWireFormat),
    }
}

/// Returns the beginning of a value in the Confluent wire format, to which the body is to be appended.
pub fn frame_prefix(schema_id: u32) -> [u8; 5] {
    let [a, b, c, d] = schema_id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

fn in_header(id: &[u8]) -> Result<SchemaId, Unreadable> {
    let reason = "which is neither byte 1 and a GUID's 16 bytes nor byte 0 and a number's 4";
    let malformed = Unreadable::SchemaHeader { header: CONFLUENT, reason };
    match id {
        [MAGIC_OF_GUID, guid @ ..] => Uuid::from_slice(guid).map(SchemaId::Guid).map_err(|_| malformed),
        [MAGIC, number @ ..] => number.try_into().map(|n| SchemaId::Number(u32::from_be_bytes(n))).map_err(|_| malformed),
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_schema_before_the_value_does() {
        const VALUE: &[u8] = &[0, 0, 0, 0, 7, 2];
        let guid: Vec<u8> = (0..16).collect();
        let with = |first: u8, rest: &[u8]| [&[first], rest].concat();
        let by_guid = SchemaId::Guid(Uuid::from_slice(&guid).unwrap());
        let unreadable = |header: &str| Err(header.to_owned());
        for (headers, expected) in [
            (vec![], Ok((7.into(), &VALUE[5..]))),
            (vec![("x", Some(vec![1]))], Ok((7.into(), &VALUE[5..]))),
            (vec![(CONFLUENT, None)], Ok((7.into(), &VALUE[5..]))),
            (vec![(CONFLUENT, Some(with(1, &guid)))], Ok((by_guid, VALUE))),
            (vec![(CONFLUENT, Some(with(0, &[0, 0, 1, 2])))], Ok((258.into(), VALUE))),
            (vec![(CONFLUENT, Some(vec![9])), (CONFLUENT, Some(with(1, &guid)))], Ok((by_guid, VALUE))),
            (vec![(CONFLUENT, Some(with(1, &guid))), (APICURIO[0], Some(vec![0; 8]))], Ok((by_guid, VALUE))),
            (vec![(CONFLUENT, Some(vec![]))], unreadable(CONFLUENT)),
            (vec![(CONFLUENT, Some(with(1, &guid[1..])))], unreadable(CONFLUENT)),
            (vec![(CONFLUENT, Some(with(1, &[&guid[..], &[0]].concat())))], unreadable(CONFLUENT)),
            (vec![(CONFLUENT, Some(with(0, &[7])))], unreadable(CONFLUENT)),
            (vec![(CONFLUENT, Some(with(2, &guid)))], unreadable(CONFLUENT)),
            (vec![(APICURIO[0], Some(vec![0, 0, 0, 0, 0, 0, 0, 7]))], unreadable(APICURIO[0])),
            (vec![(APICURIO[1], Some(vec![0, 0, 0, 0, 0, 0, 0, 7]))], unreadable(APICURIO[1])),
            (vec![(APICURIO[1], None)], Ok((7.into(), &VALUE[5..]))),
            (vec![("apicurio.value.encoding", Some(b"BINARY".to_vec()))], Ok((7.into(), &VALUE[5..]))),
        ] {
            let given = headers.iter().map(|(name, value)| (*name, value.as_deref()));
            let got = frame(Some(VALUE), given).map_err(|error| match error {
                Unreadable::SchemaHeader { header, .. } => header.to_owned(),
                other => panic!("{headers:?}: {other}"),
            });
            assert_eq!(got, expected, "{headers:?}");
            assert_eq!(frame(None, headers.iter().map(|(name, value)| (*name, value.as_deref()))), Err(Unreadable::NullValue));
        }
    }
}
