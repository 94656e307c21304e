use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use rcgen::generate_simple_self_signed;

use super::*;

const DAY: i64 = 24 * 60 * 60;

fn now() -> Timestamp {
    "2026-11-24T02:00:00Z".parse().expect("a time")
}

fn later(days: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + days * DAY).expect("a time")
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("certificate-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn settings(&self) -> CertificateSettings {
        let hostname = "example.com".to_owned();
        CertificateSettings {
            state_dir: self.0.clone(),
            hostname,
            address: "10.0.0.1".parse().ok(),
            renew: true,
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(&self.0).expect("a directory");
        fs::write(self.0.join(name), text).expect(name);
    }

    fn write_foreign(&self) -> String {
        let foreign = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a pair");
        self.write("cert.pem", &foreign.cert.pem());
        self.write("key.pem", &foreign.signing_key.serialize_pem());
        foreign.cert.pem()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Instant::now(), "1"))
}

fn is_faulty(metrics: &Metrics) -> bool {
    metrics
        .exposition()
        .contains("aws_iam_authenticator_certificate_reload_faulty 1\n")
}

fn told_end(metrics: &Metrics, end: Timestamp) -> bool {
    let line = r#"aws_iam_authenticator_certificate_expiry_timestamp_seconds{certificate="serving"}"#;
    metrics.exposition().contains(&format!("{line} {}\n", end.as_second()))
}

fn without_breaks(pem: &str) -> String {
    pem.split_whitespace().collect()
}

