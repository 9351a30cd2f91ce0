//! The certificates of `serve`, generated once and stored, so that phones continue to trust them.
//!
//! There are two: a root certificate, which a phone can be told to trust once, and a site certificate signed by it. The
//! site certificate is renewed when it expires or the computer gets another address. The root is constrained to private
//! networks: a stolen key cannot be used to impersonate sites on the internet.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{Datelike, Days, NaiveDate, Utc};
use landfall_common::exit::environment_error;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use serde::{Deserialize, Serialize};

use crate::dirs;
use crate::server::phone::network::PRIVATE_NETWORKS;

/// Validity of a site certificate in days. Phones accept at most 825 for user-installed roots.
const SITE_DAYS: u64 = 365;
/// Validity of the root certificate in days.
const ROOT_DAYS: u64 = 3650;
/// The certificate is renewed when it expires within this number of days.
const RENEW_DAYS: u64 = 30;

/// Summary of the site certificate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Certificate {
    /// Last day of validity.
    pub until: NaiveDate,
    /// Host names and IP addresses of the certificate.
    pub names: Vec<String>,
    /// File that stores the certificate.
    pub kept_in: PathBuf,
}

/// Both certificates with their keys, in one file so that they are always consistent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredCertificates {
    root: CertifiedKey,
    site: CertifiedKey,
    names: Vec<String>,
    #[serde(skip)]
    file: PathBuf,
}

/// A certificate and its key, as PEM.
#[derive(Debug, Serialize, Deserialize)]
struct CertifiedKey {
    certificate: String,
    key: String,
    until: NaiveDate,
}

/// The stored certificate for these addresses, or a new one if there is none that is valid.
///
/// # Errors
/// When there is no configuration directory, or it cannot be read or written.
pub(super) fn load_or_create(addresses: &[IpAddr]) -> Result<StoredCertificates> {
    let dir = dirs::config_dir().ok_or_else(|| {
        environment_error("no configuration directory for the certificate: set LANDFALL_CONFIG to a directory")
    })?;
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let names = loopback.into_iter().chain(addresses.iter().map(IpAddr::to_string)).collect();
    load_or_create_in(&dir.join("serve"), names, Utc::now().date_naive())
}

fn load_or_create_in(dir: &Path, names: Vec<String>, today: NaiveDate) -> Result<StoredCertificates> {
    let file = dir.join("certificate.json");
    // What is valid for too long was made while the clock was wrong, and is not valid yet.
    let is_valid = |pair: &CertifiedKey, days: u64| {
        pair.until > today + Days::new(RENEW_DAYS) && pair.until <= today + Days::new(days + RENEW_DAYS)
    };
    restrict_to_owner(&file);
    // An unreadable file is replaced: phones only have to trust the new root.
    let stored = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<StoredCertificates>(&text).ok());
    let stored = stored.map(|stored| StoredCertificates { file: file.clone(), ..stored });
    let root = match stored {
        Some(stored) if is_valid(&stored.site, SITE_DAYS) && names.iter().all(|name| stored.names.contains(name)) => {
            return Ok(stored);
        }
        Some(stored) if is_valid(&stored.root, ROOT_DAYS) => Some(stored.root),
        _ => None,
    };
    let created = create(root, names, today, file).context(environment_error("cannot create a certificate"))?;
    create_private_dir(dir)
        .with_context(|| environment_error(format!("cannot create the directory {}", dir.display())))?;
    write_private(&created.file, &serde_json::to_vec_pretty(&created)?)
        .with_context(|| environment_error(format!("cannot write {}", created.file.display())))?;
    Ok(created)
}

fn create(
    root: Option<CertifiedKey>,
    names: Vec<String>,
    today: NaiveDate,
    file: PathBuf,
) -> Result<StoredCertificates, rcgen::Error> {
    let root = match root {
        Some(root) => root,
        None => {
            let (key, until) = (KeyPair::generate()?, today + Days::new(ROOT_DAYS));
            CertifiedKey {
                certificate: root_params(today, until).self_signed(&key)?.pem(),
                key: key.serialize_pem(),
                until,
            }
        }
    };
    // Only the name and key of the root matter for signing, not its validity.
    let issuer = Issuer::new(root_params(today, root.until), KeyPair::from_pem(&root.key)?);
    let (key, until) = (KeyPair::generate()?, root.until.min(today + Days::new(SITE_DAYS)));
    let mut params =
        with_name_and_validity(CertificateParams::new(names.clone())?, "Landfall on this network", today, until);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(StoredCertificates { root, site: CertifiedKey { certificate, key: key.serialize_pem(), until }, names, file })
}

