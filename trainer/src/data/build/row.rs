//! A row of the index that is being built.

use std::sync::Arc;

use landfall_model::LatLng;
use landfall_model::countries::Country;

/// A row of the index. Strings that many rows have in common are shared, since there may be millions of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) set: Arc<str>,
    pub(super) file: String,
    pub(super) at: Option<LatLng>,
    pub(super) country: Option<&'static Country>,
    pub(super) group: String,
    pub(super) heading: Option<f64>,
    pub(super) split: &'static str,
    pub(super) source: String,
    pub(super) licence: Arc<str>,
    /// Shorter side in pixels, from the manifest.
    pub(super) side: u32,
}

impl Row {
    /// The fields in the order of [`HEADER`].
    pub(super) fn fields(&self) -> [String; 12] {
        let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
        let (lat, lng) = (self.at.map(|at| at.lat), self.at.map(|at| at.lng));
        let (iso2, country) = self.country.map_or(("", ""), |country| (country.iso2, country.name));
        let level = if self.at.is_some() { "coordinate" } else { "country" };
        let (set, file, group, source) = (&*self.set, &self.file, &self.group, &self.source);
        [
            set.into(),
            file.clone(),
            number(lat),
            number(lng),
            iso2.into(),
            country.into(),
            level.into(),
            group.clone(),
            number(self.heading),
            self.split.into(),
            source.clone(),
            (*self.licence).into(),
        ]
    }
}

pub(super) const HEADER: [&str; 12] =
    ["set", "file", "lat", "lng", "iso2", "country", "label_level", "group", "heading", "split", "source", "licence"];

/// The numeric columns.
pub(super) const NUMBERS: [&str; 3] = ["lat", "lng", "heading"];
