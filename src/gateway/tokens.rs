//! Bearer tokens (JWT): whether one is genuine, and whose it is. The time is an argument, and nothing here waits.
//!
//! **What makes a token genuine**: its signature is by a key of the set that fits the algorithm which the token names; that algorithm is
//! one of three, all with public keys. A key belongs to one algorithm, whatever a token says, so that no token can have a public key taken
//! for a shared secret. OpenSSL, which the program contains anyway, checks the signature.

use crate::config::Jwt;
use crate::domain::values::Actor;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use serde::Deserialize;
use serde_json::Value;

/// How many seconds the clocks of issuer and gateway may differ.
const LEEWAY: f64 = 60.0;
/// The shortest RSA key that is taken, in bits, as RFC 7518 has it.
const MIN_RSA_BITS: u32 = 2048;

/// An algorithm by which tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// The public keys that verify the signatures of tokens.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: PKey<Public>,
}

/// What a genuine token says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Who the bearer is (`sub`).
    pub name: Actor,
    /// What the bearer may do (`scope`).
    pub scopes: Vec<String>,
}

/// The reason why a token is not taken. It is told to nobody but the log, and holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The token does not have the form of a JWT, or names an algorithm that is not one of ours.
    #[error("the token is malformed, or signed in a way that is not taken")]
    Malformed,
    /// No key of the set fits. The set may have been renewed since it was read.
    #[error("the token is signed with a key that is not in the set")]
    UnknownKey,
    /// No key of the set fits, and the set can't be read at present, or has no key for us. The token may be good.
    #[error("the token is signed with a key that is not in the set, which can't be read at present or has no key that is taken")]
    NoKeys,
    /// The signature is not that of the key.
    #[error("the signature is wrong")]
    Signature,
    /// `exp` is missing or over, or `nbf` is not reached.
    #[error("the token has expired, or is not valid yet, or does not say for how long it is")]
    Time,
    /// `iss` or `aud` are others than configured.
    #[error("the token is another issuer's, or for another audience")]
    Foreign,
    /// `sub` is missing, or can't be an actor.
    #[error("the token names no bearer")]
    Nameless,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Keys {
    /// Reads a JSON Web Key Set. Keys of other kinds and for other purposes are left out.
    ///
    /// # Errors
    /// The text is no key set. The error says so in words.
    pub fn read(text: &str) -> Result<Self, String> {
        let set: Value = serde_json::from_str(text).map_err(|error| format!("the key set is no JSON: {error}"))?;
        let keys = set["keys"].as_array().ok_or("the key set has no list named keys")?;
        Ok(Self(keys.iter().filter_map(key).collect()))
    }

    /// Returns whether no key can be used, so that no token is taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a token at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The token is not taken.
    pub fn bearer(&self, token: &str, expected: &Jwt, now: f64) -> Result<Bearer, TokenRefusal> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(TokenRefusal::Malformed);
        };
        let signed = &token[..header.len() + 1 + claims.len()];
        let header: Header = decoded(header)?;
        let algorithm = Algorithm::named(&header.alg).filter(|_| header.crit.is_none()).ok_or(TokenRefusal::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenRefusal::Malformed)?;
        let fits = |key: &&Key| key.algorithm == algorithm && (header.kid.is_none() || key.id == header.kid);
        let mut keys = self.0.iter().filter(fits).peekable();
        if keys.peek().is_none() {
            return Err(TokenRefusal::UnknownKey);
        }
        // An error of OpenSSL means that the signature is not even of the form that it must have.
        if !keys.any(|key| key.has_signed(signed.as_bytes(), &signature).unwrap_or(false)) {
            return Err(TokenRefusal::Signature);
        }
        check(&decoded(claims)?, expected, now)
    }
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl Key {
    fn has_signed(&self, data: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        /// A signature of ES256 is two numbers of as many bytes.
        const HALF: usize = 32;
        match self.algorithm {
            Algorithm::Rs256 => {
                let mut verifier = Verifier::new(MessageDigest::sha256(), &self.public)?;
                verifier.update(data)?;
                verifier.verify(signature)
            }
            Algorithm::Es256 => {
                if signature.len() != 2 * HALF {
                    return Ok(false);
                }
                let (r, s) = (BigNum::from_slice(&signature[..HALF])?, BigNum::from_slice(&signature[HALF..])?);
                let mut verifier = Verifier::new(MessageDigest::sha256(), &self.public)?;
                verifier.update(data)?;
                verifier.verify(&EcdsaSig::from_private_components(r, s)?.to_der()?)
            }
            Algorithm::EdDsa => Verifier::new_without_digest(&self.public)?.verify_oneshot(signature, data),
        }
    }
}

/// Reads a key of a set. Returns `None` for a key that is of another kind, for another purpose, too short or malformed.
fn key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk[name].as_str();
    let number = |name: &str| BigNum::from_slice(&URL_SAFE_NO_PAD.decode(text(name)?).ok()?).ok();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let (algorithm, name, public) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let rsa = Rsa::from_public_components(number("n")?, number("e")?).ok()?;
            let public = PKey::from_rsa(rsa).ok().filter(|key| key.bits() >= MIN_RSA_BITS)?;
            (Algorithm::Rs256, "RS256", public)
        }
        ("EC", Some("P-256")) => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
            // This refuses a point that is not on the curve.
            let key = EcKey::from_public_key_affine_coordinates(&group, &*number("x")?, &*number("y")?).ok()?;
            (Algorithm::Es256, "ES256", PKey::from_ec_key(key).ok()?)
        }
        ("OKP", Some("Ed25519")) => {
            let x = URL_SAFE_NO_PAD.decode(text("x")?).ok()?;
            (Algorithm::EdDsa, "EdDSA", PKey::public_key_from_raw_bytes(&x, Id::ED25519).ok()?)
        }
        _ => return None,
    };
    let is_meant = text("alg").is_none_or(|alg| alg == name);
    is_meant.then(|| Key { id: text("kid").map(str::to_owned), algorithm, public })
}

/// Reads a part of a token, which is a JSON object.
fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenRefusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)?;
    // An array of the right values would do for a struct otherwise.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(TokenRefusal::Malformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::Malformed)
}

/// Checks the claims of a token whose signature is right.
fn check(claims: &Value, expected: &Jwt, now: f64) -> Result<Bearer, TokenRefusal> {
    let has_expired = claims["exp"].as_f64().is_none_or(|exp| exp + LEEWAY <= now);
    let is_early = match &claims["nbf"] {
        Value::Null => false,
        begins => begins.as_f64().is_none_or(|nbf| nbf - LEEWAY > now),
    };
    if has_expired || is_early {
        return Err(TokenRefusal::Time);
    }
    let is_ours = match &claims["aud"] {
        Value::String(one) => *one == expected.audience,
        Value::Array(several) => several.iter().any(|one| one == expected.audience.as_str()),
        _ => false,
    };
    if claims["iss"] != expected.issuer.as_str() || !is_ours {
        return Err(TokenRefusal::Foreign);
    }
    let name = claims["sub"].as_str().and_then(|name| Actor::parse(name).ok()).ok_or(TokenRefusal::Nameless)?;
    let scopes = claims["scope"].as_str().unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    Ok(Bearer { name, scopes: scopes.map(str::to_owned).collect() })
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
