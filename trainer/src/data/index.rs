//! The index of a data set: a CSV or Parquet table with one row per image, with its location and split.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::text::sanitize_line;
use landfall_model::LatLng;
use serde::{Deserialize, Deserializer};

use crate::io::{paths, tabular};

/// One image of a data set.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Row {
    /// Data set the image belongs to.
    pub(crate) set: String,
    /// Path of the image, relative to the images folder.
    pub(crate) file: PathBuf,
    #[serde(deserialize_with = "optional_number")]
    pub(crate) lat: Option<f64>,
    #[serde(deserialize_with = "optional_number")]
    pub(crate) lng: Option<f64>,
    /// ISO 3166-1 alpha-2 code of the country.
    pub(crate) iso2: String,
    /// Images of one place (or one author) share a group; groups are never split.
    pub(crate) group: String,
    /// `train`, `dev` or the name of an evaluation set.
    pub(crate) split: String,
    /// Degrees clockwise from north for a view of a panorama; other data sets may have other text here.
    #[serde(default)]
    pub(crate) heading: String,
    /// Line of the index file, for messages; the header counts as line 1, also for Parquet.
    #[serde(skip)]
    pub(crate) line: usize,
    /// Coordinates, checked and filled in by [`read`]. `None` if only the country is known.
    #[serde(skip)]
    pub(crate) at: Option<LatLng>,
}

fn optional_number<'de, D: Deserializer<'de>>(field: D) -> std::result::Result<Option<f64>, D::Error> {
    let text = String::deserialize(field)?;
    if text.is_empty() {
        return Ok(None);
    }
    let number: f64 = text.parse().map_err(serde::de::Error::custom)?;
    if number.is_finite() { Ok(Some(number)) } else { Err(serde::de::Error::custom("a number is not finite")) }
}

/// Reads and checks an index file.
///
/// # Errors
/// If the file cannot be read, a column is missing, or a row has invalid coordinates or a path outside the image
/// directory; the message names the line.
pub(crate) fn read(file: &Path) -> Result<Vec<Row>> {
    let (names, records) = tabular::read(file)?;
    let mut rows = Vec::new();
    for (i, record) in records.enumerate() {
        let line = i + 2; // the header is line 1
        let row = record.and_then(|record| Ok(record.deserialize::<Row>(Some(&names))?));
        let mut row = row.with_context(|| format!("{}, line {line}: not a valid index row", file.display()))?;
        if let Err(why) = paths::check_relative(&row.file) {
            bail!("{}, line {line}: the file name `{}` {why}", file.display(), sanitize_line(row.file.display()));
        }
        if row.heading.parse::<f64>().is_ok_and(|heading| !heading.is_finite()) {
            bail!("{}, line {line}: the heading is not a finite number", file.display());
        }
        row.at = match (row.lat, row.lng) {
            (Some(lat), Some(lng)) => {
                Some(LatLng::new(lat, lng).with_context(|| format!("{}, line {line}", file.display()))?)
            }
            (None, None) => None,
            _ => bail!("{}, line {line}: has only one of lat and lng; give both or neither", file.display()),
        };
        row.line = line;
        rows.push(row);
    }
    Ok(rows)
}

