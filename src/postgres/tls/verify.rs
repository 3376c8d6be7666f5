//! Checks whether the server is the wanted one, by libpq's rules.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::fault::Fault;
use super::sight::Sight;
use crate::plain::plain;
use crate::sync::Mutex;

/// How far a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Level {
    /// Not at all: the link is encrypted, but the other end may be anybody.
    Nothing,
    /// Whether a trusted authority issued it.
    Issuer,
    /// Whether a trusted authority issued it, and whether it is for this host.
    Host,
}

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) level: Level,
    /// `None` if nothing is checked.
    pub(super) chain: Option<Arc<WebPkiServerVerifier>>,
    /// The trusted certificates. The server's own certificate may be one of them.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) provider: Arc<CryptoProvider>,
    /// Receives what this check finds out.
    pub(super) sight: Arc<Mutex<Sight>>,
}

impl Verifier {
    fn look(
        &self,
        chain: &WebPkiServerVerifier,
        der: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Fault> {
        let certificate = parsed(der)?;
        let own = certificate.tbs_certificate.issuer == certificate.tbs_certificate.subject;
        let is_trusted_itself = own && self.trusted.contains(der);
        let mut fits = Some(true);
        if is_trusted_itself {
            check_dates(&certificate, now)?;
            fits = None;
        } else if let Err(error) = chain.verify_server_cert(der, between, host, &[], now) {
            match error {
                Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                ) => fits = Some(false),
                error => return Err(named(&error, &certificate, own)),
            }
        }
        if self.level < Level::Host {
            return Ok(());
        }
        let names = Names::of(&certificate);
        if fits == Some(true) || names.fit(host) { Ok(()) } else { Err(Fault::Host(shown(host), names.shown())) }
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let until = parsed(der).ok().map(|found| found.tbs_certificate.validity.not_after.to_system_time());
        self.sight.lock().until = until;
        let looked = self.chain.as_ref().map_or(Ok(()), |chain| self.look(chain, der, between, host, now));
        looked.map(|()| ServerCertVerified::assertion()).map_err(|fault| {
            self.sight.lock().fault = Some(fault);
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    // This check is needed at every level: channel binding proves something only if the server that shows a
    // certificate holds its key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, der, signature, &self.provider.signature_verification_algorithms)
    }

    /// Checks with the key alone, so that a certificate of version 1 works too.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unfit = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let key = Certificate::from_der(der).map_err(unfit)?.tbs_certificate.subject_public_key_info;
        let key = SubjectPublicKeyInfoDer::from(key.to_der().map_err(unfit)?);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parsed(der: &CertificateDer<'_>) -> Result<Certificate, Fault> {
    Certificate::from_der(der).map_err(|error| Fault::Unfit(error.to_string()))
}

/// The fault for an error of a certificate. `own` is true if the certificate signs itself.
fn named(error: &Error, certificate: &Certificate, own: bool) -> Fault {
    use CertificateError as C;
    let validity = &certificate.tbs_certificate.validity;
    let Error::InvalidCertificate(error) = error else { return Fault::Unfit(error.to_string()) };
    match error {
        C::Expired | C::ExpiredContext { .. } => Fault::Expired(validity.not_after.to_system_time()),
        C::NotValidYet | C::NotValidYetContext { .. } => Fault::NotYet(validity.not_before.to_system_time()),
        C::Revoked => Fault::Revoked,
        C::UnknownRevocationStatus | C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
            Fault::Unlisted
        }
        _ if certificate.tbs_certificate.version == x509_cert::Version::V1 => Fault::Version1,
        _ if own => Fault::SelfSigned,
        C::UnknownIssuer => Fault::Issuer(certificate.tbs_certificate.issuer.to_string()),
        error => Fault::Unfit(plain(&error.to_string()).into_owned()),
    }
}

fn check_dates(certificate: &Certificate, now: UnixTime) -> Result<(), Fault> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    let validity = &certificate.tbs_certificate.validity;
    let (from, until) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
    match now {
        now if now < from => Err(Fault::NotYet(from)),
        now if now > until => Err(Fault::Expired(until)),
        _ => Ok(()),
    }
}

/// The names that a certificate is for.
struct Names {
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    /// Used only if there are neither hosts nor addresses.
    common: Vec<String>,
}

impl Names {
    fn of(certificate: &Certificate) -> Self {
        let certificate = &certificate.tbs_certificate;
        let mut names = Self { hosts: Vec::new(), addresses: Vec::new(), common: Vec::new() };
        if let Ok(Some((_, alternative))) = certificate.get::<SubjectAltName>() {
            for name in alternative.0 {
                match name {
                    GeneralName::DnsName(name) => names.hosts.push(name.to_string()),
                    GeneralName::IpAddress(bytes) => names.addresses.extend(address(bytes.as_bytes())),
                    _ => {}
                }
            }
        }
        let attributes = certificate.subject.0.iter().flat_map(|part| part.0.iter());
        for attribute in attributes.filter(|attribute| attribute.oid == CN) {
            let value = &attribute.value;
            let text = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
            let text = text.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()));
            let text = text.or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.to_string()));
            names.common.extend(text);
        }
        names
    }

    fn fit(&self, host: &ServerName<'_>) -> bool {
        if let ServerName::IpAddress(ip) = host {
            let ip = IpAddr::from(*ip);
            if self.addresses.contains(&ip) {
                return true;
            }
        }
        let host = shown(host);
        let names = if self.hosts.is_empty() && self.addresses.is_empty() { &self.common } else { &self.hosts };
        names.iter().any(|name| matches(name, &host))
    }

    /// The names for an error. There may be many, so the list is cut.
    fn shown(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let mut names: Vec<String> = self.hosts.iter().cloned().chain(addresses).collect();
        if names.is_empty() {
            names.clone_from(&self.common);
        }
        let (count, shown) = (names.len(), names.iter().take(5).map(|name| format!("{:?}", plain(name))));
        let shown = shown.collect::<Vec<_>>().join(", ");
        match count {
            0 => "nobody".to_owned(),
            1..=5 => shown,
            _ => format!("{shown} and {} more", count - 5),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn shown(host: &ServerName<'_>) -> String {
    host.to_str().into_owned()
}

/// True if a name of the certificate matches the host. A `*` matches the whole first part of the host's name.
fn matches(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(rest) = name.strip_prefix("*.") else { return false };
    host.parse::<IpAddr>().is_err()
        && host.split_once('.').is_some_and(|(first, behind)| !first.is_empty() && behind.eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use rustls::client::Resumption;
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion, version};

    use super::*;

    /// Shows a certificate, and signs with this key.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// A handshake in memory with a server that shows one certificate and signs with the key of another.
    fn handshake(version: &'static SupportedProtocolVersion, shown: &Signed, signs: &Signed) -> Result<(), Error> {
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::try_from(signs.signing_key.serialize_der()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(vec![shown.cert.der().clone()], key);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]);
        let server = server.unwrap().with_no_client_auth().with_cert_resolver(Arc::new(Shows(Arc::new(certified))));
        let verifier = Verifier {
            level: Level::Nothing,
            chain: None,
            trusted: Vec::new(),
            provider: Arc::clone(&provider),
            sight: Arc::default(),
        };
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let client = client.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = client.with_no_client_auth();
        client.resumption = Resumption::disabled();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), "db.example.com".try_into().unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().map(drop)?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().map(drop)?;
            }
        }
        Ok(())
    }

    type Signed = rcgen::CertifiedKey<rcgen::KeyPair>;

    // A certificate is public. Without this check, an attacker could show the server's certificate without its key, and
    // pass on the proof of channel binding.
    #[test]
    fn whoever_shows_a_certificate_holds_its_key() {
        let own = rcgen::generate_simple_self_signed(["db.example.com".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["db.example.com".to_owned()]).unwrap();
        for version in [&version::TLS12, &version::TLS13] {
            assert_eq!(handshake(version, &own, &own), Ok(()));
            let found = handshake(version, &own, &other).unwrap_err();
            let wanted = Error::InvalidCertificate(CertificateError::BadSignature);
            assert_eq!(found, wanted, "{version:?}");
        }
    }

    #[test]
    fn a_star_stands_for_one_part() {
        for (name, host, wanted) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("*", "db", false),
            ("d*.example.com", "db.example.com", false),
        ] {
            assert_eq!(matches(name, host), wanted, "{name} {host}");
        }
    }
}