#[test]
fn an_empty_directory_gets_an_authority_and_a_pair() {
    let directory = Directory::new("empty");
    let loaded = load_or_make(&directory.settings(), now()).expect("a pair");
    assert!(loaded.ours);
    assert_eq!(loaded.trust_pem, directory.read("ca.pem"));
    assert_eq!(loaded.ends.as_second() - now().as_second(), 365 * DAY);
    assert_eq!(
        loaded.authority_ends.map(|ends| ends.as_second() - now().as_second()),
        Some(3652 * DAY)
    );
    for (name, mode) in [
        ("ca.pem", 0o644),
        ("ca-key.pem", 0o600),
        ("cert.pem", 0o644),
        ("key.pem", 0o600),
    ] {
        let metadata = fs::metadata(directory.0.join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(
        fs::read_dir(&directory.0).expect("a directory").count(),
        4,
        "no temporary file stays"
    );
    let before = directory.read("cert.pem");
    assert!(load_or_make(&directory.settings(), now()).expect("the same pair").ours);
    assert_eq!(directory.read("cert.pem"), before);
}

#[test]
fn ours_is_renewed_in_place_at_two_thirds() {
    let directory = Directory::new("renew");
    load_or_make(&directory.settings(), now()).expect("a pair");
    let (ca, key, cert) = (
        directory.read("ca.pem"),
        directory.read("key.pem"),
        directory.read("cert.pem"),
    );
    load_or_make(&directory.settings(), later(240)).expect("still good");
    assert_eq!(directory.read("cert.pem"), cert);
    let renewed = load_or_make(&directory.settings(), later(245)).expect("renewed");
    assert_eq!(renewed.ends, later(245 + 365));
    assert_ne!(directory.read("cert.pem"), cert);
    assert_eq!((directory.read("ca.pem"), directory.read("key.pem")), (ca.clone(), key));
    // Long after its end, too, and never beyond the end of the authority.
    let renewed = load_or_make(&directory.settings(), later(3500)).expect("renewed");
    assert_eq!((renewed.ends, renewed.trust_pem), (later(3652), ca));
}

#[test]
fn another_hostname_needs_another_certificate() {
    let directory = Directory::new("hostname");
    load_or_make(&directory.settings(), now()).expect("a pair");
    let cert = directory.read("cert.pem");
    let settings = CertificateSettings {
        hostname: "other.example.com".to_owned(),
        ..directory.settings()
    };
    load_or_make(
        &CertificateSettings {
            renew: false,
            ..settings.clone()
        },
        now(),
    )
    .expect("the same");
    assert_eq!(directory.read("cert.pem"), cert);
    load_or_make(&settings, now()).expect("renewed");
    assert_ne!(directory.read("cert.pem"), cert);
}

#[test]
fn what_may_not_be_renewed_lasts_as_long_as_its_authority() {
    let directory = Directory::new("pregenerated");
    let settings = CertificateSettings {
        renew: false,
        ..directory.settings()
    };
    let loaded = load_or_make(&settings, now()).expect("a pair");
    assert_eq!(Some(loaded.ends), loaded.authority_ends);
    let cert = directory.read("cert.pem");
    load_or_make(&settings, later(3600)).expect("the same");
    assert_eq!(directory.read("cert.pem"), cert);
}

#[test]
fn a_foreign_pair_is_never_written() {
    let directory = Directory::new("foreign");
    let cert = directory.write_foreign();
    let loaded = load_or_make(&directory.settings(), later(100_000)).expect("served as it is");
    assert!(!loaded.ours);
    assert_eq!(without_breaks(&loaded.trust_pem), without_breaks(&cert));
    assert_eq!(directory.read("cert.pem"), cert);
    assert_eq!(fs::read_dir(&directory.0).expect("a directory").count(), 2);
}

#[test]
fn an_authority_without_key_is_trusted_but_not_ours() {
    let directory = Directory::new("cert-manager");
    load_or_make(&directory.settings(), now()).expect("a pair");
    fs::remove_file(directory.0.join("ca-key.pem")).expect("removed");
    let cert = directory.read("cert.pem");
    let loaded = load_or_make(&directory.settings(), later(300)).expect("served as it is");
    assert!(!loaded.ours);
    assert_eq!(
        (loaded.trust_pem, directory.read("cert.pem")),
        (directory.read("ca.pem"), cert)
    );
    // Nor is one whose key belongs to another authority.
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    directory.write("ca-key.pem", &other);
    assert!(
        !load_or_make(&directory.settings(), later(300))
            .expect("served as it is")
            .ours
    );
    for name in ["cert.pem", "key.pem", "ca-key.pem"] {
        fs::remove_file(directory.0.join(name)).expect("removed");
    }
    assert!(matches!(
        load_or_make(&directory.settings(), now()),
        Err(CertificateError::AuthorityWithoutKey)
    ));
}

#[test]
fn half_a_pair_is_completed_only_when_it_is_ours() {
    let directory = Directory::new("half");
    directory.write_foreign();
    for name in ["key.pem", "cert.pem"] {
        let text = directory.read(name);
        fs::remove_file(directory.0.join(name)).expect("removed");
        assert!(matches!(
            load_or_make(&directory.settings(), now()),
            Err(CertificateError::HalfAPair { .. })
        ));
        directory.write(name, &text);
    }
    let ours = Directory::new("half-ours");
    load_or_make(&ours.settings(), now()).expect("a pair");
    let ca = ours.read("ca.pem");
    for name in ["key.pem", "cert.pem"] {
        fs::remove_file(ours.0.join(name)).expect("removed");
        assert!(load_or_make(&ours.settings(), now()).expect("made anew").ours);
        assert_eq!(ours.read("ca.pem"), ca);
    }
}

#[test]
fn faults_are_told_without_key_material() {
    let directory = Directory::new("faults");
    directory.write_foreign();
    let key = directory.read("key.pem");
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for (name, text) in [
        ("key.pem", &*other),
        ("key.pem", "SECRET"),
        ("cert.pem", ""),
        ("cert.pem", &*key),
    ] {
        let before = directory.read(name);
        directory.write(name, text);
        let error = load_or_make(&directory.settings(), now()).expect_err("unusable");
        assert!(
            !error.to_string().contains("SECRET") && !error.to_string().contains("PRIVATE"),
            "{error}"
        );
        directory.write(name, &before);
    }
    assert!(load_or_make(&directory.settings(), now()).is_ok());
}

#[test]
fn a_bad_new_pair_keeps_the_old_one() {
    let directory = Directory::new("reload");
    directory.write_foreign();
    let first = load_or_make(&directory.settings(), now()).expect("a pair");
    let metrics = metrics();
    let mut reloader = Reloader::new(directory.settings(), &first, Arc::clone(&metrics));
    let live = reloader.certificate();
    let served = |live: &LiveCertificate| live.load().cert.clone();
    let old = served(&live);
    reloader.look(now());
    assert_eq!((served(&live), is_faulty(&metrics)), (old.clone(), false));

    let key = directory.read("key.pem");
    directory.write("key.pem", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
    reloader.look(now());
    assert_eq!((served(&live), is_faulty(&metrics)), (old.clone(), true));
    fs::remove_file(directory.0.join("key.pem")).expect("removed");
    reloader.look(now());
    assert_eq!((served(&live), is_faulty(&metrics)), (old.clone(), true));
    directory.write("key.pem", &key);
    reloader.look(now());
    assert_eq!((served(&live), is_faulty(&metrics)), (old.clone(), false));

    directory.write_foreign();
    reloader.look(now());
    assert_ne!(served(&live), old);
    assert!(!is_faulty(&metrics));
}

#[test]
fn ours_is_renewed_while_running() {
    let directory = Directory::new("running");
    let first = load_or_make(&directory.settings(), now()).expect("a pair");
    let metrics = metrics();
    let mut reloader = Reloader::new(directory.settings(), &first, Arc::clone(&metrics));
    let live = reloader.certificate();
    let old = live.load().cert.clone();
    reloader.look(later(244));
    assert_ne!(live.load().cert.clone(), old);
    assert!(told_end(&metrics, later(244 + 365)));
}

#[test]
fn what_is_due_and_cannot_be_renewed_is_told() {
    let directory = Directory::new("overdue");
    load_or_make(&directory.settings(), now()).expect("a pair");
    // Nothing can be written in its place.
    let obstacle = directory.0.join(format!(".cert.pem.{}.tmp", std::process::id()));
    fs::create_dir(&obstacle).expect("a directory");
    let first = load_or_make(&directory.settings(), later(300)).expect("it still serves");
    let metrics = metrics();
    let told = |metrics: &Metrics, value: u8| {
        let line = format!("aws_iam_authenticator_certificate_renewal_faulty {value}\n");
        metrics.exposition().contains(&line)
    };
    let mut reloader = Reloader::new(directory.settings(), &first, Arc::clone(&metrics));
    let trouble = reloader.trouble();
    assert!(told(&metrics, 1));
    assert!(
        trouble
            .borrow()
            .as_ref()
            .is_some_and(|text| text.contains("cannot be renewed"))
    );
    reloader.look(later(300));
    assert!(told(&metrics, 1) && trouble.borrow().is_some());
    fs::remove_dir(&obstacle).expect("removed");
    reloader.look(later(300));
    assert!(told(&metrics, 0) && told_end(&metrics, later(300 + 365)));
    assert_eq!(*trouble.borrow(), None);
}
