//! What a server's certificate must be for each `sslmode`, as libpq has it (PostgreSQL manual,
//! section 34.19.1): `prefer` and `require` take any certificate, but check the chain where a root
//! certificate is given; `verify-ca` checks the chain; `verify-full` the host name too.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::DialError;
use crate::config::{ShardTls, SslMode};

/// The name a certificate is checked against and that is sent in the handshake.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, DialError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::TlsSetup(format!("`{host}` is not a host name")))
}

/// Reads the root certificates and fixes the checks.
pub(super) fn client_config(tls: &ShardTls) -> Result<Arc<ClientConfig>, DialError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(verifier(tls, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::TlsSetup(error.to_string()))?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

fn verifier(tls: &ShardTls, provider: &Arc<CryptoProvider>) -> Result<Verifier, DialError> {
    let takes_any = matches!(
        tls.mode,
        SslMode::Disable | SslMode::Prefer | SslMode::Require
    );
    let roots = match &tls.root_certificate {
        Some(path) => read_roots(path)?,
        None if takes_any => Vec::new(),
        None => system_roots()?,
    };
    let chain = if roots.is_empty() {
        None
    } else {
        Some(chain_verifier(&roots, provider)?)
    };
    let check_name = tls.mode == SslMode::VerifyFull;
    Ok(Verifier {
        chain,
        roots,
        check_name,
        provider: Arc::clone(provider),
    })
}

fn chain_verifier(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, DialError> {
    let mut store = RootCertStore::empty();
    let (added, _ignored) = store.add_parsable_certificates(roots.iter().cloned());
    if added == 0 {
        return Err(DialError::TlsSetup(
            "no root certificate could be used".into(),
        ));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
        .build()
        .map_err(|error| DialError::TlsSetup(error.to_string()))
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let failed = |error: std::io::Error| {
        DialError::TlsSetup(format!(
            "cannot read root certificate {}: {error}",
            path.display()
        ))
    };
    let mut file = std::io::BufReader::new(std::fs::File::open(path).map_err(failed)?);
    let roots: Vec<_> = rustls_pemfile::certs(&mut file)
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if roots.is_empty() {
        return Err(DialError::TlsSetup(format!(
            "{} holds no certificate",
            path.display()
        )));
    }
    Ok(roots)
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, DialError> {
    let roots = rustls_native_certs::load_native_certs().certs;
    if roots.is_empty() {
        let message = "the system has no root certificates: name one in root_certificate";
        return Err(DialError::TlsSetup(message.into()));
    }
    Ok(roots)
}

#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate is taken.
    chain: Option<Arc<WebPkiServerVerifier>>,
    roots: Vec<CertificateDer<'static>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// A server whose own certificate is the root given (made by `openssl req -x509`): libpq accepts
    /// it, webpki does not, because the certificate is marked as an authority.
    fn is_pinned(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        self.roots.iter().any(|root| root == certificate) && is_in_time(certificate, now)
    }
}

fn is_in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    use x509_cert::der::Decode;
    let Ok(certificate) = x509_cert::Certificate::from_der(certificate) else {
        return false;
    };
    let validity = certificate.tbs_certificate.validity;
    let seconds = now.as_secs();
    let from = validity.not_before.to_unix_duration().as_secs();
    (from..=validity.not_after.to_unix_duration().as_secs()).contains(&seconds)
}

fn is_only_the_name(error: &rustls::Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        if self.is_pinned(certificate, now) {
            if self.check_name {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // webpki looks at the name last: the chain was good.
            Err(error) if !self.check_name && is_only_the_name(&error) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