/// Reads the rows of the given splits, or all rows if none are given.
///
/// # Errors
/// As [`read`], and if no row is left; the message lists the existing splits.
pub(crate) fn read_splits(file: &Path, splits: &[String]) -> Result<Vec<Row>> {
    let mut rows = read(file)?;
    let mut existing: Vec<String> = rows.iter().map(|row| row.split.clone()).collect();
    rows.retain(|row| splits.is_empty() || splits.contains(&row.split));
    if rows.is_empty() {
        existing.sort();
        existing.dedup();
        bail!(
            "{}: no row has the split {}; existing splits: {}",
            file.display(),
            splits.join(" or "),
            existing.join(", ")
        );
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Row>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    const HEADER: &str = "set,file,lat,lng,iso2,group,split\n";

    #[test]
    fn reads_places_and_countries() {
        let rows = read_text(&format!("{HEADER}s,a.jpg,10.5,190,FR,g,train\ns,b.jpg,,,DE,h,dev\n")).unwrap();
        assert_eq!(rows[0].at.map(|at| (at.lat, at.lng)), Some((10.5, -170.0)));
        assert_eq!((rows[1].at, rows[1].iso2.as_str(), rows[1].line), (None, "DE", 3));
    }

    #[test]
    fn errors_name_the_line() {
        let good = "s,a.jpg,1,2,FR,g,train\n";
        let bad = [
            "s,b.jpg,95,2,FR,g,train\n",
            "s,b.jpg,1,,FR,g,train\n",
            "s,b.jpg,x,2,FR,g,train\n",
            "s,b.jpg,NaN,2,FR,g,train\n",
            "s,b.jpg,1,-inf,FR,g,train\n",
            "s,b.jpg\n",
            "s,/etc/passwd,1,2,FR,g,train\n",
            "s,a/../../b.jpg,1,2,FR,g,train\n",
            "s,C:/b.jpg,1,2,FR,g,train\n",
            "s,a\\b.jpg,1,2,FR,g,train\n",
            "s,\"b\u{1b}.jpg\",1,2,FR,g,train\n",
        ];
        for bad in bad {
            let error = format!("{:#}", read_text(&format!("{HEADER}{good}{bad}")).unwrap_err());
            assert!(error.contains("line 3") && !error.contains('\u{1b}'), "{error}");
        }
        let heading =
            "set,file,lat,lng,iso2,group,split,heading\ns,a.jpg,1,2,FR,g,train,north\ns,b.jpg,1,2,FR,g,train,inf\n";
        assert!(read_text(heading).unwrap_err().to_string().contains("line 3: the heading"));
    }

    #[test]
    fn damaged_tables_are_errors() {
        let good = format!("{HEADER}s,a.jpg,10.5,190,FR,g,train\ns,\"b,\"\"c.jpg\",,,DE,h,dev\n").into_bytes();
        let words =
            ["\"", ",", "\r", "\n\n", "1e999", "NaN", "-inf", "1e308", "\0", "\u{feff}", "99999999999999999999"];
        let mut state = 1u64;
        let mut random = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        for number in 0..200 {
            let mut bytes = good.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => bytes.truncate(at.max(1)),
                    2 => drop(bytes.splice(at..at, words[random(words.len())].bytes())),
                    _ => drop(bytes.splice(at..at, good.clone())),
                }
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            for row in read(file.path()).unwrap_or_default() {
                assert!(row.at.is_none_or(|at| LatLng::new(at.lat, at.lng).is_ok()), "{number}: {row:?}");
            }
        }
    }

    #[test]
    fn an_unknown_split_is_an_error_that_lists_the_splits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{HEADER}s,a.jpg,1,2,FR,g,train\n")).unwrap();
        let error = read_splits(file.path(), &["trian".into()]).unwrap_err().to_string();
        assert!(error.contains("trian") && error.ends_with("existing splits: train"), "{error}");
    }

    #[test]
    fn damaged_indexes_are_errors_and_not_panics() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["set", "file", "lat", "lng", "iso2", "group", "split"];
        let mut random = 7u64;
        let mut next = move |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % n
        };
        for name in ["index.csv", "index.parquet"] {
            let file = dir.path().join(name);
            let mut writer = tabular::Writer::create(&file, &names, &["lat", "lng"]).unwrap();
            for i in 0..40 {
                let (lat, group) = (format!("{}.5", i % 80), format!("g{i}"));
                writer
                    .push(["s".into(), format!("{i}.jpg"), lat, "7".into(), "FR".into(), group, "dev".into()])
                    .unwrap();
            }
            writer.finish().unwrap();
            let whole = std::fs::read(&file).unwrap();
            assert_eq!(read(&file).unwrap().len(), 40);
            for _ in 0..1000 {
                let mut bytes = whole.clone();
                match next(4) {
                    0 => bytes.truncate(next(whole.len())),
                    1 => {
                        let (part, at) = (bytes[..next(whole.len())].to_vec(), next(whole.len()));
                        bytes.splice(at..at, part);
                    }
                    _ => (0..=next(8)).for_each(|_| bytes[next(whole.len())] = next(256) as u8),
                }
                std::fs::write(&file, bytes).unwrap();
                if let Err(error) = read(&file) {
                    assert!(format!("{error:#}").contains(name), "{error:#}");
                }
            }
        }
    }
}
