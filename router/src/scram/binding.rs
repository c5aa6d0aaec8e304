//! Channel binding `tls-server-end-point` (RFC 5929, section 4): the hash of the server's
//! certificate, by the hash that its signature uses; MD5 and SHA-1 count as SHA-256.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The binding data for a certificate in DER. None when its signature has no hash of its own
/// (Ed25519, RSA-PSS): then neither side may offer SCRAM-SHA-256-PLUS.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let hash = hash_of_signature(&parsed.signature_algorithm.oid.to_string())?;
    Some(hash(certificate))
}

type Hash = fn(&[u8]) -> Vec<u8>;

/// By object identifier: PKCS #1 (RFC 8017), ECDSA (RFC 5758), DSA with SHA-2 (RFC 5758).
fn hash_of_signature(oid: &str) -> Option<Hash> {
    match oid {
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Some(sha256),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.3.2" => Some(sha256),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Some(|b| Sha224::digest(b).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(|b| Sha384::digest(b).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(|b| Sha512::digest(b).to_vec()),
        _ => None,
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    };

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let der = certificate(&PKCS_ECDSA_P256_SHA256);
        assert_eq!(
            tls_server_end_point(&der),
            Some(Sha256::digest(&der).to_vec())
        );
        let der = certificate(&PKCS_ECDSA_P384_SHA384);
        assert_eq!(
            tls_server_end_point(&der),
            Some(Sha384::digest(&der).to_vec())
        );
    }

    #[test]
    fn a_signature_without_a_hash_cannot_bind() {
        assert_eq!(tls_server_end_point(&certificate(&PKCS_ED25519)), None);
        assert_eq!(tls_server_end_point(b"not a certificate"), None);
    }
}
