//! Places to search for imagery: sampled from addresses, from a list of points, or uniformly from a country.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use geo::{BoundingRect, Contains, Point, Polygon, Rect};
use landfall_common::text::eprint_sanitized;
use landfall_model::LatLng;
use landfall_model::cells::leaf;
use landfall_model::countries::{self, Country};
use landfall_model::metadata::gps;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::openaddresses::Service;
use super::source::{CommonArgs, place};
use super::table::{self, Table};

/// Maximum number of unusable rows that are listed.
const MAX_LISTED: usize = 5;
/// S2 level of the blocks that addresses are balanced over, about 10 km wide.
const BLOCK_LEVEL: u64 = 10;

/// Sources of places.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct PlaceArgs {
    /// OpenAddresses file or source name, as in us/wa/statewide (repeatable)
    ///
    /// Files are line-delimited GeoJSON or CSV, optionally compressed (.gz). The file of a source is downloaded; each
    /// source has its own licence.
    #[arg(long, value_name = "FILE|SOURCE", help_heading = "Input")]
    addresses: Vec<PathBuf>,
    /// CSV file of points with the columns lat and lng (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    points: Vec<PathBuf>,
    /// ISO 3166-1 alpha-2 code of a country to sample uniformly by area (repeatable)
    #[arg(long, value_name = "CODE", help_heading = "Input")]
    country: Vec<String>,
}

impl PlaceArgs {
    /// Samples `n` places per file and country, or all if there are fewer. Deterministic for a given seed.
    ///
    /// # Errors
    /// If a file cannot be read or downloaded, or a country is unknown.
    pub(super) async fn draw(
        &self,
        n: usize,
        seed: u64,
        service: &Service,
        common: &CommonArgs,
    ) -> Result<Vec<LatLng>> {
        let addresses = service.files(&self.addresses, common).await?;
        self.draw_of(&addresses, n, seed)
    }

    fn draw_of(&self, addresses: &[PathBuf], n: usize, seed: u64) -> Result<Vec<LatLng>> {
        let mut places = Vec::new();
        for (i, file) in addresses.iter().enumerate() {
            let (drawn, left_out) = sample_addresses(file, n, seed.wrapping_add(i as u64))?;
            if left_out > 0 {
                eprint_sanitized(format!("{}: skipped {left_out} lines without valid coordinates", file.display()));
            }
            places.extend(drawn);
        }
        for (i, file) in self.points.iter().enumerate() {
            let (points, notes) = points(file)?;
            if !notes.is_empty() {
                let listed = notes.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join("; ");
                let more = if notes.len() > MAX_LISTED { "; and more" } else { "" };
                let all = points.len() + notes.len();
                let (file, n) = (file.display(), notes.len());
                eprint_sanitized(format!("{file}: left out {n} of {all} points: {listed}{more}"));
            }
            let seed = seed.wrapping_add((addresses.len() + i) as u64);
            places.extend(sample(n, seed, |take| points.iter().for_each(|at| take(*at))));
        }
        for code in &self.country {
            let country = countries::by_code(&code.to_uppercase());
            let country = country.with_context(|| format!("--country {code}: no such ISO 3166-1 code"))?;
            let mut random = StdRng::seed_from_u64(seed);
            let drawn: Vec<LatLng> = in_country(country, &mut random).take(n).collect();
            if drawn.len() < n {
                bail!("--country {code}: too small for the built-in map; give points with --points");
            }
            places.extend(drawn);
        }
        Ok(places)
    }
}

