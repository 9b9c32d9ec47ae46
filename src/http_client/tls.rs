//! TLS to others: whom a server has to convince, and who we are. TLS inwards is HAProxy's.

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InvalidMessage};
use ureq::Error;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, Transport};

/// Settings of TLS. A clone shares what was derived from them.
#[derive(Clone)]
pub(crate) struct Tls {
    config: TlsConfig,
    connector: Arc<RustlsConnector>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The certificates that this host trusts; where it has none, those of Mozilla's that the program
/// was built with. Read once.
static HOST_ROOTS: LazyLock<RootCerts> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates: Vec<Certificate> =
        found.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
    if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::from(certificates) }
});

impl Tls {
    /// Trusts what the host trusts.
    pub(crate) fn of_host() -> Tls {
        Tls::with(TlsConfig::builder().root_certs(HOST_ROOTS.clone()).build())
    }

    /// Trusts the certificates of this PEM text, and what they signed.
    pub(crate) fn of_ca(pem: &str) -> Result<Tls, String> {
        let roots = RootCerts::from(certificates(pem)?);
        Ok(Tls::with(TlsConfig::builder().root_certs(roots).build()))
    }

    /// Trusts any certificate: what is sent is hidden from others, and not from a wrong server.
    pub(crate) fn unverified() -> Tls {
        Tls::with(TlsConfig::builder().disable_verification(true).build())
    }

    /// Trusts the CA, and shows this certificate, chain and key in PEM, to a server that asks.
    pub(crate) fn with_client(ca: &str, chain: &str, key: &str) -> Result<Tls, String> {
        let shown = certificates(chain).map_err(|why| format!("cert: {why}"))?;
        check_pair(&shown, key)?;
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|_| "key: no private key in it")?;
        let identity = ClientCert::new_with_certs(&shown, key);
        let roots = RootCerts::from(certificates(ca).map_err(|why| format!("ca: {why}"))?);
        let builder = TlsConfig::builder().root_certs(roots).client_cert(Some(identity));
        Ok(Tls::with(builder.build()))
    }

    fn with(config: TlsConfig) -> Tls {
        Tls { config, connector: Arc::default() }
    }

    pub(super) fn config(&self) -> TlsConfig {
        self.config.clone()
    }

    /// Shakes hands within the deadline of the connection.
    pub(super) fn wrap(
        &self,
        socket: impl Transport,
        details: &ConnectionDetails,
    ) -> Result<Box<dyn Transport>, Error> {
        // What is derived from the settings is kept for a whole agent only, and each request has a
        // deadline of its own, which makes its details those of a request.
        let of_agent = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let wrapped = self.connector.connect(&of_agent, Some(socket))?;
        wrapped.map(Transport::boxed).ok_or(Error::TlsRequired)
    }
}

/// At least one, or what is wrong.
fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => (),
            Err(_) => return Err("is not valid PEM".to_owned()),
        }
    }
    if found.is_empty() { Err("has no certificate in PEM".to_owned()) } else { Ok(found) }
}

/// A pair that does not belong together would be an abort in ureq.
fn check_pair(chain: &[Certificate], key: &str) -> Result<(), String> {
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| "key: has no private key in PEM, or one with a password")?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    pair.map(drop).map_err(|err| format!("cert and key: {err}"))
}

/// What is wrong with the TLS of a server, and what to do; `None` if the error is another.
pub(crate) fn fault(err: &io::Error) -> Option<String> {
    let trust = "set ca_file to the certificate of its CA";
    fault_with(err, trust, "use http:// or its port for TLS")
}

/// The same with one's own words for how to trust a CA, and how to do without TLS.
pub(crate) fn fault_with(err: &io::Error, trust: &str, without: &str) -> Option<String> {
    let inner = err.get_ref()?;
    let tls = inner.downcast_ref::<rustls::Error>().or_else(|| inner.source()?.downcast_ref())?;
    Some(match tls {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("no trusted CA signed the server's certificate; {trust}")
        }
        // A CA that was made anew under the same name has another key.
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            format!(
                "the server's certificate is not signed by the CA that is set, which has the same \
                 name; {trust}"
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired; renew it there".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another name; use a name that it has".to_owned(),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("the server does not speak TLS on this port; {without}")
        }
        rustls::Error::InvalidCertificate(why) if why.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of a CA, as `openssl req -x509` makes it; make it \
             with -addext basicConstraints=critical,CA:FALSE"
                .to_owned()
        }
        other => format!("TLS failed: {other}"),
    })
}
