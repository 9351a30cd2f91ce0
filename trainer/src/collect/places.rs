//! Places to ask for imagery at: from addresses, from a list of points, or from all over a country.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use geo::BoundingRect;
use landfall_model::cells::leaf;
use landfall_model::{LatLng, countries};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// S2 level of the blocks, about 10 km wide, whose towns are made alike.
const BLOCK_LEVEL: u64 = 10;
/// Tries for each place in a country before it is given up as too small for the map.
const TRIES: usize = 100_000;

/// Where places come from.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Places {
    /// File of OpenAddresses (line-delimited GeoJSON or csv, also as .gz): so many places of each file (repeat the option)
    #[arg(long)]
    addresses: Vec<PathBuf>,
    /// Csv of points with the columns lat and lng (repeat the option)
    #[arg(long)]
    points: Vec<PathBuf>,
    /// ISO 3166-1 alpha-2 code of a country, to be drawn from evenly (repeat the option)
    #[arg(long)]
    country: Vec<String>,
}

impl Places {
    /// `n` places of each file and country, or all where there are fewer; the same for the same seed.
    ///
    /// # Errors
    /// When a file cannot be read or a country is not known.
    pub(super) fn draw(&self, n: usize, seed: u64) -> Result<Vec<LatLng>> {
        let mut places = Vec::new();
        for (i, file) in self.addresses.iter().chain(&self.points).enumerate() {
            let is_addresses = i < self.addresses.len();
            let (drawn, left_out) = sample(file, is_addresses, n, seed.wrapping_add(i as u64))?;
            if left_out > 0 {
                eprintln!("{}: {left_out} lines have no place and are left out", file.display());
            }
            places.extend(drawn);
        }
        for code in &self.country {
            let country = countries::by_code(&code.to_uppercase());
            let country = country.with_context(|| format!("--country {code}: there is no such ISO 3166-1 code"))?;
            let Some(bounds) = country.shape.bounding_rect() else { bail!("--country {code}: too small for the map") };
            let mut random = StdRng::seed_from_u64(seed);
            // Evenly over the ground: by the sine of the latitude.
            let sine = |degrees: f64| degrees.clamp(-90.0, 90.0).to_radians().sin();
            let (south, north) = (sine(bounds.min().y), sine(bounds.max().y));
            let draw = || {
                let lat = random.random_range(south..=north).asin().to_degrees();
                LatLng::new(lat, random.random_range(bounds.min().x..=bounds.max().x)).ok()
            };
            let inside = |at: &LatLng| countries::at(*at).is_some_and(|found| found.iso2 == country.iso2);
            let drawn: Vec<LatLng> =
                std::iter::repeat_with(draw).take(TRIES.max(100 * n)).flatten().filter(inside).take(n).collect();
            if drawn.len() < n {
                bail!("--country {code}: too small for the map");
            }
            places.extend(drawn);
        }
        Ok(places)
    }
}

/// `n` places of a file, drawn so that a block of ground counts once and not by its addresses (the reservoir of Efraimidis
/// and Spirakis, 2006: the largest of U^(1/w)), and the number of lines without one.
fn sample(file: &Path, is_addresses: bool, n: usize, seed: u64) -> Result<(Vec<LatLng>, usize)> {
    let block = |at: LatLng| leaf(at).parent(BLOCK_LEVEL).0;
    let mut in_block: HashMap<u64, usize> = HashMap::new();
    let left_out = each(file, is_addresses, |at| *in_block.entry(block(at)).or_default() += 1)?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys: Vec<(f64, LatLng)> = Vec::new();
    each(file, is_addresses, |at| {
        // ln(U) / w orders as U^(1/w) does and does not vanish for small weights; w is one by the block's addresses.
        let key = random.random::<f64>().max(f64::MIN_POSITIVE).ln() * in_block[&block(at)] as f64;
        keys.push((key, at));
        if keys.len() >= 2 * n.max(1024) {
            keep_largest(&mut keys, n);
        }
    })?;
    keep_largest(&mut keys, n);
    Ok((keys.into_iter().map(|(_, at)| at).collect(), left_out))
}

fn keep_largest(keys: &mut Vec<(f64, LatLng)>, n: usize) {
    keys.sort_by(|a, b| b.0.total_cmp(&a.0));
    keys.truncate(n);
}

