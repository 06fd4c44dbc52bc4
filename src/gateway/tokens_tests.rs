//! Tests which tokens are taken: those of three algorithms, by keys of the set, in their time, from the issuer, for the audience.

use super::*;
use crate::config::JwksSource;
use openssl::bn::BigNumContext;
use openssl::pkey::Private;
use openssl::sign::Signer;
use serde_json::json;

const NOW: f64 = 1_700_000_000.0;

/// A key pair of the issuer, and its entry in the set.
struct Pair {
    algorithm: &'static str,
    private: PKey<Private>,
    jwk: Value,
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(bits: u32) -> Pair {
    let key = Rsa::generate(bits).unwrap();
    let jwk = json!({"kty": "RSA", "kid": "rsa", "n": base64(&key.n().to_vec()), "e": base64(&key.e().to_vec()), "use": "sig"});
    Pair { algorithm: "RS256", private: PKey::from_rsa(key).unwrap(), jwk }
}

fn ec(curve: Nid, name: &str) -> Pair {
    let group = EcGroup::from_curve_name(curve).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = BigNumContext::new().unwrap();
    key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
    let jwk = json!({"kty": "EC", "kid": "ec", "crv": name, "x": base64(&x.to_vec()), "y": base64(&y.to_vec()), "alg": "ES256"});
    Pair { algorithm: "ES256", private: PKey::from_ec_key(key).unwrap(), jwk }
}

fn ed25519() -> Pair {
    let private = PKey::generate_ed25519().unwrap();
    let jwk = json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64(&private.raw_public_key().unwrap())});
    Pair { algorithm: "EdDSA", private, jwk }
}

impl Pair {
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        if self.algorithm == "EdDSA" {
            return Signer::new_without_digest(&self.private).unwrap().sign_oneshot_to_vec(data).unwrap();
        }
        let mut signer = Signer::new(MessageDigest::sha256(), &self.private).unwrap();
        signer.update(data).unwrap();
        let signature = signer.sign_to_vec().unwrap();
        if self.algorithm == "RS256" {
            return signature;
        }
        let pair = EcdsaSig::from_der(&signature).unwrap();
        [pair.r().to_vec_padded(32).unwrap(), pair.s().to_vec_padded(32).unwrap()].concat()
    }

    /// Returns a token with this header, signed by this key.
    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        format!("{signed}.{}", base64(&self.sign(signed.as_bytes())))
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.jwk["kid"], "typ": "JWT"}), claims)
    }
}

fn keys(pairs: &[&Pair]) -> Keys {
    Keys::read(&json!({"keys": pairs.iter().map(|pair| &pair.jwk).collect::<Vec<_>>()}).to_string()).unwrap()
}

fn expected() -> Jwt {
    Jwt { keys: JwksSource::File("keys".into()), issuer: "https://idp".into(), audience: "crm".into() }
}

