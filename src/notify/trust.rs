//! Which certificates are trusted: those of the system, Mozilla's where the system has none (a bare container), and those of a
//! file. The cryptography is ring's, named here, so that nothing depends on a process-wide default.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::settings::SettingsError;

/// Largest file of certificate authorities that is read, in bytes; a full system bundle is a quarter of this.
const MAX_CA_FILE: u64 = 1 << 20;

/// Reads a PEM file of certificate authorities.
///
/// # Errors
/// Where it cannot be read or holds no certificate.
pub fn read_ca_file(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let fault = |reason: String| SettingsError::CaFile { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if size > MAX_CA_FILE {
        return Err(fault(format!("larger than {MAX_CA_FILE} bytes")));
    }
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| fault(error.to_string()))?;
    if certificates.is_empty() { Err(fault("holds no certificate".to_owned())) } else { Ok(pem) }
}

/// Whether the system has any certificate authority.
#[must_use]
pub fn system_has_roots() -> bool {
    !rustls_native_certs::load_native_certs().certs.is_empty()
}

/// The TLS settings of a client.
///
/// # Errors
/// Where `ca_file` cannot be used.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, SettingsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        let pem = read_ca_file(path)?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let fault = |reason: String| SettingsError::CaFile { path: path.to_owned(), reason };
            roots.add(certificate.map_err(|error| fault(error.to_string()))?).map_err(|error| fault(error.to_string()))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Tls { reason: error.to_string() })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let missing = client_config(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(missing.to_string().starts_with("ca_file /nonexistent/ca.pem: "), "{missing}");
        assert!(client_config(None).is_ok());
    }
}
