use std::io::Cursor;

use exif::experimental::Writer;
use exif::{Exif, Field as Read, In, Reader, Tag, Value};
use image::{ImageFormat, Rgb, RgbImage};
use img_parts::ImageICC;
use img_parts::jpeg::markers;
use landfall_common::fs::write_new;

use super::*;

const SYDNEY: LatLng = LatLng { lat: -33.856_789, lng: 151.215_256 };

fn estimate() -> Geotag<'static> {
    Geotag { at: SYDNEY, error_m: Some(400_000.0), bundle: "desktop@2026.11.3", source: GeotagSource::Picture }
}

/// Writes a copy, unless the photo has a position.
fn copy(file: &Path, to: &Path) -> Result<bool> {
    let copy = geotagged_copy(file, &estimate())?;
    copy.map(|copy| write_new(to, &copy)).transpose().map(|written| written.is_some())
}

fn picture(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 90])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// EXIF data as written by a camera, with orientation and a maker note but without GPS coordinates.
fn camera(little: bool) -> Vec<u8> {
    let field = |tag, value| Read { tag, ifd_num: In::PRIMARY, value };
    let fields = [
        field(Tag::Make, Value::Ascii(vec![b"Maker".to_vec()])),
        field(Tag::Orientation, Value::Short(vec![6])),
        field(Tag::DateTimeOriginal, Value::Ascii(vec![b"2026:07:01 12:00:00".to_vec()])),
        field(Tag::MakerNote, Value::Undefined((0..99).collect(), 0)),
        field(Tag::GPSImgDirection, Value::Rational(vec![(225, 1).into()])),
    ];
    let (mut writer, mut bytes) = (Writer::new(), Cursor::new(Vec::new()));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut bytes, little).unwrap();
    bytes.into_inner()
}

fn text(exif: &Exif, tag: Tag) -> String {
    exif.get_field(tag, In::PRIMARY).map(|field| field.display_value().to_string()).unwrap_or_default()
}

#[test]
fn copies_have_the_prediction_and_all_existing_data() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [("a.jpg", ImageFormat::Jpeg), ("b.png", ImageFormat::Png), ("c.webp", ImageFormat::WebP)] {
        for exif in [None, Some(camera(false)), Some(camera(true))] {
            let (file, to) = (dir.path().join(name), dir.path().join("copies").join(name));
            _ = std::fs::remove_file(&to);
            let mut image = DynImage::from_bytes(picture(format).into()).unwrap().unwrap();
            image.set_exif(exif.clone().map(Bytes::from));
            let original = image.encoder().bytes();
            std::fs::write(&file, &original).unwrap();
            assert!(copy(&file, &to).unwrap());
            assert_eq!(std::fs::read(&file).unwrap(), original[..], "the original is unchanged");

            let bytes = std::fs::read(&to).unwrap();
            assert_eq!(image::load_from_memory(&bytes).unwrap(), image::load_from_memory(&original).unwrap());
            assert!(gps::position(&to).unwrap().unwrap().distance_m(SYDNEY) < 1.0);
            let read = Reader::new().read_from_container(&mut Cursor::new(&bytes)).unwrap();
            assert_eq!(text(&read, Tag(exif::Context::Gps, 0x001f)), "400000");
            let method = read.get_field(Tag::GPSProcessingMethod, In::PRIMARY).unwrap();
            let Value::Undefined(method, _) = &method.value else { panic!("{method:?}") };
            let method = String::from_utf8_lossy(method);
            assert!(method.starts_with("ASCII\0\0\0estimate by Landfall desktop@2026.11.3"), "{method}");
            if exif.is_some() {
                assert_eq!(text(&read, Tag::Make), "\"Maker\"");
                assert_eq!(text(&read, Tag::DateTimeOriginal), "2026-07-01 12:00:00");
                assert_eq!((text(&read, Tag::GPSImgDirection), text(&read, Tag::Orientation)).0, "225");
                let before = Reader::new().read_from_container(&mut Cursor::new(&original)).unwrap();
                let note = |exif: &Exif| match exif.get_field(Tag::MakerNote, In::PRIMARY).map(|f| f.value.clone()) {
                    Some(Value::Undefined(bytes, at)) => (bytes, at),
                    other => panic!("{other:?}"),
                };
                assert_eq!(note(&read), note(&before), "the maker note has not moved");
            }
            // A photo with GPS coordinates is not copied.
            let again = dir.path().join("again").join(name);
            assert!(!copy(&to, &again).unwrap() && !again.exists());
            assert!(is_copy(&to) && !is_copy(&file));
        }
    }
}

