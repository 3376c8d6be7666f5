//! TLS to the server, by rustls. Each connection reads certificates and keys again, so that a renewed one takes effect
//! without a restart.

mod fault;
mod papers;
mod sight;
mod verify;

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, version};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connector::PostgresConnector;
use super::security::{Mode, Papers, Security, Versions};
use crate::sync::Mutex;
pub(super) use fault::Fault;
use sight::Sight;
pub(super) use verify::Level;
use verify::Verifier;

/// The protocol name that servers of version 17 and later expect.
const PROTOCOL: &[u8] = b"postgresql";

/// TLS for one connection.
pub(super) struct Tls {
    pub(super) connector: PostgresConnector,
    pub(super) level: Level,
    pub(super) sight: Arc<Mutex<Sight>>,
}

/// Reads the certificates and prepares TLS for one connection.
pub(super) fn prepare(security: &Security) -> Result<Tls, Fault> {
    let papers = &security.papers;
    let provider = Arc::new(ring::default_provider());
    // As in libpq: if there is a root certificate, the server's certificate is verified against it, whatever the mode.
    let (level, trusted) = match (papers::roots(papers, security.mode >= Mode::VerifyCa)?, security.mode) {
        (Some(roots), Mode::VerifyFull) => (Level::Host, roots),
        (Some(roots), _) => (Level::Issuer, roots),
        (None, _) => (Level::Nothing, Vec::new()),
    };
    let chain = match level {
        Level::Nothing => None,
        Level::Issuer | Level::Host => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(trusted.iter().cloned());
            let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = roots.with_crls(papers::revoked(papers)?).build();
            Some(verifier.map_err(|error| Fault::Unfit(error.to_string()))?)
        }
    };
    let sight = Arc::new(Mutex::new(Sight::default()));
    let verifier = Verifier { level, chain, trusted, provider: Arc::clone(&provider), sight: Arc::clone(&sight) };
    let config = config(papers, provider, verifier)?;
    Ok(Tls { connector: PostgresConnector::new(MakeRustlsConnect::new(config)), level, sight })
}

fn config(
    papers: &Papers,
    provider: Arc<rustls::crypto::CryptoProvider>,
    verifier: Verifier,
) -> Result<ClientConfig, Fault> {
    let versions = match papers.versions {
        Versions::Both => &[&version::TLS13, &version::TLS12][..],
        Versions::Only12 => &[&version::TLS12],
        Versions::Only13 => &[&version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.map_err(|error| Fault::Nothing(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match papers::own(papers)? {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| Fault::Unmatched(error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = papers.tells_host;
    // Each configuration serves one connection.
    config.resumption = Resumption::disabled();
    Ok(config)
}
