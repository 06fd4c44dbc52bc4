//! Certificates of the test's own: authorities, and the certificates that they sign for servers on 127.0.0.1.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::path::{Path, PathBuf};

/// The password that protects key stores.
pub const STORE_PASSWORD: &str = "key-store-password";

/// An authority that signs certificates.
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

/// A server's or a client's certificate and key.
pub struct Identity {
    key: PKey<Private>,
    certificate: X509,
    authority: X509,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = key();
        let mut builder = builder(name, &key);
        let subject = builder_name(name);
        builder.set_issuer_name(&subject).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { key, certificate: builder.build() }
    }

    /// Makes a certificate for a server on 127.0.0.1.
    pub fn identity(&self) -> Identity {
        let key = key();
        let mut builder = builder("server", &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(Some(&self.certificate), None));
        builder.append_extension(names.unwrap()).unwrap();
        builder.append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Identity { key, certificate: builder.build(), authority: self.certificate.clone() }
    }

    /// Makes a certificate for a client with this common name.
    pub fn client(&self, name: &str) -> Identity {
        let key = key();
        let mut builder = builder(name, &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Identity { key, certificate: builder.build(), authority: self.certificate.clone() }
    }

    /// Returns the authority's certificate as PEM.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }
}

impl Identity {
    /// Writes a PKCS #12 key store, which Java can read, protected by [`STORE_PASSWORD`].
    pub fn key_store(&self, folder: &Path) -> PathBuf {
        let mut chain = Stack::new().unwrap();
        chain.push(self.authority.clone()).unwrap();
        let mut builder = Pkcs12::builder();
        builder.name("server").pkey(&self.key).cert(&self.certificate).ca(chain);
        let path = folder.join("server.p12");
        std::fs::write(&path, builder.build2(STORE_PASSWORD).unwrap().to_der().unwrap()).unwrap();
        path
    }

    /// Returns the certificate and its key as PEM.
    pub fn pem(&self) -> (Vec<u8>, Vec<u8>) {
        (self.certificate.to_pem().unwrap(), self.key.private_key_to_pem_pkcs8().unwrap())
    }

    /// Returns the configuration with which a server of the tests accepts TLS connections.
    pub fn acceptor(&self) -> SslAcceptor {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_private_key(&self.key).unwrap();
        builder.set_certificate(&self.certificate).unwrap();
        builder.build()
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn builder(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&builder_name(name)).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn builder_name(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}
