//! What is known of a place before its picture is looked at: areas that it lies in, and areas that it does not.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod area;
mod cells;
mod polygons;
mod table;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use landfall_model::LatLng;

use area::Area;
pub(crate) use cells::{HintedCells, best_location};
pub(crate) use table::HintTable;

/// An area that a place lies in or does not.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    /// The name and the value of the option that states it, as in `country FR`.
    pub text: String,
    /// Tells hints with the same text apart: files of the same name in different directories.
    key: String,
    area: Arc<Area>,
    is_excluded: bool,
}

impl Hint {
    /// The place lies in one of these countries, as in `FR,BE`.
    ///
    /// # Errors
    /// When a code is unknown.
    pub(crate) fn country(text: &str) -> Result<Self, String> {
        Ok(Self::new("country", text, Area::countries(text)?))
    }

    /// The place lies in a circle: `LAT,LNG,KM`.
    ///
    /// # Errors
    /// When the text is not a circle on earth.
    pub(crate) fn near(text: &str) -> Result<Self, String> {
        Ok(Self::new("near", text, Area::circle(text)?))
    }

    /// The place lies in a circle; `text` says how that is known.
    ///
    /// # Errors
    /// When the radius is not one on earth.
    pub(crate) fn around(text: String, at: LatLng, radius_km: f64) -> Result<Self, String> {
        let area = Arc::new(Area::circle_around(at.lat, at.lng, radius_km)?);
        Ok(Self { key: format!("{text} ({at})"), text, area, is_excluded: false })
    }

    /// The place lies between two latitudes and two longitudes: `SOUTH,WEST,NORTH,EAST`.
    ///
    /// # Errors
    /// When the text is not a box on earth.
    pub(crate) fn bounds(text: &str) -> Result<Self, String> {
        Ok(Self::new("bounds", text, Area::bounds(text)?))
    }

    /// The place lies in one of the polygons of a GeoJSON file.
    ///
    /// # Errors
    /// When the file cannot be read or has no polygons.
    pub(crate) fn within(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let hint = Self::new("within", &name, Area::Polygons(polygons::read(file)?));
        Ok(Self { key: format!("within {}", file.display()), ..hint })
    }

    /// The place does not lie in these countries, or this circle, or this box.
    ///
    /// # Errors
    /// When the text is none of the three.
    pub(crate) fn exclude(text: &str) -> Result<Self, String> {
        let area = match text.split(',').count() {
            _ if !text.contains(|c: char| c.is_ascii_digit()) => Area::countries(text),
            3 => Area::circle(text),
            4 => Area::bounds(text),
            _ => Err(format!(
                "`{text}` is neither countries (FR,BE) nor a circle (LAT,LNG,KM) nor a box (SOUTH,WEST,NORTH,EAST)"
            )),
        };
        Ok(Self { is_excluded: true, ..Self::new("exclude", text, area?) })
    }

    fn new(option: &str, value: &str, area: Area) -> Self {
        let text = format!("{option} {value}");
        Self { key: text.clone(), text, area: Arc::new(area), is_excluded: false }
    }

    fn holds_at(&self, at: LatLng) -> bool {
        self.area.contains(at) != self.is_excluded
    }
}

/// All that is known of a place: every hint holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints(Vec<Hint>);

impl Hints {
    pub(crate) fn new(hints: Vec<Hint>) -> Self {
        Self(hints)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These hints and others.
    pub(crate) fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        for hint in &others.0 {
            if all.0.iter().all(|known| known.key != hint.key) {
                all.0.push(hint.clone());
            }
        }
        all
    }

    pub(crate) fn hold_at(&self, at: LatLng) -> bool {
        self.0.iter().all(|hint| hint.holds_at(at))
    }

    /// The options that state them, as in `country FR`.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|hint| hint.text.clone()).collect()
    }

    /// Equal for equal hints only.
    pub(crate) fn key(&self) -> Vec<String> {
        self.0.iter().map(|hint| hint.key.clone()).collect()
    }
}
