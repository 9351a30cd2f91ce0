use std::io::Cursor;

use exif::experimental::Writer;
use exif::{Exif, Field as Read, In, Reader, Tag, Value};
use image::{ImageFormat, Rgb, RgbImage};
use landfall_model::image_files;

use super::*;

const SYDNEY: LatLng = LatLng { lat: -33.856_789, lng: 151.215_256 };

fn guess() -> Guess<'static> {
    Guess { at: SYDNEY, error_m: 400_000.0, bundle: "desktop@2026.11.3" }
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
            assert_eq!(copy_with_guess(&file, &to, &guess()).unwrap(), CopyOutcome::Written);
            assert_eq!(std::fs::read(&file).unwrap(), original[..], "the original is unchanged");

            let copy = std::fs::read(&to).unwrap();
            assert_eq!(image::load_from_memory(&copy).unwrap(), image::load_from_memory(&original).unwrap());
            assert!(image_files::gps_position(&to).unwrap().unwrap().distance_m(SYDNEY) < 1.0);
            let read = Reader::new().read_from_container(&mut Cursor::new(&copy)).unwrap();
            assert_eq!(text(&read, Tag(exif::Context::Gps, 0x001f)), "400000");
            let method = read.get_field(Tag::GPSProcessingMethod, In::PRIMARY).unwrap();
            let Value::Undefined(method, _) = &method.value else { panic!("{method:?}") };
            let method = String::from_utf8_lossy(method);
            assert!(method.starts_with("ASCII\0\0\0guess by Landfall desktop@2026.11.3"), "{method}");
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
            assert_eq!(copy_with_guess(&to, &again, &guess()).unwrap(), CopyOutcome::HasLocation);
            assert!(!again.exists());
        }
    }
}

#[test]
fn existing_and_invalid_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jpg");
    std::fs::write(&file, picture(ImageFormat::Jpeg)).unwrap();
    let error = copy_with_guess(&file, &file, &guess()).unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");
    for cut in 0..camera(true).len() {
        // Truncated data at any length must not panic.
        _ = insert_guess(Some(&camera(true)[..cut]), &guess());
    }
    for broken in [&b""[..], b"II\x2a\0", b"II\x2a\0\xff\xff\xff\xff", b"MM\0\x2a\0\0\0\x08\xff\xff"] {
        assert!(insert_guess(Some(broken), &guess()).is_err(), "{broken:?}");
    }
    std::fs::write(&file, b"GIF89a").unwrap();
    let error = copy_with_guess(&file, &dir.path().join("b.jpg"), &guess()).unwrap_err().to_string();
    assert!(error.contains("not a JPEG, PNG or WebP"), "{error}");
}

#[test]
fn seconds_never_reach_sixty() {
    let south = Guess { at: LatLng { lat: -0.999_999_999, lng: 179.999_999_999 }, ..guess() };
    let fields = fields(&south, ByteOrder::Big);
    assert_eq!(fields[2].3, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 100]);
    assert_eq!((&fields[1].3[..], &fields[3].3[..]), (&b"S\0"[..], &b"E\0"[..]));
}
