//! Reads collected images as rows of an index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use landfall_model::LatLng;
use landfall_model::countries;
use rayon::prelude::*;

use super::args::Args;
use super::report::{GONE, NO_PICTURE, NOWHERE, Report};
use super::row::Row;
use crate::collect;
use crate::data::split_rules::COAST_M;

/// Returns the stored images of all folders that have coordinates or a country.
pub(super) fn rows(args: &Args, report: &mut Report) -> Result<Vec<Row>> {
    let (mut rows, mut interner) = (Vec::new(), Interner::default());
    for folder in &args.folders {
        let prefix = path_within(&args.images, folder)?;
        let (name, before) = (folder_name(folder), report.found);
        for item in collect::items(folder)? {
            let item = item?;
            report.found += 1;
            let why = match item.status {
                Some(collect::Status::Ok) => None,
                Some(collect::Status::Missing) => Some(GONE),
                _ => Some(NO_PICTURE),
            };
            if let Some(why) = why {
                *report.left_out.entry(why).or_default() += 1;
                continue;
            }
            let place = item.lat.zip(item.lng).map(|(lat, lng)| LatLng::new(lat, lng)).transpose();
            rows.push(Row {
                set: interner.intern(&format!("{}_{name}", item.source)),
                file: prefix.join(&item.file).to_string_lossy().replace('\\', "/"),
                at: place.with_context(|| format!("{}: {}", folder.display(), item.id))?,
                country: countries::by_code(&item.iso2.to_uppercase()),
                // An image without a group is its own group.
                group: if item.group.is_empty() { format!("{}:{}", item.source, item.id) } else { item.group },
                heading: item.heading,
                source: if item.attribution.is_empty() { item.url } else { item.attribution },
                licence: interner.intern(&item.licence),
                split: "",
                side: item.width.min(item.height),
            });
        }
        if report.found == before {
            bail!(empty_folder_message(folder));
        }
    }
    // The country is derived from the coordinates, which takes precedence over the source.
    rows.par_iter_mut().for_each(|row| {
        if let Some(at) = row.at {
            row.country = countries::at_or_near(at, COAST_M);
        }
    });
    Ok(report.keep(rows, |row| (row.at.is_none() && row.country.is_none()).then_some(NOWHERE)))
}

/// The path of a folder relative to `images`.
pub(super) fn path_within(images: &Path, folder: &Path) -> Result<PathBuf> {
    let (images, here) = (std::path::absolute(images)?, std::path::absolute(folder)?);
    let why = || {
        format!(
            "{} is not inside {}; give a directory that contains both with --images",
            here.display(),
            images.display()
        )
    };
    Ok(here.strip_prefix(&images).with_context(why)?.to_owned())
}

/// The name of a folder, which is part of the name of its data set.
pub(super) fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn empty_folder_message(folder: &Path) -> String {
    format!("{} contains no collected images (manifest.jsonl is missing or empty)", folder.display())
}

/// Shares equal strings between rows.
#[derive(Default)]
struct Interner(HashSet<Arc<str>>);

impl Interner {
    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}
