//! Proxies in front of a server: one speaks TLS in the server's place, and one stops half way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Issued;

/// Accepts connections that begin directly with TLS, as servers of version 17 do, and forwards their content. Returns
/// its port. Its threads end with the connections, and with the process.
pub(crate) fn direct(issued: &Issued, server: u16) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            std::thread::spawn(move || hand_on(stream, config, server));
        }
    });
    port
}

/// Forwards in both directions on one thread. It waits a moment for one direction, then for the other.
fn hand_on(client: TcpStream, config: Arc<ServerConfig>, server: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
    let mut connection = ServerConnection::new(config).unwrap();
    let mut raw = client;
    while connection.is_handshaking() {
        if connection.complete_io(&mut raw).is_err() {
            return;
        }
    }
    // A client that begins directly with TLS has to name the protocol.
    assert_eq!(connection.alpn_protocol(), Some(&b"postgresql"[..]));
    let moment = Some(Duration::from_millis(2));
    raw.set_read_timeout(moment).unwrap();
    server.set_read_timeout(moment).unwrap();
    let mut client = StreamOwned::new(connection, raw);
    let mut bytes = [0; 8192];
    loop {
        match client.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => server.write_all(&bytes[..count]).unwrap(),
            Err(error) if is_moment(&error) => {}
            Err(_) => return,
        }
        match server.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => client.write_all(&bytes[..count]).unwrap(),
            Err(error) if is_moment(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_moment(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Says that it speaks TLS, reads the first bytes of the handshake, and then sends only these bytes. Returns its
/// port.
pub(crate) fn stops(says: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        stream.read_exact(&mut bytes[..8]).unwrap();
        stream.write_all(b"S").unwrap();
        assert!(stream.read(&mut bytes).unwrap() > 0);
        stream.write_all(says).unwrap();
    });
    port
}