/// Samples a country uniformly by area; yields nothing for a country that is too small for the map.
fn in_country(country: &Country, random: &mut StdRng) -> impl Iterator<Item = LatLng> {
    // Areas are proportional to differences of the sine of the latitude.
    let sine = |degrees: f64| degrees.clamp(-90.0, 90.0).to_radians().sin();
    let boxed = |polygon| -> Option<(&Polygon<f64>, Rect<f64>)> { Some((polygon, Polygon::bounding_rect(polygon)?)) };
    // Polygons across the date line are in the map twice.
    let parts: Vec<_> = country.shape.iter().filter_map(boxed).filter(|(_, bounds)| bounds.min().x >= -180.0).collect();
    let area = move |bounds: &Rect<f64>| bounds.width() * (sine(bounds.max().y) - sine(bounds.min().y));
    let all: f64 = parts.iter().map(|(_, bounds)| area(bounds)).sum();
    let draw = move || {
        let mut at = random.random::<f64>() * all;
        let (polygon, bounds) = parts.iter().find(|(_, bounds)| {
            at -= area(bounds);
            at < 0.0
        })?;
        let lat = random.random_range(sine(bounds.min().y)..=sine(bounds.max().y)).asin().to_degrees();
        let lng = random.random_range(bounds.min().x..=bounds.max().x);
        polygon.contains(&Point::new(lng, lat)).then(|| LatLng::new(lat, lng).ok())?
    };
    std::iter::repeat_with(draw).take(if all > 0.0 { usize::MAX } else { 0 }).flatten()
}

/// Samples `n` places of a file of addresses. Also returns the number of lines without a place.
fn sample_addresses(file: &Path, n: usize, seed: u64) -> Result<(Vec<LatLng>, usize)> {
    let mut read = Ok(0);
    let drawn = sample(n, seed, |take| {
        if read.is_ok() {
            read = for_each_address(file, take);
        }
    });
    read.map(|left_out| (drawn, left_out))
}

/// Samples `n` places such that every S2 block has the same weight, however many addresses it has (reservoir sampling of
/// Efraimidis and Spirakis, 2006: the largest U^(1/w)). `for_each` passes on all places, and is called twice.
fn sample(n: usize, seed: u64, mut for_each: impl FnMut(&mut dyn FnMut(LatLng))) -> Vec<LatLng> {
    let block = |at: LatLng| leaf(at).parent(BLOCK_LEVEL).0;
    let mut in_block: HashMap<u64, usize> = HashMap::new();
    for_each(&mut |at| *in_block.entry(block(at)).or_default() += 1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys: Vec<(f64, LatLng)> = Vec::new();
    for_each(&mut |at| {
        // ln(U) / w has the same order as U^(1/w) but does not underflow for small w. The weight w is 1 / addresses in
        // the block.
        let addresses = in_block.get(&block(at)).copied().unwrap_or(1);
        let key = random.random::<f64>().max(f64::MIN_POSITIVE).ln() * addresses as f64;
        keys.push((key, at));
        if keys.len() >= 2 * n.max(1024) {
            keep_largest(&mut keys, n);
        }
    });
    keep_largest(&mut keys, n);
    keys.into_iter().map(|(_, at)| at).collect()
}

fn keep_largest(keys: &mut Vec<(f64, LatLng)>, n: usize) {
    keys.sort_by(|a, b| b.0.total_cmp(&a.0));
    keys.truncate(n);
}

/// The points of a table, and why each other row has none.
fn points(file: &Path) -> Result<(Vec<LatLng>, Vec<String>)> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    let table = Table::parse(&file.display().to_string(), &bytes)?;
    let (mut points, mut notes) = (Vec::new(), Vec::new());
    if table.is_empty() {
        return Ok((points, notes)); // an empty file is valid
    }
    let (lat, lng) = (table.required(table::LAT)?, table.required(table::LNG)?);
    for row in table.rows() {
        table.check_width(row)?;
        let number = |column: usize| table.degrees(row, column).ok().flatten();
        match number(lat).zip(number(lng)).map(|(lat, lng)| gps::plausible(lat, lng)) {
            Some(Ok(at)) => points.push(at),
            Some(Err(reason)) => notes.push(format!("line {}: {reason}", row.line)),
            None => notes.push(format!("line {}: latitude or longitude is not a number", row.line)),
        }
    }
    Ok((points, notes))
}

/// Opens a file that may be compressed.
fn open(file: &Path) -> Result<Box<dyn Read>> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let is_compressed = file.extension().is_some_and(|extension| extension == "gz");
    Ok(if is_compressed { Box::new(MultiGzDecoder::new(open)) } else { Box::new(open) })
}

