//! The certificate of `serve`, made here and kept, so that a phone which has trusted it goes on.
//!
//! There are two: a root, which a phone can be told to trust once, and the site's own, signed with it and made anew when
//! it ends or the machine has got another address. The root is good for private networks alone: were its key lost, nobody
//! could pass for a site of the internet with it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{Datelike, Days, NaiveDate, Utc};
use landfall_common::exit::environment_error;
use landfall_common::fs::write_json;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use serde::{Deserialize, Serialize};

use crate::dirs;
use crate::server::phone::network::PRIVATE_NETWORKS;

/// Days that a site's certificate is good for: phones take no more than 825 from a root of one's own.
const SITE_DAYS: u64 = 365;
const ROOT_DAYS: u64 = 3650;
/// The certificate is renewed when it expires within this number of days.
const RENEW_DAYS: u64 = 30;

/// The certificate as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// The last day it is good on.
    pub until: NaiveDate,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// The file it is kept in.
    pub kept_in: PathBuf,
}

/// Both certificates with their keys, in one file: all of it is there or nothing is.
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

/// The kept certificate for this machine's addresses; a new one where there is none that is good.
///
/// # Errors
/// When there is no configuration directory, or it cannot be read or written.
pub(super) fn load_or_create(addresses: &[IpAddr]) -> Result<StoredCertificates> {
    let dir = dirs::config_dir().ok_or_else(|| {
        environment_error("there is no place to keep the certificate in: set LANDFALL_CONFIG to a folder")
    })?;
    let always = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let names = always.into_iter().chain(addresses.iter().map(IpAddr::to_string)).collect();
    load_or_create_in(&dir.join("serve"), names, Utc::now().date_naive())
}

fn load_or_create_in(dir: &Path, names: Vec<String>, today: NaiveDate) -> Result<StoredCertificates> {
    let file = dir.join("certificate.json");
    let lasts = |pair: &CertifiedKey| pair.until > today + Days::new(RENEW_DAYS);
    // What cannot be read is replaced: nothing but trust is lost.
    let kept = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<StoredCertificates>(&text).ok());
    let kept = kept.map(|kept| StoredCertificates { file: file.clone(), ..kept });
    let root = match kept {
        Some(kept) if lasts(&kept.site) && names.iter().all(|name| kept.names.contains(name)) => return Ok(kept),
        Some(kept) if lasts(&kept.root) => Some(kept.root),
        _ => None,
    };
    let made = create(root, names, today, file).context(environment_error("cannot make a certificate"))?;
    create_private_dir(dir).with_context(|| environment_error(format!("cannot make the folder {}", dir.display())))?;
    write_json(&made.file, &made)?;
    Ok(made)
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
    // By its name and key the root signs; of its days nothing goes into what it signs.
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

/// Clocks of phones may be behind, so it is good from the day before.
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
    /// The site's certificate and its key, as PEM.
    pub(super) fn site_pem(&self) -> (Vec<u8>, Vec<u8>) {
        (self.site.certificate.clone().into_bytes(), self.site.key.clone().into_bytes())
    }

    /// The root as PEM, which phones take from a file.
    pub(super) fn into_root_pem(self) -> String {
        self.root.certificate
    }

    pub(super) fn summary(&self) -> Certificate {
        Certificate { until: self.site.until, names: self.names.clone(), kept_in: self.file.clone() }
    }
}

/// A folder that nobody else may look into.
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
    fn it_is_kept_until_it_ends_or_the_machine_has_another_address() {
        let dir = tempfile::tempdir().unwrap();
        let at = |names: &[&str], today: &str| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            load_or_create_in(&dir.path().join("serve"), names, day(today)).unwrap()
        };
        let first = at(&["localhost", "192.168.1.7"], "2026-11-26");
        assert_eq!(first.site.until, day("2027-11-26"));
        // One address fewer is no reason.
        let again = at(&["localhost"], "2027-10-20");
        assert_eq!((&again.site.certificate, &again.site.key), (&first.site.certificate, &first.site.key));
        // Another is, and the end is; the root stays.
        let moved = at(&["localhost", "10.0.0.3"], "2026-11-27");
        assert_ne!(moved.site.certificate, first.site.certificate);
        let renewed = at(&["localhost", "10.0.0.3"], "2027-11-20");
        assert_ne!(renewed.site.certificate, moved.site.certificate);
        assert_eq!(renewed.root.certificate, first.root.certificate);
        // A root near its end is replaced, and so is a file that holds nonsense.
        let later = at(&["localhost"], "2036-11-10");
        assert_ne!(later.root.certificate, first.root.certificate);
        std::fs::write(&later.file, "nonsense").unwrap();
        assert_ne!(at(&["localhost"], "2036-11-10").root.certificate, later.root.certificate);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join("serve")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }
}
