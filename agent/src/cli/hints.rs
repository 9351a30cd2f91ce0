//! What the user knows of the places of photos, as options and as a table.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use clap::Args;
use landfall_common::exit::usage_error;
use landfall_model::CellTable;
use serde_json::{Value, json};

use crate::photos::archive::sha256;
use crate::photos::hints::{Hint, HintTable, HintedCells, Hints};
use crate::photos::inputs::NamedImage;

#[derive(Args)]
#[command(next_help_heading = "What is known of the place")]
pub(super) struct HintArgs {
    /// It is in one of these countries, given by two-letter codes, as in FR,BE
    #[arg(long, value_name = "CODES", value_parser = Hint::country)]
    country: Option<Hint>,
    /// It is within this many kilometres of a location, as in 48.86,2.35,50
    #[arg(long, value_name = "LAT,LNG,KM", value_parser = Hint::near, allow_hyphen_values = true)]
    near: Option<Hint>,
    /// It is between these latitudes and longitudes, over the date line if WEST is greater than EAST
    #[arg(long, value_name = "SOUTH,WEST,NORTH,EAST", value_parser = Hint::bounds, allow_hyphen_values = true)]
    bounds: Option<Hint>,
    /// It is in one of the polygons of this GeoJSON file
    #[arg(long, value_name = "FILE")]
    within: Option<PathBuf>,
    /// It is not in these countries, this circle or this box, written as above (repeatable)
    #[arg(long, value_name = "AREA", value_parser = Hint::exclude, allow_hyphen_values = true)]
    exclude: Vec<Hint>,
    /// CSV table with what is known of each photo
    ///
    /// Columns: file (relative to the table, or absolute), country, lat, lng, km, bounds, within, exclude. All but `file` may
    /// be missing or empty. Rows add to the options, which apply to all photos.
    #[arg(long, value_name = "FILE")]
    hints: Option<PathBuf>,
}

/// What is known of the places of photos.
pub(super) struct KnownPlaces {
    of_all: Hints,
    table: HintTable,
}

impl HintArgs {
    /// The options as given, for comparison with those of an earlier run.
    pub(super) fn as_json(&self) -> BTreeMap<String, Value> {
        let text = |hint: &Option<Hint>| hint.as_ref().map(|hint| hint.text.clone());
        let files = [("within", &self.within), ("hints", &self.hints)];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)));
        // A file of the same name may have other contents in the next run.
        let files = files.map(|(name, file)| (name, json!(std::fs::read(file).map(|bytes| sha256(&bytes)).ok())));
        let areas = [("country", &self.country), ("near", &self.near), ("bounds", &self.bounds)];
        let areas = areas.into_iter().filter_map(|(name, hint)| Some((name, json!(text(hint)?))));
        let excluded: Vec<&str> = self.exclude.iter().map(|hint| hint.text.as_str()).collect();
        let excluded = (!excluded.is_empty()).then(|| ("exclude", json!(excluded)));
        areas.chain(files).chain(excluded).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Reads the files that the options name.
    pub(super) fn read(&self) -> Result<KnownPlaces> {
        let Self { country, near, bounds, within, exclude, hints } = self;
        let mut of_all: Vec<Hint> = [country, near, bounds].into_iter().flatten().cloned().collect();
        of_all.extend(within.as_deref().map(Hint::within).transpose()?);
        of_all.extend(exclude.iter().cloned());
        let table = hints.as_deref().map(HintTable::read).transpose()?.unwrap_or_default();
        Ok(KnownPlaces { of_all: Hints::new(of_all), table })
    }
}

impl KnownPlaces {
    /// The hints for all photos, and those for single ones.
    pub(super) fn into_parts(self) -> (Hints, HintTable) {
        (self.of_all, self.table)
    }

    /// For each place, given by its images, the cells that are possible; `None` where nothing is known.
    ///
    /// # Errors
    /// When there are none for a place.
    pub(super) fn cells(&self, places: &[&[NamedImage]], cells: &CellTable) -> Result<Vec<Option<Rc<HintedCells>>>> {
        let mut known: HashMap<Vec<String>, Rc<HintedCells>> = HashMap::new();
        let of_place = |images: &&[NamedImage]| {
            let rows = images.iter().filter_map(|image| Some((image, self.table.of(&image.file)?)));
            let (mut hints, mut named) = (self.of_all.clone(), None);
            for (image, row) in rows {
                hints = hints.and(row);
                named = Some(image);
            }
            if hints.is_empty() {
                return Ok(None);
            }
            if let Some(found) = known.get(&hints.key()) {
                return Ok(Some(Rc::clone(found)));
            }
            let key = hints.key();
            let found = HintedCells::new(hints, cells).map_err(|error| match named {
                Some(image) => usage_error(format!("{}: {error}", image.given.display())),
                None => error,
            })?;
            let found = Rc::new(found);
            known.insert(key, Rc::clone(&found));
            Ok(Some(found))
        };
        places.iter().map(of_place).collect()
    }

    /// Rows of the table whose photo is none of these, one line each.
    pub(super) fn unused(&self, images: &[NamedImage]) -> Vec<String> {
        self.table.unused(images.iter().map(|image| -> &Path { &image.file }))
    }
}
