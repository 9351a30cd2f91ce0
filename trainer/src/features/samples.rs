//! Samples: index rows joined with the features from one or more feature folders.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_model::cells::leaf;
use sha2::{Digest, Sha256};

use crate::data::index::Row;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::store;

/// An image and its embeddings, one per feature folder that contains it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The index row of the image.
    pub(crate) row: Row,
    /// Embeddings of the image, in the order of the folders.
    pub(crate) variants: Vec<Vec<f32>>,
}

/// Joins index rows with feature folders. Rows without features are skipped.
///
/// # Errors
/// If a folder is damaged, folders are of different encoders, a feature is not finite or no row has features.
pub(crate) fn join(rows: Vec<Row>, folders: &[PathBuf]) -> Result<(EncoderSpec, Vec<Sample>)> {
    let mut seen = HashSet::new();
    if let Some(duplicate) = rows.iter().find(|row| !seen.insert(&row.file)) {
        bail!("{} is listed twice in the index, again in line {}", duplicate.file.display(), duplicate.line);
    }
    let mut loaded: Vec<(EncoderSpec, HashMap<PathBuf, Vec<f32>>)> =
        folders.iter().map(|folder| store::load(folder)).collect::<Result<_>>()?;
    let spec = loaded.first().context("give at least one feature directory")?.0.clone();
    if let Some(i) = loaded.iter().position(|(other, _)| *other != spec) {
        bail!("{} and {} contain features of different encoders", folders[0].display(), folders[i].display());
    }
    let samples: Vec<Sample> = rows
        .into_iter()
        .map(|row| Sample { variants: loaded.iter_mut().filter_map(|(_, f)| f.remove(&row.file)).collect(), row })
        .filter(|sample| !sample.variants.is_empty())
        .collect();
    if samples.is_empty() {
        bail!("no index row has features in {}", display_list(folders));
    }
    let finite = |sample: &Sample| sample.variants.iter().flatten().all(|x| x.is_finite());
    if let Some(bad) = samples.iter().find(|sample| !finite(sample)) {
        bail!(
            "the features of {} (index line {}) are not finite; embed the images again into an empty directory",
            bad.row.file.display(),
            bad.row.line
        );
    }
    Ok((spec, samples))
}

/// Groups the samples that have coordinates into rounds: one sample per round if `views` is 1, otherwise one round per
/// group, sorted by heading.
pub(crate) fn rounds(samples: &[Sample], views: usize) -> Vec<Vec<&Sample>> {
    let mut rounds: Vec<Vec<&Sample>> = Vec::new();
    let mut of_group: HashMap<&str, usize> = HashMap::new();
    for sample in samples.iter().filter(|sample| sample.row.at.is_some()) {
        let round = if views == 1 { rounds.len() } else { *of_group.entry(&sample.row.group).or_insert(rounds.len()) };
        if round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[round].push(sample);
    }
    for round in &mut rounds {
        // Numeric order, so that 90 comes before 180.
        let heading = |sample: &Sample| sample.row.heading.parse().unwrap_or(0.0) + 0.0; // without -0
        round.sort_by(|a, b| f64::total_cmp(&heading(a), &heading(b)).then_with(|| a.row.file.cmp(&b.row.file)));
    }
    rounds
}

/// Maximum distance in metres between views of one place.
const PLACE_M: f64 = 1000.0;

/// Returns whether two images show one place. Their group does not tell, since it may also be an author's.
pub(crate) fn is_one_place(a: &Row, b: &Row) -> bool {
    a.at.zip(b.at).is_some_and(|(a, b)| a.distance_m(b) <= PLACE_M)
}

/// S2 level of the blocks that are never divided between folds, about 150 km wide.
const BLOCK_LEVEL: u64 = 6;

/// The cross-validation fold of an image, a deterministic number below `folds`. Images with coordinates are assigned by
/// S2 block, since images from the same town leak between folds as those of the same group do; others by group.
pub(crate) fn fold_of(row: &Row, folds: usize) -> usize {
    hash_part(row, folds, "")
}

