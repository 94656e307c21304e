//! The four files of the state directory, read and written whole.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{CertificateError, file_error};

pub(super) const CERT: &str = "cert.pem";
pub(super) const KEY: &str = "key.pem";
pub(super) const CA: &str = "ca.pem";
pub(super) const CA_KEY: &str = "ca-key.pem";

/// Certificates are for everybody to read, keys are not.
pub(super) const PUBLIC: u32 = 0o644;
pub(super) const SECRET: u32 = 0o600;

/// What is in the files; `None` where there is no file.
#[derive(Default)]
pub(super) struct Files {
    pub(super) cert: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) ca_key: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn holds_authority(&self) -> bool {
        self.ca.is_some() && self.ca_key.is_some()
    }
}

pub(super) fn read(directory: &Path) -> Result<Files, CertificateError> {
    Ok(Files {
        cert: read_one(directory, CERT)?,
        key: read_one(directory, KEY)?,
        ca: read_one(directory, CA)?,
        ca_key: read_one(directory, CA_KEY)?,
    })
}

fn read_one(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, CertificateError> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(&path, error)),
    }
}

pub(super) fn missing(directory: &Path, name: &str) -> CertificateError {
    file_error(&directory.join(name), io::ErrorKind::NotFound.into())
}

pub(super) fn write(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    let path = directory.join(name);
    write_whole(&path, bytes, mode).map_err(|error| file_error(&path, error))
}

/// Writes a file so that whoever opens it sees the old content or the new, never a part: a temporary file beside it, then a rename.
/// A file that is mounted by itself cannot be renamed over; it is written in place.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = create(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The temporary file may not exist; nothing is lost when it stays.
        let _ = fs::remove_file(&temporary);
        return match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => fs::write(path, bytes),
            _ => Err(error),
        };
    }
    Ok(())
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // One left behind by a crash may have another mode.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