/// Calls `take` for every place in a file of addresses and returns the number of lines without one.
fn for_each_address(file: &Path, take: &mut dyn FnMut(LatLng)) -> Result<usize> {
    let read_failed = || format!("cannot read {}", file.display());
    let mut reader = BufReader::new(open(file)?);
    if reader.fill_buf().with_context(read_failed)?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    let is_json = reader.fill_buf().with_context(read_failed)?.trim_ascii_start().starts_with(b"{");
    let mut left_out = 0;
    if is_json {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(read_failed)? > 0 {
            let text = line.trim_ascii();
            let text = text.strip_suffix(b",").unwrap_or(text);
            if !text.is_empty() {
                match geojson_point(text) {
                    Some(at) => take(at),
                    None => left_out += 1,
                }
            }
            line.clear();
        }
        return Ok(left_out);
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let headers = reader.headers().with_context(read_failed)?.clone();
    let column =
        |names: &[&str]| headers.iter().position(|header| names.contains(&header.trim().to_lowercase().as_str()));
    let (lat, lng) = (column(&["lat", "latitude"]), column(&["lng", "lon", "longitude"]));
    let (Some(lat), Some(lng)) = (lat, lng) else {
        if headers.is_empty() {
            return Ok(0); // an empty file is valid
        }
        bail!("{}: no columns for latitude and longitude (lat and lng, or LAT and LON)", file.display());
    };
    for row in reader.records() {
        let row = match row {
            Err(error) if error.is_io_error() => return Err(error).with_context(read_failed),
            row => row.ok(),
        };
        let number = |i: usize| row.as_ref()?.get(i)?.trim().parse::<f64>().ok();
        match number(lat).zip(number(lng)).and_then(|(lat, lng)| place(lat, lng)) {
            Some(at) => take(at),
            None => left_out += 1,
        }
    }
    Ok(left_out)
}

/// Parses a GeoJSON point, which has the longitude first.
fn geojson_point(line: &[u8]) -> Option<LatLng> {
    let feature: Value = serde_json::from_slice(line).ok()?;
    let [lng, lat, ..] = feature["geometry"]["coordinates"].as_array()?.as_slice() else { return None };
    place(lat.as_f64()?, lng.as_f64()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn point(lng: f64, lat: f64) -> String {
        format!(r#"{{"type":"Feature","properties":{{}},"geometry":{{"type":"Point","coordinates":[{lng},{lat}]}}}}"#)
    }

    #[test]
    fn address_files_are_read_in_all_their_formats() {
        let dir = tempfile::tempdir().unwrap();
        let json = format!(
            "{}\n\n{},\n{{\"geometry\":null}}\nno json\n{}",
            point(2.0, 48.0),
            point(4.8, 45.7),
            point(0.0, 0.0)
        );
        let (plain, compressed) = (dir.path().join("a.geojson"), dir.path().join("a.geojson.gz"));
        std::fs::write(&plain, &json).unwrap();
        let mut out = File::create(&compressed).unwrap();
        // Two gzip members, as in concatenated files.
        for half in [&json[..100], &json[100..]] {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(half.as_bytes()).unwrap();
            out.write_all(&gz.finish().unwrap()).unwrap();
        }
        for file in [&plain, &compressed] {
            let (mut places, left_out) = sample_addresses(file, 10, 1).unwrap();
            places.sort_by(|a, b| a.lat.total_cmp(&b.lat));
            assert_eq!(places.iter().map(|at| (at.lat, at.lng)).collect::<Vec<_>>(), [(45.7, 4.8), (48.0, 2.0)]);
            assert_eq!(left_out, 3);
        }
        let csv = dir.path().join("b.csv");
        std::fs::write(&csv, "LON,LAT,NUMBER,STREET\n4.8,45.7,1,\"Rue, longue\"\nx,1,2,\n500,1,2,\n0,0,2,\n").unwrap();
        assert_eq!(sample_addresses(&csv, 10, 1).unwrap().1, 3);
        let truncated = std::fs::read(&compressed).unwrap();
        std::fs::write(dir.path().join("c.csv.gz"), &truncated[..truncated.len() - 9]).unwrap();
        assert!(sample_addresses(&dir.path().join("c.csv.gz"), 10, 1).is_err(), "a truncated file is an error");
        std::fs::write(&csv, "").unwrap();
        assert_eq!(sample_addresses(&csv, 10, 1).unwrap(), (Vec::new(), 0));
        std::fs::write(&csv, "a,b\n1,2\n").unwrap();
        assert!(sample_addresses(&csv, 10, 1).unwrap_err().to_string().contains("no columns for latitude"));
    }

    #[test]
    fn points_are_read_and_what_is_none_is_noted_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.csv");
        let rows = ["-16.5;180", "-16,5;-180", "-16.5;181", "90;0", "0;0", "x;1", "91;1"];
        std::fs::write(&file, format!("\u{feff}Latitude;Longitude\r\n{}\r\n", rows.join("\r\n"))).unwrap();
        let (found, notes) = points(&file).unwrap();
        assert_eq!(
            found.iter().map(|at| (at.lat, at.lng)).collect::<Vec<_>>(),
            [(-16.5, -180.0), (-16.5, -180.0), (90.0, 0.0)]
        );
        let reasons = [
            "line 4: the longitude 181",
            "line 6: the position is 0, 0",
            "line 7: latitude or",
            "line 8: the latitude 91",
        ];
        assert_eq!(notes.len(), reasons.len());
        assert!(notes.iter().zip(reasons).all(|(note, reason)| note.contains(reason)), "{notes:?}");
        std::fs::write(&file, "").unwrap();
        assert!(points(&file).unwrap().0.is_empty());
        std::fs::write(&file, "lat,lng\n52,5,13,4\n").unwrap();
        assert!(points(&file).unwrap_err().to_string().contains("line 2: 4 fields but 2 columns"));
    }

    #[test]
    fn blocks_are_sampled_evenly_and_by_seed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.geojson");
        let town: String = (0..990).map(|i| point(2.35 + f64::from(i) * 1e-6, 48.85) + "\n").collect();
        let villages: String = (0..10).map(|i| point(4.0 + f64::from(i), 45.0) + "\n").collect();
        std::fs::write(&file, town + &villages).unwrap();
        let in_villages = |seed| {
            let (places, _) = sample_addresses(&file, 5, seed).unwrap();
            assert_eq!(places.len(), 5);
            places.iter().filter(|at| at.lat == 45.0).count()
        };
        // The town is one of eleven blocks, although it has 99 % of the addresses.
        let all: usize = (0..20).map(in_villages).sum();
        assert!(all > 70, "{all} of 100");
        assert_eq!(sample_addresses(&file, 5, 3).unwrap(), sample_addresses(&file, 5, 3).unwrap());
        assert_ne!(sample_addresses(&file, 5, 3).unwrap(), sample_addresses(&file, 5, 4).unwrap());
    }

    #[test]
    fn places_in_a_country_are_in_it() {
        let of = |code: &str| PlaceArgs { addresses: vec![], points: vec![], country: vec![code.into()] };
        // Includes countries across the date line.
        for code in ["ch", "nz", "fj", "fr"] {
            let drawn = of(code).draw_of(&[], 200, 7).unwrap();
            let inside = |at: &&LatLng| countries::at(**at).is_some_and(|found| found.iso2 == code.to_uppercase());
            assert_eq!((drawn.len(), drawn.iter().filter(inside).count()), (200, 200), "{code}");
        }
        // The North Island is nearly half of New Zealand.
        let north =
            of("nz").draw_of(&[], 2000, 1).unwrap().iter().filter(|at| at.lat > -41.6 && at.lng > 172.5).count();
        assert!((800..1000).contains(&north), "{north}");
        assert!(of("xx").draw_of(&[], 1, 7).unwrap_err().to_string().contains("no such ISO 3166-1 code"));
    }
}