/// Goes through the places of a file and counts the lines that have none.
fn each(file: &Path, is_addresses: bool, mut take: impl FnMut(LatLng)) -> Result<usize> {
    let cannot = || format!("cannot read {}", file.display());
    let open = File::open(file).with_context(cannot)?;
    let is_packed = file.extension().is_some_and(|extension| extension == "gz");
    let plain: Box<dyn Read> = if is_packed { Box::new(MultiGzDecoder::new(open)) } else { Box::new(open) };
    let mut reader = BufReader::new(plain);
    let is_json = is_addresses && reader.fill_buf().with_context(cannot)?.trim_ascii_start().starts_with(b"{");
    let mut left_out = 0;
    if is_json {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(cannot)? > 0 {
            let text = line.trim_ascii();
            let text = text.strip_suffix(b",").unwrap_or(text);
            if !text.is_empty() {
                match address(text) {
                    Some(at) => take(at),
                    None => left_out += 1,
                }
            }
            line.clear();
        }
        return Ok(left_out);
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let headers = reader.headers().with_context(cannot)?.clone();
    let column =
        |names: &[&str]| headers.iter().position(|header| names.contains(&header.trim().to_lowercase().as_str()));
    let (lat, lng) = (column(&["lat", "latitude"]), column(&["lng", "lon", "longitude"]));
    let (Some(lat), Some(lng)) = (lat, lng) else {
        if headers.is_empty() {
            return Ok(0); // an empty file has no places, which is no mistake
        }
        bail!("{}: has no columns for latitude and longitude (lat and lng, or LAT and LON)", file.display());
    };
    for row in reader.records() {
        let row = row.ok();
        let number = |i: usize| row.as_ref()?.get(i)?.trim().parse::<f64>().ok();
        match number(lat).zip(number(lng)).and_then(|(lat, lng)| LatLng::new(lat, lng).ok()) {
            Some(at) => take(at),
            None => left_out += 1,
        }
    }
    Ok(left_out)
}

/// The place of a GeoJSON point: longitude comes first.
fn address(line: &[u8]) -> Option<LatLng> {
    let feature: Value = serde_json::from_slice(line).ok()?;
    let [lng, lat, ..] = feature["geometry"]["coordinates"].as_array()?.as_slice() else { return None };
    let at = LatLng::new(lat.as_f64()?, lng.as_f64()?).ok()?;
    ((at.lat, at.lng) != (0.0, 0.0)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn point(lng: f64, lat: f64) -> String {
        format!(r#"{{"type":"Feature","properties":{{}},"geometry":{{"type":"Point","coordinates":[{lng},{lat}]}}}}"#)
    }

    #[test]
    fn addresses_are_read_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let json = format!(
            "{}\n\n{},\n{{\"geometry\":null}}\nno json\n{}",
            point(2.0, 48.0),
            point(4.8, 45.7),
            point(0.0, 0.0)
        );
        let (plain, packed) = (dir.path().join("a.geojson"), dir.path().join("a.geojson.gz"));
        std::fs::write(&plain, &json).unwrap();
        let mut out = File::create(&packed).unwrap();
        // In two members, as files are that were put together.
        for half in [&json[..100], &json[100..]] {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(half.as_bytes()).unwrap();
            out.write_all(&gz.finish().unwrap()).unwrap();
        }
        for file in [&plain, &packed] {
            let (mut places, left_out) = sample(file, true, 10, 1).unwrap();
            places.sort_by(|a, b| a.lat.total_cmp(&b.lat));
            assert_eq!(places.iter().map(|at| (at.lat, at.lng)).collect::<Vec<_>>(), [(45.7, 4.8), (48.0, 2.0)]);
            assert_eq!(left_out, 3);
        }
        let csv = dir.path().join("b.csv");
        std::fs::write(&csv, "LON,LAT,NUMBER,STREET\n4.8,45.7,1,\"Rue, longue\"\nx,1,2,\n").unwrap();
        assert_eq!(sample(&csv, true, 10, 1).unwrap().1, 1);
        std::fs::write(&csv, "").unwrap();
        assert_eq!(sample(&csv, true, 10, 1).unwrap(), (Vec::new(), 0));
        std::fs::write(&csv, "a,b\n1,2\n").unwrap();
        assert!(sample(&csv, true, 10, 1).unwrap_err().to_string().contains("no columns for latitude"));
    }

    #[test]
    fn a_town_counts_as_much_as_a_village_and_seeds_decide() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.geojson");
        let town: String = (0..990).map(|i| point(2.35 + f64::from(i) * 1e-6, 48.85) + "\n").collect();
        let villages: String = (0..10).map(|i| point(4.0 + f64::from(i), 45.0) + "\n").collect();
        std::fs::write(&file, town + &villages).unwrap();
        let in_villages = |seed| {
            let (places, _) = sample(&file, true, 5, seed).unwrap();
            assert_eq!(places.len(), 5);
            places.iter().filter(|at| at.lat == 45.0).count()
        };
        // One block of eleven, not 99 of 100 addresses.
        let all: usize = (0..20).map(in_villages).sum();
        assert!(all > 70, "{all} of 100");
        assert_eq!(sample(&file, true, 5, 3).unwrap(), sample(&file, true, 5, 3).unwrap());
        assert_ne!(sample(&file, true, 5, 3).unwrap(), sample(&file, true, 5, 4).unwrap());
    }

    #[test]
    fn places_in_a_country_are_in_it() {
        let places = Places { addresses: vec![], points: vec![], country: vec!["ch".into()] };
        let drawn = places.draw(50, 7).unwrap();
        assert!(drawn.len() == 50 && drawn.iter().all(|at| countries::at(*at).unwrap().iso2 == "CH"));
        let unknown = Places { country: vec!["xx".into()], ..places };
        assert!(unknown.draw(1, 7).unwrap_err().to_string().contains("no such ISO 3166-1 code"));
    }
}
