//! The certificates and keys of a control plane.

use crate::authority::{Authority, Issued};
use rcgen::KeyPair;
use std::path::{Path, PathBuf};

pub(super) struct Pki {
    pub(super) authority: Authority,
    pub(super) admin: Issued,
    pub(super) ca_file: PathBuf,
    pub(super) serving_cert: PathBuf,
    pub(super) serving_key: PathBuf,
    pub(super) account_private_key: PathBuf,
    pub(super) account_public_key: PathBuf,
}

impl Pki {
    pub(super) fn new(folder: &Path) -> Self {
        let authority = Authority::new("iam-authenticator-kit cluster");
        let admin = authority.client("kit-admin", &["system:masters".to_owned()]);
        let serving = authority.server(&["127.0.0.1", "::1", "localhost", "kubernetes.default.svc"]);
        let accounts = KeyPair::generate().expect("a key");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a key file is written");
            path
        };
        Self {
            ca_file: write("ca.pem", authority.pem()),
            serving_cert: write("apiserver.pem", &serving.cert),
            serving_key: write("apiserver-key.pem", &serving.key),
            account_private_key: write("accounts-key.pem", &accounts.serialize_pem()),
            account_public_key: write("accounts.pem", &accounts.public_key_pem()),
            authority,
            admin,
        }
    }
}
