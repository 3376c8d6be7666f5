//! A connector of the driver that does TLS.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres::{Client, Config, Socket};

type Connect = dyn Fn(&Config, &Arc<AtomicBool>) -> Result<Client, postgres::Error> + Send + Sync;

/// A custom connector, which speaks TLS to the server and decides whom it trusts.
///
/// It does the work of the feature `tls` in another way: with other certificates, another library, or hardware that
/// keeps a key. `sslmode` of the connection string says whether TLS is used. Without `sslmode`, TLS is required. The
/// connector alone decides whether the server is the right one, also with `verify-ca` and `verify-full`.
///
/// # Examples
/// ```no_run
/// use readside::{PostgresConnector, PostgresOptions, PostgresStore};
/// # use readside::postgres_driver::NoTls as MyConnector;
/// // MyConnector: postgres_native_tls::MakeTlsConnector, for instance.
/// let connector = PostgresConnector::new(MyConnector);
/// let options = PostgresOptions::default().connector(connector);
/// let store = PostgresStore::connect_with("postgres://app@db.example.com/service", options)?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresConnector(Arc<Connect>);

impl PostgresConnector {
    /// Wraps a connector of the driver. Each connection is made with a clone of it, on its own thread.
    pub fn new<T>(connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self(Arc::new(move |config, begun| {
            config.connect(Noting { inner: connector.clone(), begun: Arc::clone(begun) })
        }))
    }

    /// Connects. `begun` is set when a TLS handshake begins, so the caller knows whether the new connection uses TLS.
    pub(super) fn connect(&self, config: &Config, begun: &Arc<AtomicBool>) -> Result<Client, postgres::Error> {
        (self.0)(config, begun)
    }
}

/// Shows the type, but nothing that it holds.
impl fmt::Debug for PostgresConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresConnector").finish_non_exhaustive()
    }
}

/// Clones are equal, and nothing else is.
impl PartialEq for PostgresConnector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PostgresConnector {}

/// Wraps a connector, and sets `begun` when a handshake begins.
struct Noting<T> {
    inner: T,
    begun: Arc<AtomicBool>,
}

impl<T: MakeTlsConnect<Socket>> MakeTlsConnect<Socket> for Noting<T> {
    type Stream = T::Stream;
    type TlsConnect = Noting<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, T::Error> {
        let inner = self.inner.make_tls_connect(domain)?;
        Ok(Noting { inner, begun: Arc::clone(&self.begun) })
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Noting<T> {
    type Stream = T::Stream;
    type Error = T::Error;
    type Future = T::Future;

    fn connect(self, stream: Socket) -> T::Future {
        self.begun.store(true, Ordering::SeqCst);
        self.inner.connect(stream)
    }
}
