//! TLS, by rustls: the system's certificates, or those of one file.

use crate::output::alert::AlertError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What a server has to prove itself with.
pub(super) struct Tls {
    connector: TlsConnector,
    roots: usize,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("roots", &self.roots).finish()
    }
}

impl Tls {
    /// Reads the certificates.
    pub(super) fn prepare(ca_file: Option<&Path>) -> Result<Self, AlertError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            let bad = |reason| AlertError::Content {
                path: path.to_owned(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|source| AlertError::File {
                path: path.to_owned(),
                source,
            })?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|_| bad("is not PEM"))?;
                roots
                    .add(certificate)
                    .map_err(|_| bad("has a certificate that cannot be used"))?;
            }
            if roots.is_empty() {
                return Err(bad("has no certificate"));
            }
        } else {
            // What cannot be read of the system's is missed when a server shows such a certificate.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let count = roots.len();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| AlertError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            roots: count,
        })
    }

    /// Whether any server could prove itself.
    pub(super) fn check(&self) -> Result<(), AlertError> {
        if self.roots == 0 {
            return Err(AlertError::Tls(
                "this machine trusts no authority: install its certificates, or give ca_file".to_owned(),
            ));
        }
        Ok(())
    }

    /// Makes a connection a safe one.
    pub(super) async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, tcp).await
    }
}