/// Returns whether an image is in the held-out part of `parts` used for early stopping. The parts are independent of
/// the folds; otherwise the training images of a fold might contain none of them.
pub(crate) fn is_held_out(row: &Row, parts: usize) -> bool {
    hash_part(row, parts, "early stop") == 0
}

fn hash_part(row: &Row, folds: usize, salt: &str) -> usize {
    let block = row.at.map(|at| leaf(at).parent(BLOCK_LEVEL).to_token());
    let hash = Sha256::digest(format!("{salt}{}", block.as_deref().unwrap_or(&row.group)));
    let number = hash.iter().take(7).fold(0usize, |number, byte| number << 8 | usize::from(*byte));
    number % folds.max(1)
}

/// Scales an embedding to unit length; a zero vector stays zero.
pub(crate) fn unit_vector(embedding: &[f32]) -> Vec<f32> {
    let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
    embedding.iter().map(|x| x / length.max(1e-12)).collect()
}

fn display_list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder: &PathBuf| Path::display(folder).to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::LatLng;

    fn row(group: &str, at: Option<LatLng>) -> Row {
        let csv = format!("set,file,lat,lng,iso2,group,split\ns,{group}.jpg,,,FR,{group},train\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        Row { at, ..crate::data::index::read(file.path()).unwrap().remove(0) }
    }

    #[test]
    fn folds_are_even_and_split_neither_groups_nor_towns() {
        let template = row("g", None);
        let mut sizes = [0; 5];
        (0..1000).for_each(|i| sizes[fold_of(&Row { group: format!("pano:{i}"), ..template.clone() }, 5)] += 1);
        assert!(sizes.iter().all(|size| (150..250).contains(size)), "{sizes:?}");
        let (lyon, suburb) = (LatLng::new(45.76, 4.83).unwrap(), LatLng::new(45.77, 4.88).unwrap());
        assert_eq!(fold_of(&row("a", Some(lyon)), 1000), fold_of(&row("b", Some(suburb)), 1000));
    }

    #[test]
    fn the_error_names_an_image_listed_twice() {
        let duplicate = Row { line: 7, ..row("a", None) };
        let features = tempfile::tempdir().unwrap();
        std::fs::write(features.path().join("encoder.json"), include_str!("../../encoders/clip-vit-b16.json")).unwrap();
        std::fs::write(features.path().join("files.txt"), "a.jpg\n").unwrap();
        std::fs::write(features.path().join("rows.f32"), vec![0; 4 * 1536]).unwrap();
        let error = join(vec![row("a", None), duplicate], &[features.path().into()]).unwrap_err().to_string();
        assert!(error.contains("a.jpg is listed twice") && error.contains("line 7"), "{error}");
    }

    #[test]
    fn early_stopping_holds_out_parts_independent_of_the_folds() {
        let rows: Vec<Row> = (0..200).map(|i| row(&format!("pano:{i}"), None)).collect();
        let first_fold = rows.iter().filter(|row| fold_of(row, 7) == 0);
        let held_out = first_fold.clone().filter(|row| is_held_out(row, 7)).count();
        assert!(held_out > 0 && held_out < first_fold.count() / 2);
    }

    #[test]
    fn views_of_a_group_are_ordered_by_heading() {
        let at = LatLng::new(45.76, 4.83).ok();
        let view = |group: &str, heading: &str| {
            let row = Row { heading: heading.into(), ..row(group, at) };
            Sample { row, variants: Vec::new() }
        };
        let samples = [view("a", "270"), view("b", "0"), view("a", "90"), view("a", "0"), view("a", "180")];
        let headings = |round: &Vec<&Sample>| round.iter().map(|s| s.row.heading.clone()).collect::<Vec<_>>();
        let four = rounds(&samples, 4);
        assert_eq!(four.iter().map(headings).collect::<Vec<_>>(), [vec!["0", "90", "180", "270"], vec!["0"]]);
        assert_eq!(rounds(&samples, 1).len(), 5);
    }
}
