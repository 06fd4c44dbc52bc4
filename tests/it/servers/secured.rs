//! A Kafka and a Cassandra that let nobody in without TLS and a password, and allow nothing without a granted right.

use super::own::OwnServer;
use super::{free_port, has_brokers, prepare_cassandra, prepare_kafka_as};
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

/// Kafka's superuser.
pub const ADMIN: &str = "admin";
/// The password of Kafka's superuser.
pub const ADMIN_PASSWORD: &str = "admin-password";
/// How long a server may take to know its own superuser.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The lines of kafka.properties that are replaced.
const PLAIN: &str = "listeners=PLAINTEXT://127.0.0.1:@PORT@,";
const ADVERTISED: &str = "advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@";

impl OwnServer {
    /// Starts a Kafka with `SASL_SSL`, SCRAM-SHA-512 and its standard authorizer. The broker talks to itself in the clear, as a
    /// superuser without a name, on ports that it gives to nobody.
    pub fn secured_kafka(key_store: &Path, password: &str) -> Option<Self> {
        let security = format!(
            "listener.security.protocol.map=SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=INTERNAL\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password={password}\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:{ADMIN};User:ANONYMOUS\n",
            key_store.display()
        );
        let scram = format!("SCRAM-SHA-512=[name={ADMIN},password={ADMIN_PASSWORD}]");
        Self::start(|| {
            let internal = format!("INTERNAL://127.0.0.1:{}", free_port());
            let adjust = |template: &str| {
                let listeners = template.replace(PLAIN, &format!("listeners=SASL_SSL://127.0.0.1:@PORT@,{internal},"));
                let advertised = format!("advertised.listeners=SASL_SSL://127.0.0.1:@PORT@,{internal}");
                listeners.replace(ADVERTISED, &advertised) + &security
            };
            let up = |address: &str| std::net::TcpStream::connect(address).is_ok();
            prepare_kafka_as(adjust, &["--add-scram", &scram], up)
        })
    }

    /// Starts a Kafka, and returns it with a second address. At its own address it lets everybody in. At the second one it lets
    /// in clients with a token: signed by one of `keys`, by this issuer, for this audience. It closes a connection whose token
    /// has expired. (Without naming the validator, Kafka 4.1.0 has that of clients, which verifies neither signature nor
    /// audience.)
    pub fn kafka_with_tokens(keys: &Path, issuer: &str, audience: &str) -> Option<(Self, String)> {
        let keys = format!("file://{}", keys.display());
        let security = format!(
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\n\
             listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
             listener.name.sasl_plaintext.oauthbearer.connections.max.reauth.ms=3600000\n\
             sasl.oauthbearer.jwt.validator.class=org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator\n\
             sasl.oauthbearer.jwks.endpoint.url={keys}\n\
             sasl.oauthbearer.expected.issuer={issuer}\nsasl.oauthbearer.expected.audience={audience}\n"
        );
        let port = Cell::new(0);
        let kafka = Self::start(|| {
            port.set(free_port());
            let listener = format!("SASL_PLAINTEXT://127.0.0.1:{}", port.get());
            let adjust = |template: &str| {
                let listeners = template.replace(PLAIN, &format!("{PLAIN}{listener},"));
                listeners.replace(ADVERTISED, &format!("{ADVERTISED},{listener}")) + &security
            };
            let mut prepared = prepare_kafka_as(adjust, &[], has_brokers)?;
            // The JVM must be told from where it may load keys, and there is no other way to tell it.
            let allowed = ["urls", "files"].map(|kind| format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.{kind}={keys}"));
            prepared.command.env("JAVA_TOOL_OPTIONS", allowed.join(" "));
            Ok(prepared)
        })?;
        Some((kafka, format!("127.0.0.1:{}", port.get())))
    }

    /// Starts a Cassandra with TLS for clients, passwords and its own authorizer. It looks roles up each time, without a cache.
    /// Like ScyllaDB by default (`max_clustering_key_restrictions_per_query`), it refuses long lists to everybody who has logged
    /// in and is no superuser.
    pub fn secured_cassandra(key_store: &Path, password: &str) -> Option<Self> {
        let settings = format!(
            "commitlog_sync: batch\nin_select_cartesian_product_fail_threshold: 100\n\
             authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\nrole_manager: CassandraRoleManager\n\
             permissions_validity: 0ms\nroles_validity: 0ms\ncredentials_validity: 0ms\n\
             client_encryption_options:\n  enabled: true\n  optional: false\n  store_type: PKCS12\n  keystore: {}\n  \
             keystore_password: {password}\n",
            key_store.display()
        );
        Self::start(|| prepare_cassandra(&settings, &["-Dcassandra.superuser_setup_delay_ms=0"]))
    }
}
