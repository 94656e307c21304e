//! Small certificate authorities: one for each control plane and one for each STS double.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A CA whose key is in memory.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).expect("a CA").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A serving certificate for these names (addresses among them) over a key that may serve many.
    pub(crate) fn leaf(&self, names: &[&str], key: &KeyPair) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names that a certificate may have");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.signed_by(key, &self.issuer).expect("a certificate")
    }

    /// A serving certificate with a key of its own.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate().expect("a key");
        Issued {
            cert: self.leaf(names, &key).pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client certificate: Kubernetes takes the common name as user and the organisations as groups.
    pub(crate) fn client(&self, cn: &str, orgs: &[String]) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, cn);
        // rcgen's names hold one value a type, so further groups need further certificates.
        assert!(
            orgs.len() <= 1,
            "a client certificate of the kit carries at most one organisation"
        );
        for org in orgs {
            params.distinguished_name.push(DnType::OrganizationName, org.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}
