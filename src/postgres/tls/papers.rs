//! Certificates and keys from files, with libpq's rules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::super::security::{Papers, Roots};
use super::fault::Fault;

const USUAL_ROOTS: &str = "~/.postgresql/root.crt";

/// The client's certificate, with the certificates between it and its authority, and its key.
pub(super) type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A file of the user, in the place where libpq looks for it.
fn usual(name: &str) -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".postgresql").join(name))
}

/// The trusted authorities; `None` if no setting names them and the user has no file for them.
pub(super) fn roots(papers: &Papers, is_needed: bool) -> Result<Option<Vec<CertificateDer<'static>>>, Fault> {
    match &papers.roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in found.errors {
                log::debug!("a certificate that this machine trusts cannot be read: {error}");
            }
            if found.certs.is_empty() { Err(Fault::NoRoots("the system's store")) } else { Ok(Some(found.certs)) }
        }
        Roots::File(path) => certificates(path, "the file that `sslrootcert` names").map(Some),
        Roots::Usual => match usual("root.crt").filter(|path| path.exists()) {
            Some(path) => certificates(&path, USUAL_ROOTS).map(Some),
            None if is_needed => Err(Fault::NoRoots(USUAL_ROOTS)),
            None => Ok(None),
        },
    }
}

pub(super) fn revoked(papers: &Papers) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
    let what = "the file that `sslcrl` names";
    let path = papers.revoked.clone().or_else(|| usual("root.crl").filter(|path| path.exists()));
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = read(&path, what)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(Fault::Empty(what))
}

pub(super) fn own(papers: &Papers) -> Result<Option<Own>, Fault> {
    if papers.has_none {
        return Ok(None);
    }
    let what =
        if papers.certificate.is_some() { "the file that `sslcert` names" } else { "~/.postgresql/postgresql.crt" };
    let path = papers.certificate.clone().or_else(|| usual("postgresql.crt").filter(|path| path.exists()));
    let Some(path) = path else { return Ok(None) };
    let chain = certificates(&path, what)?;
    let path = papers.key.clone().or_else(|| usual("postgresql.key").filter(|path| path.exists()));
    Ok(Some((chain, key(&path.ok_or(Fault::NoKey)?)?)))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let what = "the file that `sslkey` names";
    let text = read(path, what)?;
    if is_open(path, what)? {
        return Err(Fault::Open);
    }
    let has = |words: &str| text.windows(words.len()).any(|found| found == words.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(Fault::Locked);
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| Fault::Empty(what))
}

/// True if users other than the owner may read the file. If root owns the file, its group may read it.
#[cfg(unix)]
fn is_open(path: &Path, what: &'static str) -> Result<bool, Fault> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path).map_err(|error| unreadable(what, &error))?;
    let others = if found.uid() == 0 { 0o037 } else { 0o077 };
    Ok(found.mode() & others != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path, _: &'static str) -> Result<bool, Fault> {
    Ok(false)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let text = read(path, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(Fault::Empty(what))
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &'static str, error: &io::Error) -> Fault {
    Fault::Unreadable(what, error.kind())
}
