//! Restricts the host names by which clients may call a gateway without authentication.
//!
//! Such a gateway trusts whoever can connect. A web page can connect through the browser of somebody nearby: once the page is loaded, its
//! owner lets the page's host name resolve to the gateway's address (DNS rebinding). The browser then takes the gateway for the page's
//! server, and lets the page read the gateway's answers. But the browser still sends the page's host name in `Host`. So a request is
//! refused if `Host` has a name that is not the gateway's.
//!
//! An IP address can't be made to lead elsewhere, and `localhost` leads to this machine alone. So these are accepted without being listed,
//! and with any port, because a forwarded port differs from the gateway's own. With TLS nothing is checked here, because a browser demands
//! a certificate for the name that it calls.

use super::problem::Problem;
use crate::config::{Auth, Gateway};
use axum::http::header::{self, HeaderMap};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderValue, StatusCode};
use std::net::IpAddr;

/// The hosts that a request may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All: something else says whether a client may go on.
    Any,
    /// Addresses, `localhost`, and these names in lower case.
    Ours(Vec<String>),
}

impl Hosts {
    /// Returns the hosts that this configuration allows.
    pub fn of(config: &Gateway) -> Self {
        match (&config.auth, &config.tls) {
            (Auth::None, None) => Self::Ours(config.allowed_hosts.clone()),
            _ => Self::Any,
        }
    }

    /// Checks the hosts that a request names: in `Host`, and in its target if that is a whole URL.
    ///
    /// # Errors
    /// A host is not one of these, or none is named, or `Host` can't be read or comes twice.
    pub fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Self::Ours(names) = self else { return Ok(()) };
        let mut all = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (all.next().and_then(authority), all.next()) else {
            return Err(misdirected("the request must name one host, in one Host header".to_owned()));
        };
        let named = [Some(&host), target.authority()];
        match named.into_iter().flatten().map(Authority::host).find(|host| !is_ours(host, names)) {
            None => Ok(()),
            Some(host) => Err(misdirected(format!(
                "Host is {host}, which is no name of this gateway: call it by its address or as localhost, or have its operator add the \
                 name to gateway.allowed_hosts"
            ))),
        }
    }
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok()
}

fn is_ours(host: &str, names: &[String]) -> bool {
    // A name with a dot at its end is the same name.
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
    name == "localhost" || address.parse::<IpAddr>().is_ok() || names.contains(&name)
}

fn misdirected(detail: String) -> Problem {
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected-request", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the status and the detail of the refusal, or `None` if the request is not refused.
    fn refused(hosts: &Hosts, target: &str, given: &[&[u8]]) -> Option<(u16, String)> {
        let headers = given.iter().map(|host| (header::HOST, HeaderValue::from_bytes(host).unwrap())).collect();
        let problem = hosts.check(&target.parse().unwrap(), &headers).err()?;
        Some((problem.status.as_u16(), problem.detail.into()))
    }

    #[test]
    fn a_gateway_is_called_by_an_address_or_by_a_name_of_its_own() {
        let hosts = Hosts::Ours(vec!["crm.example.com".into()]);
        let ours: [&[u8]; 10] = [
            b"127.0.0.1:8080",
            b"127.0.0.1",
            b"10.1.2.3:80",
            b"[::1]:8080",
            b"[::1]",
            b"localhost",
            b"LocalHost:9000",
            b"localhost.:9000",
            b"crm.example.com",
            b"CRM.example.com.:8080",
        ];
        for host in ours {
            assert_eq!(refused(&hosts, "/v1/customers", &[host]), None, "{}", String::from_utf8_lossy(host));
        }
        let theirs: [&[u8]; 9] = [
            b"evil.example",
            b"evil.example:8080",
            b"127.0.0.1.evil.example",
            b"localhost.evil.example",
            b"crm.example.com.evil.example",
            b"other.crm.example.com",
            b"127.0.0.1@evil.example",
            b"127.1",
            b"2130706433",
        ];
        for host in theirs {
            let (status, detail) = refused(&hosts, "/", &[host]).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(host)));
            assert!(status == 421 && detail.contains("gateway.allowed_hosts"), "{status} {detail}");
        }
        assert!(refused(&hosts, "/", &[b"evil.example:1"]).unwrap().1.starts_with("Host is evil.example, "));
    }

    #[test]
    fn the_host_is_named_once_and_a_whole_url_as_the_target_names_one_too() {
        let hosts = Hosts::Ours(Vec::new());
        let unclear: [&[&[u8]]; 6] =
            [&[], &[b""], &[b"localhost", b"localhost"], &[b"local host"], &[b"localhost, evil.example"], &[b"\xff"]];
        for given in unclear {
            let (status, detail) = refused(&hosts, "/", given).unwrap_or_else(|| panic!("{given:?}"));
            assert!(status == 421 && detail.contains("one Host"), "{given:?}: {detail}");
        }
        assert_eq!(refused(&hosts, "http://localhost:8080/v1/customers", &[b"localhost:8080"]), None);
        for (target, host) in [("http://evil.example/", "localhost"), ("http://localhost/", "evil.example")] {
            assert!(refused(&hosts, target, &[host.as_bytes()]).is_some_and(|(status, _)| status == 421), "{target} {host}");
        }
    }

    #[test]
    fn whoever_shows_who_they_are_may_call_a_gateway_by_any_name() {
        assert_eq!(refused(&Hosts::Any, "http://evil.example/", &[b"evil.example"]), None);
        assert_eq!(refused(&Hosts::Any, "/", &[]), None);
        let gateway = |toml: &str| Hosts::of(&crate::config::Config::parse(toml, []).unwrap().gateway);
        let tls = "tls = { cert_file = \"Cargo.toml\", key_file = \"Cargo.toml\", client_ca_file = \"Cargo.toml\" }";
        let token = "auth = { kind = \"jwt\", jwks_url = \"https://idp\", issuer = \"i\", audience = \"a\" }";
        assert_eq!(gateway(""), Hosts::Ours(Vec::new()));
        assert_eq!(gateway("[gateway]\nallowed_hosts = [\"Crm\"]"), Hosts::Ours(vec!["crm".into()]));
        for (what, toml) in [("TLS", tls.to_owned()), ("mTLS", format!("auth.kind = \"mtls\"\n{tls}")), ("JWT", token.to_owned())]
        {
            assert_eq!(gateway(&format!("[gateway]\n{toml}")), Hosts::Any, "{what}");
        }
    }
}
