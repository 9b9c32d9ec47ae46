//! Finds and reads the certificates that a config names: chain and key in one PEM file, or in two
//! as certbot and lego write them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::model::certificate::{CertificateFacts, CertificateSeen};
use crate::model::front_door::FrontDoor;
use crate::model::time::Wall;
use crate::regular_file;

/// Of a folder. A small host has tens of them.
const FILES_MAX: usize = 1000;
/// Of a file. A chain of five certificates has 10 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Certbot's names of chain and key.
const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate, and its key if that is in another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateFile {
    pub(crate) chain: PathBuf,
    pub(crate) key: Option<PathBuf>,
}

/// What a path of the config stands for: a file, or all certificates of a folder and of the folders
/// in it.
pub(crate) fn find(path: &Path) -> Result<Vec<CertificateFile>, String> {
    let kind = fs::metadata(path).map_err(|err| err.to_string())?;
    if kind.is_file() {
        return Ok(vec![file(path)]);
    }
    if let Some(pair) = pair_in(path) {
        return Ok(vec![pair]);
    }
    let mut found = Vec::new();
    for path in entries(path)? {
        if path.is_dir() {
            found.extend(pair_in(&path));
        } else if is_certificate(&path) {
            found.push(file(&path));
        }
    }
    if found.is_empty() {
        return Err(format!(
            "no certificate is in this folder: neither *.pem or *.crt, nor {CHAIN} beside {KEY}"
        ));
    }
    Ok(found)
}

/// In order of their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|err| err.to_string())?;
    let paths = entries.take(FILES_MAX + 1).map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<PathBuf>, _> = paths.collect();
    let mut paths = paths.map_err(|err| err.to_string())?;
    if FILES_MAX < paths.len() {
        return Err(format!("the folder has more than {FILES_MAX} entries"));
    }
    paths.sort();
    Ok(paths)
}

fn pair_in(folder: &Path) -> Option<CertificateFile> {
    let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
    (chain.is_file() && key.is_file()).then_some(CertificateFile { chain, key: Some(key) })
}

/// Lego writes the issuer's certificate beside, which is in the chain already.
fn is_certificate(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_pem = (name.ends_with(".pem") && name != KEY) || name.ends_with(".crt");
    is_pem && !name.ends_with(".issuer.crt") && path.is_file()
}

fn file(chain: &Path) -> CertificateFile {
    let beside = if chain.file_name().is_some_and(|name| name == CHAIN) {
        chain.with_file_name(KEY)
    } else {
        chain.with_extension("key")
    };
    CertificateFile { chain: chain.to_owned(), key: beside.is_file().then_some(beside) }
}

/// What a daemon would find now, without HAProxy's verdict on it.
pub(crate) fn found(door: &FrontDoor, now: Wall) -> Vec<CertificateSeen> {
    let paths = door.frontends.iter().flat_map(|frontend| &frontend.certificates);
    let mut found = Vec::new();
    for path in paths.collect::<BTreeSet<_>>() {
        let rejected = |source: &Path, why: String| CertificateSeen {
            source: source.to_owned(),
            served: None,
            rejected: Some(format!("{}: {why}", source.display())),
        };
        match find(path) {
            Err(why) => found.push(rejected(path, why)),
            Ok(files) => found.extend(files.iter().map(|file| match read(file, now) {
                Err(why) => rejected(&file.chain, why),
                Ok((_, facts)) => CertificateSeen {
                    source: file.chain.clone(),
                    served: Some(facts),
                    rejected: None,
                },
            })),
        }
    }
    found
}

/// Chain and key in one text, as HAProxy reads them, if the certificate is valid at `now`.
pub(crate) fn read(
    file: &CertificateFile,
    now: Wall,
) -> Result<(String, CertificateFacts), String> {
    let mut pem = text(&file.chain)?;
    if let Some(key) = &file.key {
        if !pem.ends_with('\n') {
            pem.push('\n');
        }
        pem += &text(key)?;
    }
    if !pem.contains("PRIVATE KEY-----") {
        return Err(format!(
            "it has no private key; the key belongs into the same file, or beside it as {KEY} or \
             *.key"
        ));
    }
    let pem = blocks(&pem);
    let facts = facts(&pem)?;
    if facts.not_after <= now {
        return Err(format!("it expired at {}", facts.not_after));
    }
    Ok((pem, facts))
}

fn text(path: &Path) -> Result<String, String> {
    let bytes = regular_file::read(path, FILE_BYTES_MAX);
    let name = path.display();
    let bytes = bytes.map_err(|err| format!("{name} cannot be read: {err}"))?;
    let bytes = bytes.ok_or(format!("{name} is larger than 1 MiB"))?;
    String::from_utf8(bytes).map_err(|_| format!("{name} is no PEM file"))
}

/// What is between the lines `-----BEGIN` and `-----END`, with them: other text and empty lines end
/// a command of HAProxy's.
fn blocks(pem: &str) -> String {
    let mut is_inside = false;
    let mut out = String::new();
    for line in pem.lines().map(str::trim).filter(|line| !line.is_empty()) {
        is_inside |= line.starts_with("-----BEGIN");
        if is_inside {
            out += line;
            out.push('\n');
        }
        is_inside &= !line.starts_with("-----END");
    }
    out
}

/// Of the first certificate, which is that of the host.
fn facts(pem: &str) -> Result<CertificateFacts, String> {
    let from = pem.find(BEGIN).ok_or("it has no certificate in PEM")?;
    let rest = &pem[from..];
    let to = rest.find(END).ok_or("its certificate has no end")? + END.len();
    let certificate = Certificate::from_pem(&rest.as_bytes()[..to])
        .map_err(|err| format!("its certificate cannot be read: {err}"))?;
    let signed = certificate.tbs_certificate();
    let seconds = signed.validity().not_after.to_unix_duration().as_secs();
    let not_after = Wall(i64::try_from(seconds).unwrap_or(i64::MAX));
    let alternative = signed.get_extension::<SubjectAltName>();
    let alternative = alternative.map_err(|err| format!("its names cannot be read: {err}"))?;
    let names = alternative.into_iter().flat_map(|(_, names)| names.0);
    let names = names.filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    });
    Ok(CertificateFacts { names: names.collect(), not_after })
}
