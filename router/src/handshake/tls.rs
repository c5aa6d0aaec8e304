//! TLS towards clients: certificate, key, and what a client must show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::{ClientTls, ClientTlsMode};
use crate::scram::binding::tls_server_end_point;

/// The protocol's name in TLS (RFC 7301), as registered by PostgreSQL.
pub(super) const ALPN: &[u8] = b"postgresql";

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("TLS needs tls.certificate and tls.key")]
    Missing,
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("the certificate and its key cannot be used: {0}")]
    Certificate(#[source] rustls::Error),
    #[error("the client authority in {} cannot be used: {why}", path.display())]
    Authority { path: PathBuf, why: String },
}

/// Whether clients may or must use TLS, and with what.
#[derive(Clone)]
pub struct ServerTls {
    mode: ClientTlsMode,
    acceptor: Option<TlsAcceptor>,
    /// What SCRAM-SHA-256-PLUS binds to; none: cannot.
    end_point: Option<Arc<[u8]>>,
}

impl ServerTls {
    /// Plain connections only.
    pub fn disabled() -> Self {
        Self {
            mode: ClientTlsMode::Disable,
            acceptor: None,
            end_point: None,
        }
    }

    /// Reads certificate, key and client authority.
    pub fn load(config: &ClientTls) -> Result<Self, ServerTlsError> {
        if config.mode == ClientTlsMode::Disable {
            return Ok(Self::disabled());
        }
        let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
            return Err(ServerTlsError::Missing);
        };
        let chain = read_certificates(certificate)?;
        let end_point = chain.first().and_then(|own| tls_server_end_point(own));
        let server = server_config(chain, read_key(key)?, config.client_authority.as_deref())?;
        Ok(Self {
            mode: config.mode,
            acceptor: Some(TlsAcceptor::from(Arc::new(server))),
            end_point: end_point.map(Arc::from),
        })
    }

    pub(super) fn mode(&self) -> ClientTlsMode {
        self.mode
    }

    pub(super) fn acceptor(&self) -> Option<&TlsAcceptor> {
        self.acceptor.as_ref()
    }

    pub(super) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Option<&Path>,
) -> Result<ServerConfig, ServerTlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = client_verifier(authority, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Certificate)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(ServerTlsError::Certificate)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn client_verifier(
    authority: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ServerTlsError> {
    let Some(path) = authority else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let unusable = |why: String| ServerTlsError::Authority {
        path: path.to_owned(),
        why,
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(error.to_string()))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let unreadable = |source| ServerTlsError::Read {
        path: path.to_owned(),
        source,
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    match certificates.map_err(unreadable)? {
        none if none.is_empty() => Err(ServerTlsError::Empty(path.to_owned())),
        certificates => Ok(certificates),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ServerTlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| ServerTlsError::Read {
        path: path.to_owned(),
        source,
    })
}
