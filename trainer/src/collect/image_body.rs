//! Distinguishes complete images from what proxies and overloaded servers send in their place with status 200: a page
//! of HTML, nothing, or the first part of an image. Those are requested again; only complete images that cannot be
//! decoded are recorded as broken.

use image::ImageFormat;
use reqwest::Url;

use super::fetch_error::FetchError;
use super::http::{HttpResponse, RateLimitedClient};

/// Returns the image in a response.
pub(super) fn picture(response: &HttpResponse) -> Result<Vec<u8>, FetchError> {
    let body = response.success()?;
    let is_complete = match image::guess_format(body) {
        _ if body.starts_with(&[0xff, 0xd8]) => is_complete_jpeg(body),
        Ok(ImageFormat::Png) => body.windows(4).any(|name| name == b"IEND"),
        Ok(ImageFormat::WebP) => is_complete_webp(body),
        Ok(ImageFormat::Gif) => true,
        _ if body.is_empty() => return Err(response.transient(response.describe("nothing in place of an image"))),
        _ => {
            let kind = response.clean(&response.kind);
            return Err(response.transient(response.describe(&format!("`{kind}` in place of an image"))));
        }
    };
    if is_complete { Ok(body.to_vec()) } else { Err(response.transient(response.describe("a truncated image"))) }
}

/// Fetches an image whose URL came from a search. URLs expire, so a refusal passes: the next run gets a new one.
pub(super) async fn fetch_picture(client: &RateLimitedClient, url: &Url) -> Result<Vec<u8>, FetchError> {
    client.get(url, picture).await.map_err(expired)
}

/// Classifies refusals of images as transient.
pub(super) fn expired(error: FetchError) -> FetchError {
    match error {
        FetchError::Permanent(why) => FetchError::transient(why),
        other => other,
    }
}

/// Returns whether a JPEG has an end marker. Segments are skipped, since a thumbnail in them has one of its own. Of
/// damaged segments this is not decided here: the decoder reports them.
fn is_complete_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker, rest @ ..]) = bytes.get(at..) {
        match (marker, rest) {
            (0xff, _) => at += 1, // padding
            (0xd9, _) => return true,
            (0xda, _) => return rest.windows(2).any(|pair| pair == [0xff, 0xd9]),
            (0x01 | 0xd0..=0xd7, _) => at += 2,
            (_, [high, low, ..]) => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        }
    }
    bytes.get(at..).is_some_and(|rest| rest.len() > 1)
}

/// Returns whether a WebP file has the length that its header states.
fn is_complete_webp(bytes: &[u8]) -> bool {
    let stated = bytes.get(4..8).map(|length| length.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    stated.is_some_and(|length| length + 8 <= bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let noise = RgbImage::from_fn(60, 40, |x, y| image::Rgb([(x * 31 + y * 17) as u8, (x * y) as u8, y as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(noise).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_truncated_jpeg_is_recognised() {
        let plain = encoded(ImageFormat::Jpeg);
        // A thumbnail with an end marker, in an APP1 segment.
        let thumbnail = encoded(ImageFormat::Jpeg);
        let length = (thumbnail.len() + 2) as u16;
        let segment = [&[0xff, 0xff, 0xe1][..], &length.to_be_bytes(), &thumbnail].concat();
        let with_thumbnail = [&plain[..2], &segment, &plain[2..]].concat();
        for whole in [&plain, &with_thumbnail] {
            assert!(is_complete_jpeg(whole));
            assert!(is_complete_jpeg(&[whole, &b"appended video"[..]].concat()));
            for end in 0..whole.len() - 1 {
                assert!(!is_complete_jpeg(&whole[..end]), "{end} of {}", whole.len());
            }
        }
        assert!(is_complete_jpeg(&[0xff, 0xd8, 0xff, 0xd9]));
        assert!(is_complete_jpeg(&[0xff, 0xd8, 7, 7, 7]), "damage is left to the decoder");
    }

    #[test]
    fn every_truncated_webp_is_recognised() {
        let whole = encoded(ImageFormat::WebP);
        assert!(is_complete_webp(&whole));
        (0..whole.len()).for_each(|end| assert!(!is_complete_webp(&whole[..end]), "{end}"));
    }
}
