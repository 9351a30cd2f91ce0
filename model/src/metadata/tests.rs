use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;
use crate::latlng::LatLng;

const ASCII: u16 = 2;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const SRATIONAL: u16 = 10;
const DOUBLE: u16 = 12;

/// Tag, type, number of values, and bytes.
type Field = (u16, u16, u32, Vec<u8>);

/// Little-endian EXIF data with the fields of a GPS directory, whose next directory is at `next`.
fn tiff_with_next(gps: &[Field], next: u32) -> Vec<u8> {
    let mut tiff = b"II\x2a\0\x08\0\0\0\x01\0".to_vec();
    tiff.extend([0x25, 0x88, 4, 0, 1, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0]);
    tiff.extend((gps.len() as u16).to_le_bytes());
    let mut values = Vec::new();
    let values_at = tiff.len() + 12 * gps.len() + 4;
    for (tag, kind, count, value) in gps {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(count.to_le_bytes());
        let mut inline = value.clone();
        inline.resize(4, 0);
        if value.len() > 4 {
            inline = ((values_at + values.len()) as u32).to_le_bytes().to_vec();
            values.extend(value);
        }
        tiff.extend(inline);
    }
    tiff.extend(next.to_le_bytes());
    [tiff, values].concat()
}

fn tiff(gps: &[Field]) -> Vec<u8> {
    tiff_with_next(gps, 0)
}

fn ratios(tag: u16, numbers: &[(u32, u32)]) -> Field {
    let bytes = numbers.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat());
    (tag, RATIONAL, numbers.len() as u32, bytes.collect())
}

fn signed_ratios(tag: u16, numbers: &[(i32, i32)]) -> Field {
    let bytes = numbers.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat());
    (tag, SRATIONAL, numbers.len() as u32, bytes.collect())
}

fn letters(tag: u16, text: &str) -> Field {
    (tag, ASCII, text.len() as u32, text.as_bytes().to_vec())
}

const BERLIN: (f64, f64) = (52.509_4, 13.375_9);

fn berlin() -> Vec<Field> {
    vec![
        letters(1, "N\0"),
        ratios(2, &[(52, 1), (30, 1), (3384, 100)]),
        letters(3, "E\0"),
        ratios(4, &[(13, 1), (22, 1), (3324, 100)]),
    ]
}

/// The fields of Berlin with those of the same tag replaced.
fn berlin_with(fields: &[Field]) -> Vec<u8> {
    let mut all = berlin();
    for field in fields {
        all.retain(|(tag, ..)| *tag != field.0);
        all.push(field.clone());
    }
    all.sort_by_key(|field| field.0);
    tiff(&all)
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker], &length[..], body].concat()
}

fn jpeg(segments: &[Vec<u8>]) -> Vec<u8> {
    [b"\xff\xd8", &segments.concat()[..], b"\xff\xda\0\x02image\xff\xd9"].concat()
}

fn exif_segment(tiff: &[u8]) -> Vec<u8> {
    segment(0xe1, &[b"Exif\0\0", tiff].concat())
}

fn xmp_segment(packet: &str) -> Vec<u8> {
    segment(0xe1, &[XMP_PREFIX, packet.as_bytes()].concat())
}

fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in [&[(b"IHDR", vec![0; 13])], chunks, &[(b"IDAT", vec![1; 5]), (b"IEND", Vec::new())]].concat() {
        file.extend((body.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(&body);
        file.extend([0; 4]);
    }
    file
}

fn webp(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, content) in [&[(b"VP8 ", vec![1; 7])], chunks].concat() {
        body.extend(kind);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(&content);
        body.extend(vec![0; content.len() % 2]);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn packet(attributes: &str, elements: &str) -> String {
    format!(
        "<?xpacket begin=\"\u{feff}\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"{}\">\
         <rdf:Description rdf:about=\"\" xmlns:e=\"{}\" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>\
         <?xpacket end=\"w\"?>\0",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        xmp::EXIF
    )
}

fn position(file: &[u8]) -> Result<Option<LatLng>, String> {
    gps::position_in(&mut Cursor::new(file))
}

#[track_caller]
fn assert_at(file: &[u8], (lat, lng): (f64, f64)) {
    let at = position(file).unwrap().unwrap();
    assert!((at.lat - lat).abs() < 1e-4 && (at.lng - lng).abs() < 1e-4, "{at}");
}

#[track_caller]
fn assert_none(file: &[u8], reason: &str) {
    match position(file) {
        Ok(None) => assert_eq!(reason, "", "no reason"),
        Ok(Some(at)) => panic!("{at}"),
        Err(message) => assert!(!reason.is_empty() && message.contains(reason), "{message}"),
    }
}

#[test]
fn positions_are_read_as_cameras_and_phones_write_them() {
    let at = |fields: &[Field], place| assert_at(&jpeg(&[exif_segment(&berlin_with(fields))]), place);
    at(&[], BERLIN);
    for (south, east) in [("S\0", "E\0"), ("s\0", "e\0"), ("South\0", "East\0"), ("S", "E"), (" S\0", "\0E")] {
        at(&[letters(1, south), letters(3, east)], (-BERLIN.0, BERLIN.1));
    }
    for blank in [" \0", "\0\0", "\0", "  "] {
        at(&[letters(1, blank), letters(3, blank)], BERLIN);
    }
    let south = signed_ratios(2, &[(-33, 1), (51, 1), (24, 1)]);
    at(&[south.clone(), letters(1, "S\0")], (-33.856_67, BERLIN.1));
    at(&[south.clone(), letters(1, " \0")], (-33.856_67, BERLIN.1));
    at(&[signed_ratios(2, &[(52, 1), (30, 1), (3384, 100)])], BERLIN);
    // One number, two numbers, `0/0` seconds and minutes.
    at(&[ratios(2, &[(525_094, 10_000)]), ratios(4, &[(13, 1), (22_554, 1000)])], BERLIN);
    at(&[ratios(2, &[(52, 1), (30, 1), (0, 0)]), ratios(4, &[(13, 1), (0, 0), (0, 0)])], (52.5, 13.0));
    at(&[(2, DOUBLE, 1, 52.5094f64.to_le_bytes().to_vec()), (4, LONG, 1, vec![13, 0, 0, 0])], (52.5094, 13.0));
    // A signed number needs no letter.
    let unlettered = tiff(&[south, signed_ratios(4, &[(-70, 1)])]);
    assert_at(&jpeg(&[exif_segment(&unlettered)]), (-33.856_67, -70.0));
}

#[test]
fn unusable_positions_are_none_with_a_reason() {
    let none = |fields: &[Field], reason| assert_none(&jpeg(&[exif_segment(&berlin_with(fields))]), reason);
    let zero = [(0, 1); 3];
    none(&[ratios(2, &zero), ratios(4, &zero)], "0, 0");
    none(&[ratios(2, &[(0, 0); 3]), ratios(4, &[(0, 0); 3])], "divides by zero");
    none(&[ratios(2, &[(52, 1), (30, 0)])], "divides by zero");
    none(&[ratios(2, &[(91, 1)])], "latitude 91");
    none(&[ratios(4, &[(181, 1)])], "longitude 181");
    none(&[letters(1, "E\0")], "neither N nor S");
    none(&[ratios(2, &[])], "0 numbers");
    none(&[letters(2, "52.5\0")], "not consist of numbers");
    let only_lat = tiff(&berlin()[..2]);
    assert_none(&jpeg(&[exif_segment(&only_lat)]), "not both");
    let unlettered = tiff(&[berlin()[1].clone(), berlin()[3].clone()]);
    assert_none(&jpeg(&[exif_segment(&unlettered)]), "GPSLatitudeRef is missing");
    // Metadata without a position is no error.
    for file in
        [jpeg(&[]), jpeg(&[exif_segment(&tiff(&[]))]), jpeg(&[exif_segment(b"")]), b"no image".to_vec(), Vec::new()]
    {
        assert_none(&file, "");
    }
}

#[test]
fn damage_beside_the_position_does_not_matter() {
    // A cut-off field of the camera, the next directory at an invalid offset, and a directory after itself.
    let cut_off = berlin_with(&[(0x1b, 7, 4096, vec![0, 0, 1, 0])]);
    for tiff in [cut_off, tiff_with_next(&berlin(), u32::MAX), tiff_with_next(&berlin(), 26)] {
        assert_at(&jpeg(&[exif_segment(&tiff)]), BERLIN);
    }
    let mut nowhere = tiff(&berlin());
    nowhere[18..22].copy_from_slice(&[0, 0, 0xff, 0xff]);
    assert_none(&jpeg(&[exif_segment(&nowhere)]), "");
    // Truncated files have what precedes the cut, and never panic.
    let whole = jpeg(&[exif_segment(&tiff(&berlin()))]);
    for cut in 0..whole.len() {
        _ = position(&whole[..cut]);
    }
    // Fill bytes, stray bytes and markers without a segment.
    let stray = [&b"\xff\xd8\xff\xff\xff\x01\0\0"[..], &exif_segment(&tiff(&berlin())), b"\xff\xda"].concat();
    assert_at(&stray, BERLIN);
}

#[test]
fn every_place_in_a_file_where_metadata_may_be_is_read() {
    let tiff = tiff(&berlin());
    let camera = self::tiff(&[]);
    assert_at(&jpeg(&[exif_segment(&camera), segment(0xfe, b"comment"), exif_segment(&tiff)]), BERLIN);
    assert_at(&jpeg(&[exif_segment(b""), exif_segment(&tiff)]), BERLIN);
    // Data of more than 64 KiB continues in the next segment.
    assert_at(&jpeg(&[exif_segment(&tiff[..60]), exif_segment(&tiff[60..])]), BERLIN);
    let prefixed = [b"Exif\0\0", &tiff[..]].concat();
    for exif in [&tiff, &prefixed] {
        assert_at(&png(&[(b"eXIf", exif.clone())]), BERLIN);
        assert_at(&webp(&[(b"EXIF", exif.clone())]), BERLIN);
    }
    let hex: String = prefixed.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> = hex.as_bytes().chunks(72).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let profile = format!("\nexif\n{:>8}\n{}\n", prefixed.len(), lines.join("\n"));
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(profile.as_bytes()).unwrap();
    let compressed = compressed.finish().unwrap();
    assert_at(&png(&[(b"zTXt", [b"Raw profile type exif\0\0", &compressed[..]].concat())]), BERLIN);
    assert_at(&png(&[(b"tEXt", [b"Raw profile type APP1\0", profile.as_bytes()].concat())]), BERLIN);
    assert_at(&tiff, BERLIN);
}

#[test]
fn positions_in_xmp_only_are_read() {
    let attributes = "e:GPSLatitude=\"52,30.564N\" e:GPSLongitude=\"13,22,33.24e\"";
    let elements = "<e:GPSLatitude> 52.5094 </e:GPSLatitude><e:GPSLongitude>13 deg 22' 33.24\" E</e:GPSLongitude>";
    for packet in [packet(attributes, ""), packet("", elements)] {
        let text = |start: &[u8]| [start, packet.as_bytes()].concat();
        assert_at(&jpeg(&[exif_segment(&tiff(&[])), xmp_segment(&packet)]), BERLIN);
        assert_at(&png(&[(b"iTXt", text(b"XML:com.adobe.xmp\0\0\0\0\0"))]), BERLIN);
        assert_at(&webp(&[(b"XMP ", text(b""))]), BERLIN);
    }
    let south = packet("e:GPSLatitude=\"33,51.4S\" e:GPSLongitude=\"-70.5\"", "");
    assert_at(&jpeg(&[xmp_segment(&south)]), (-33.856_67, -70.5));
    // A usable position wins over an unusable one, and EXIF over XMP.
    let zero = berlin_with(&[ratios(2, &[(0, 1); 3]), ratios(4, &[(0, 1); 3])]);
    assert_at(&jpeg(&[exif_segment(&zero), xmp_segment(&south)]), (-33.856_67, -70.5));
    assert_at(&jpeg(&[exif_segment(&tiff(&berlin())), xmp_segment(&south)]), BERLIN);
    assert_none(&jpeg(&[exif_segment(&zero), xmp_segment("<no xml")]), "0, 0");
    assert_none(&jpeg(&[xmp_segment(&packet("e:GPSLatitude=\"52,30N\"", ""))]), "not both");
    assert_none(&jpeg(&[xmp_segment(&packet("e:GPSLatitude=\"x\" e:GPSLongitude=\"13E\"", ""))]), "not a coordinate");
    // The place that an image shows is not the place where it was taken.
    let shown = "<e:LocationShown><rdf:Bag><rdf:li><rdf:Description e:GPSLatitude=\"1N\" e:GPSLongitude=\"2E\"/></rdf:li></rdf:Bag></e:LocationShown>";
    assert_none(&jpeg(&[xmp_segment(&packet("", shown))]), "");
}

#[test]
fn blocks_are_bounded() {
    let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'0'; 3 * MAX_BLOCK_BYTES as usize]).unwrap();
    let bomb = bomb.finish().unwrap();
    let file = png(&[(b"zTXt", [b"Raw profile type exif\0\0", &bomb[..]].concat())]);
    assert_eq!(Metadata::read(&mut Cursor::new(file)).unwrap(), Metadata::default());
    assert_eq!(inflate(&bomb).len() as u64, MAX_BLOCK_BYTES);
    let many = vec![exif_segment(&tiff(&[])); 3 * MAX_BLOCKS];
    assert_eq!(Metadata::read(&mut Cursor::new(jpeg(&many))).unwrap().exif.len(), MAX_BLOCKS);
}
