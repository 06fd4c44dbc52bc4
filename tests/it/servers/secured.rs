//! A Kafka and a Cassandra that let nobody in without TLS and a password, and to nothing without a right.

use super::own::OwnServer;
use super::{free_port, prepare_cassandra, prepare_kafka_as};
use std::path::Path;
use std::time::Duration;

/// Kafka's superuser.
pub const ADMIN: &str = "admin";
/// And its password.
pub const ADMIN_PASSWORD: &str = "admin-password";
/// How long a server may take to know its own superuser.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be changed in kafka.properties.
const PLAIN: &str = "listeners=PLAINTEXT://127.0.0.1:@PORT@,";
const ADVERTISED: &str = "advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@";

impl OwnServer {
    /// A Kafka with `SASL_SSL`, SCRAM-SHA-512 and its standard authorizer. The broker talks to itself in the clear, as a
    /// superuser without a name, on ports that nobody is told of.
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

    /// A Cassandra with TLS for clients, passwords and its own authorizer. What it knows of roles it looks up each time. Longer
    /// lists than ScyllaDB takes by default (`max_clustering_key_restrictions_per_query`) it refuses, too: to everybody who has
    /// logged in and is no superuser.
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