fn root_params(today: NaiveDate, until: NaiveDate) -> CertificateParams {
    // The name must not change: it is the issuer of stored site certificates.
    let mut params =
        with_name_and_validity(CertificateParams::default(), "Landfall, private networks alone", today, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let networks = PRIVATE_NETWORKS
        .iter()
        .map(|(at, prefix)| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*at, *prefix)));
    let names = [GeneralSubtree::DnsName("localhost".into())];
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: networks.chain(names).collect(), excluded_subtrees: Vec::new() });
    params
}

/// Validity starts one day earlier, since the clock of a phone may be slow.
fn with_name_and_validity(
    mut params: CertificateParams,
    name: &str,
    today: NaiveDate,
    until: NaiveDate,
) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |day: NaiveDate| rcgen::date_time_ymd(day.year(), day.month() as u8, day.day() as u8);
    (params.not_before, params.not_after) = (day(today - Days::new(1)), day(until));
    params
}

impl StoredCertificates {
    /// The site certificate and its key, as PEM.
    pub(super) fn site_pem(&self) -> (Vec<u8>, Vec<u8>) {
        (self.site.certificate.clone().into_bytes(), self.site.key.clone().into_bytes())
    }

    /// The root certificate as PEM, which phones can install from a file.
    pub(super) fn into_root_pem(self) -> String {
        self.root.certificate
    }

    pub(super) fn summary(&self) -> Certificate {
        Certificate { until: self.site.until, names: self.names.clone(), kept_in: self.file.clone() }
    }
}

/// Writes a file atomically that only this user can read, from its creation on: temporary files have mode 0600.
fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary =
        tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(file.parent().unwrap_or(file))?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map(drop).map_err(|error| error.error)
}

/// Older versions stored the keys with the permissions of any file. Errors are ignored: the directory is private as well.
#[cfg(unix)]
fn restrict_to_owner(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        let _ = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600));
    }
}

#[cfg(not(unix))]
fn restrict_to_owner(_: &Path) {}

/// Creates a directory that only this user can access.
#[cfg(unix)]
fn create_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn certificate_is_renewed_on_expiry_and_new_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let at = |names: &[&str], today: &str| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            load_or_create_in(&dir.path().join("serve"), names, day(today)).unwrap()
        };
        let first = at(&["localhost", "192.168.1.7"], "2026-11-26");
        assert_eq!(first.site.until, day("2027-11-26"));
        // A missing address does not require a new certificate.
        let again = at(&["localhost"], "2027-10-20");
        assert_eq!((&again.site.certificate, &again.site.key), (&first.site.certificate, &first.site.key));
        // A new address and expiry do. The root is kept.
        let moved = at(&["localhost", "10.0.0.3"], "2026-11-27");
        assert_ne!(moved.site.certificate, first.site.certificate);
        let renewed = at(&["localhost", "10.0.0.3"], "2027-11-20");
        assert_ne!(renewed.site.certificate, moved.site.certificate);
        assert_eq!(renewed.root.certificate, first.root.certificate);
        // So is one that was made with a wrong clock.
        let wrong = at(&["localhost"], "2030-01-01");
        assert!(wrong.root.certificate == first.root.certificate && wrong.site.until == day("2031-01-01"));
        assert_eq!(at(&["localhost"], "2027-11-20").site.until, day("2028-11-19"));
        // A root close to expiry and an invalid file are replaced.
        let later = at(&["localhost"], "2036-11-10");
        assert_ne!(later.root.certificate, first.root.certificate);
        std::fs::write(&later.file, "nonsense").unwrap();
        assert_ne!(at(&["localhost"], "2036-11-10").root.certificate, later.root.certificate);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&dir.path().join("serve")), 0o700);
            assert_eq!(mode(&later.file), 0o600);
            // Of a certificate that was stored with the usual permissions, the keys are hidden before it is used.
            std::fs::set_permissions(&later.file, std::fs::Permissions::from_mode(0o644)).unwrap();
            at(&["localhost"], "2036-11-10");
            assert_eq!(mode(&later.file), 0o600);
        }
    }
}