fn claims() -> Value {
    json!({"iss": "https://idp", "aud": "crm", "sub": "ann", "exp": NOW + 100.0, "scope": "crm.read crm.write"})
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

#[test]
fn tokens_of_three_algorithms_are_taken_by_the_keys_of_the_set() {
    let pairs = [rsa(2048), ec(Nid::X9_62_PRIME256V1, "P-256"), ed25519()];
    let set = keys(&[&pairs[0], &pairs[1], &pairs[2]]);
    for pair in &pairs {
        let bearer = set.bearer(&pair.token(&claims()), &expected(), NOW).unwrap();
        assert_eq!(
            bearer,
            Bearer { name: Actor::parse("ann").unwrap(), scopes: vec!["crm.read".into(), "crm.write".into()] },
            "{}",
            pair.algorithm
        );
        let without_id = pair.token_with(&json!({"alg": pair.algorithm}), &claims());
        assert!(set.bearer(&without_id, &expected(), NOW).is_ok(), "{}: a token need not name its key", pair.algorithm);
    }
}

#[test]
fn broken_tokens_of_every_kind_are_refused() {
    let (ours, theirs, curve) = (rsa(2048), rsa(2048), ec(Nid::X9_62_PRIME256V1, "P-256"));
    let set = keys(&[&ours, &curve]);
    let good = ours.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other_claims = base64(with("sub", json!("root")).to_string().as_bytes());
    let unsigned = |alg: &str| format!("{}.{}.", base64(json!({"alg": alg}).to_string().as_bytes()), parts[1]);
    let mut secret = Signer::new(MessageDigest::sha256(), &PKey::hmac(ours.jwk.to_string().as_bytes()).unwrap()).unwrap();
    let confused = format!("{}.{}", base64(json!({"alg": "HS256", "kid": "rsa"}).to_string().as_bytes()), parts[1]);
    secret.update(confused.as_bytes()).unwrap();
    let confused = format!("{confused}.{}", base64(&secret.sign_to_vec().unwrap()));
    let cut = format!("{}.{}.{}", parts[0], parts[1], base64(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()[..255]));
    let header = |header: Value| ours.token_with(&header, &claims());
    let cases = [
        ("nothing", String::new(), TokenRefusal::Malformed),
        ("two parts", format!("{}.{}", parts[0], parts[1]), TokenRefusal::Malformed),
        ("four parts", format!("{good}.x"), TokenRefusal::Malformed),
        ("padding", format!("{}=.{}.{}", parts[0], parts[1], parts[2]), TokenRefusal::Malformed),
        ("no JSON", format!("{}.{}.{}", base64(b"x"), parts[1], parts[2]), TokenRefusal::Malformed),
        ("unsigned", unsigned("none"), TokenRefusal::Malformed),
        ("unsigned under a name", unsigned("RS256"), TokenRefusal::Signature),
        ("the public key as a secret", confused, TokenRefusal::Malformed),
        ("a critical extension", header(json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"]})), TokenRefusal::Malformed),
        ("an unknown key", header(json!({"alg": "RS256", "kid": "other"})), TokenRefusal::UnknownKey),
        ("a key of another algorithm", header(json!({"alg": "RS256", "kid": "ec"})), TokenRefusal::UnknownKey),
        ("an algorithm without keys", header(json!({"alg": "EdDSA"})), TokenRefusal::UnknownKey),
        ("another's signature", theirs.token(&claims()), TokenRefusal::Signature),
        (
            "a signature of another kind",
            curve.token_with(&json!({"alg": "RS256", "kid": "rsa"}), &claims()),
            TokenRefusal::Signature,
        ),
        ("other claims", format!("{}.{other_claims}.{}", parts[0], parts[2]), TokenRefusal::Signature),
        ("a cut signature", cut, TokenRefusal::Signature),
    ];
    for (what, token, refusal) in cases {
        assert_eq!(set.bearer(&token, &expected(), NOW), Err(refusal), "{what}");
    }
}

#[test]
fn claims_must_hold_with_a_minute_of_leeway() {
    let pair = ed25519();
    let set = keys(&[&pair]);
    let cases = [
        ("exp", json!(NOW - 59.0), Ok(())),
        ("exp", json!(NOW - 60.0), Err(TokenRefusal::Time)),
        ("exp", Value::Null, Err(TokenRefusal::Time)),
        ("exp", json!("tomorrow"), Err(TokenRefusal::Time)),
        ("nbf", json!(NOW + 60.0), Ok(())),
        ("nbf", json!(NOW + 61.0), Err(TokenRefusal::Time)),
        ("nbf", json!("now"), Err(TokenRefusal::Time)),
        ("iss", json!("https://idp/"), Err(TokenRefusal::Foreign)),
        ("iss", Value::Null, Err(TokenRefusal::Foreign)),
        ("aud", json!(["x", "crm"]), Ok(())),
        ("aud", json!(["x"]), Err(TokenRefusal::Foreign)),
        ("aud", Value::Null, Err(TokenRefusal::Foreign)),
        ("sub", Value::Null, Err(TokenRefusal::Nameless)),
        ("sub", json!(" ann"), Err(TokenRefusal::Nameless)),
        ("sub", json!("x".repeat(129)), Err(TokenRefusal::Nameless)),
        ("scope", Value::Null, Ok(())),
    ];
    for (field, value, result) in cases {
        let got = set.bearer(&pair.token(&with(field, value.clone())), &expected(), NOW).map(drop);
        assert_eq!(got, result, "{field} = {value}");
    }
}

#[test]
fn keys_that_are_not_for_signing_are_left_out() {
    let unusable = [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        rsa(1024).jwk,
        ec(Nid::SECP384R1, "P-384").jwk,
        json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}),
        json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
        {
            let mut key = rsa(2048).jwk;
            key["use"] = "enc".into();
            key
        },
        {
            let mut key = rsa(2048).jwk;
            key["alg"] = "RS512".into();
            key
        },
        json!({}),
    ];
    for jwk in &unusable {
        assert!(Keys::read(&json!({"keys": [jwk]}).to_string()).is_ok_and(|keys| keys.is_empty()), "{jwk}");
    }
    for text in ["", "[]", "{}", "{\"keys\": 7}"] {
        assert!(Keys::read(text).is_err(), "{text}");
    }
}