#[test]
fn invalid_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jpg");
    std::fs::write(&file, picture(ImageFormat::Jpeg)).unwrap();
    for cut in 0..camera(true).len() {
        // Truncated data at any length must not panic.
        _ = insert_geotag(Some(&camera(true)[..cut]), &estimate());
    }
    for broken in [&b""[..], b"II\x2a\0", b"II\x2a\0\xff\xff\xff\xff", b"MM\0\x2a\0\0\0\x08\xff\xff"] {
        assert!(insert_geotag(Some(broken), &estimate()).is_err(), "{broken:?}");
    }
    // The EXIF data of a TIFF file is the file itself, here a large one.
    let mut large = Cursor::new(Vec::new());
    RgbImage::new(200, 200).write_to(&mut large, ImageFormat::Tiff).unwrap();
    for other in [b"GIF89a".to_vec(), picture(ImageFormat::Bmp), picture(ImageFormat::Tiff), large.into_inner()] {
        std::fs::write(&file, other).unwrap();
        let error = copy(&file, &dir.path().join("new/b.jpg")).unwrap_err().to_string();
        assert!(error.contains("not a JPEG, PNG or WebP") && !dir.path().join("new").exists(), "{error}");
    }
}

#[test]
fn seconds_never_reach_sixty() {
    let south = Geotag { at: LatLng { lat: -0.999_999_999, lng: 179.999_999_999 }, ..estimate() };
    let fields = fields(&south, ByteOrder::Big);
    assert_eq!(fields[2].3, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 100]);
    assert_eq!((&fields[1].3[..], &fields[3].3[..]), (&b"S\0"[..], &b"E\0"[..]));
}

/// A JPEG with the segments that phones write: JFIF, a colour profile, XMP, a gain map's second image and a video at the end.
fn phone_jpeg(exif: &[&[u8]]) -> Vec<u8> {
    let mut jpeg = Jpeg::from_bytes(picture(ImageFormat::Jpeg).into()).unwrap();
    jpeg.set_icc_profile(Some(vec![7; 100_000].into()));
    let mpf = b"MPF\0MM\0\x2a\0\0\0\x08\0\0\0\0\0\0".to_vec();
    let xmp = [b"http://ns.adobe.com/xap/1.0/\0", &b"<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"/>"[..]].concat();
    let further =
        [(markers::APP1, xmp), (markers::APP2, mpf), (markers::APP13, vec![1, 2, 3]), (markers::COM, vec![4; 9])];
    let further = further.map(|(marker, body)| JpegSegment::new_with_contents(marker, body.into()));
    let exif = exif.iter().map(|exif| JpegSegment::new_with_contents(APP1, [EXIF_PREFIX, *exif].concat().into()));
    let added: Vec<JpegSegment> = exif.chain(further).collect();
    jpeg.segments_mut().splice(1..1, added);
    [&jpeg.encoder().bytes()[..], &picture(ImageFormat::Jpeg), b"ftypmp42 video"].concat()
}

fn segments(jpeg: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let jpeg = Jpeg::from_bytes(jpeg.to_vec().into()).unwrap();
    jpeg.segments().iter().map(|segment| (segment.marker(), segment.clone().encoder().bytes().to_vec())).collect()
}

#[test]
fn all_other_segments_and_trailing_data_keep_their_bytes() {
    let is_exif = |segment: &(u8, Vec<u8>)| segment.0 == APP1 && segment.1[4..].starts_with(EXIF_PREFIX);
    let (first, second) = (camera(true), camera(false));
    for exif in [&[][..], &[&first[..]], &[&first[..], &second[..]], &[&b""[..]]] {
        let original = phone_jpeg(exif);
        let copy = insert_into_image(original.clone(), &estimate()).unwrap();
        let (mut before, mut after) = (segments(&original), segments(&copy));
        if exif.len() == 2 {
            assert!(after.contains(&before[2]), "the second EXIF segment");
        }
        before.retain(|segment| !is_exif(segment));
        after.retain(|segment| !is_exif(segment));
        // Including the scan, which contains the second image and the video.
        assert_eq!(before, after);
        assert!(gps::position_in(&mut Cursor::new(&copy)).unwrap().unwrap().distance_m(SYDNEY) < 1.0);
    }
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let original = [&picture(format)[..], b"trailing data"].concat();
        let copy = insert_into_image(original, &estimate()).unwrap();
        assert!(copy.ends_with(b"trailing data"), "{format:?}");
    }
}

#[test]
fn unusable_positions_and_directories_are_replaced() {
    let gps_pointer = |to: [u8; 4]| {
        let entry = [&[0x88, 0x25, 0, 4, 0, 0, 0, 1], &to[..]].concat();
        [b"MM\0\x2a\0\0\0\x08\0\x01", &entry[..], &[0; 4]].concat()
    };
    let zero = Value::Rational(vec![(0, 1).into(), (0, 1).into(), (0, 1).into()]);
    let zero = [Tag::GPSLatitude, Tag::GPSLongitude].map(|tag| Read { tag, ifd_num: In::PRIMARY, value: zero.clone() });
    let (mut writer, mut null_island) = (Writer::new(), Cursor::new(Vec::new()));
    zero.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut null_island, true).unwrap();
    let empty = [&gps_pointer([0, 0, 0, 26])[..], &[0, 0, 0, 0, 0, 0]].concat();
    for exif in [gps_pointer([0xff; 4]), gps_pointer([0, 0, 0xff, 0]), empty, null_island.into_inner()] {
        let exif = insert_geotag(Some(&exif), &estimate()).unwrap();
        assert!(gps::position_in(&mut Cursor::new(exif)).unwrap().unwrap().distance_m(SYDNEY) < 1.0);
    }
}

#[test]
fn a_position_in_xmp_is_not_contradicted() {
    let packet = "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns:e='http://ns.adobe.com/exif/1.0/'>\
                  <r:Description e:GPSLatitude='48,51.5N' e:GPSLongitude='2,21E'/></r:RDF>";
    let xmp = [b"http://ns.adobe.com/xap/1.0/\0", packet.as_bytes()].concat();
    let mut jpeg = Jpeg::from_bytes(picture(ImageFormat::Jpeg).into()).unwrap();
    jpeg.segments_mut().insert(1, JpegSegment::new_with_contents(APP1, xmp.into()));
    let dir = tempfile::tempdir().unwrap();
    let (file, to) = (dir.path().join("a.jpg"), dir.path().join("b.jpg"));
    std::fs::write(&file, jpeg.encoder().bytes()).unwrap();
    assert!(!copy(&file, &to).unwrap());
}

#[cfg(unix)]
#[test]
fn copies_of_read_only_files_can_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, to) = (dir.path().join("a.jpg"), dir.path().join("b.jpg"));
    std::fs::write(&file, picture(ImageFormat::Jpeg)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).unwrap();
    assert!(copy(&file, &to).unwrap());
    assert_ne!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o200, 0);
}

#[test]
fn a_confirmed_location_is_no_estimate_and_a_chosen_one_has_no_error() {
    let zero_error =
        Read { tag: Tag::GPSHPositioningError, ifd_num: In::PRIMARY, value: Value::Rational(vec![(9, 1).into()]) };
    let (mut writer, mut before) = (Writer::new(), Cursor::new(Vec::new()));
    writer.push_field(&zero_error);
    writer.write(&mut before, true).unwrap();
    for (source, error_m, expected) in
        [(GeotagSource::Accepted, Some(5000.0), "5000"), (GeotagSource::Corrected, None, "")]
    {
        let exif = insert_geotag(Some(before.get_ref()), &Geotag { source, error_m, ..estimate() }).unwrap();
        let read = Reader::new().read_raw(exif.clone()).unwrap();
        assert_eq!(text(&read, Tag::GPSHPositioningError), expected);
        let method = read.get_field(Tag::GPSProcessingMethod, In::PRIMARY).unwrap();
        let Value::Undefined(method, _) = &method.value else { panic!("{method:?}") };
        let method = String::from_utf8_lossy(&method[8..]);
        assert!(
            method.starts_with("confirmed by a person with Landfall desktop") && is_own_method(&method),
            "{method}"
        );
    }
}
