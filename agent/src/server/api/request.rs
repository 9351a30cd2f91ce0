//! Reads requests: JSON with images in Base64, or forms with image files.

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::problem::Problem;
use super::types::{LocateRequest, LocateSettings, MAX_IMAGES, MAX_NAME_CHARS};

/// Images and how to locate them.
pub(in crate::server) struct Images {
    /// At least one.
    pub files: Vec<ImageFile>,
    pub settings: LocateSettings,
}

pub(in crate::server) struct ImageFile {
    pub name: String,
    pub bytes: Bytes,
}

/// Reads the body of a request.
///
/// # Errors
/// When it has another type, cannot be parsed or is too large.
pub(super) async fn read(request: Request) -> Result<Images, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let images = match &*kind {
        "application/json" => read_json(request).await?,
        "multipart/form-data" => read_form(request).await?,
        _ => {
            let why = "The body must be application/json or multipart/form-data.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    };
    check_count(images.files.len()).map(|()| images)
}

/// Checks the number of images.
///
/// # Errors
/// When there are none or too many.
pub(in crate::server) fn check_count(images: usize) -> Result<(), Problem> {
    match images {
        0 => Err(Problem::impossible("There is no image in the request.")),
        1..=MAX_IMAGES => Ok(()),
        count => Err(Problem::impossible(format!("A request has at most {MAX_IMAGES} images, not {count}."))),
    }
}

async fn read_json(request: Request) -> Result<Images, Problem> {
    let rejected = |why: BytesRejection| Problem::new(why.status(), sentence(why.body_text()));
    let body = Bytes::from_request(request, &()).await.map_err(rejected)?;
    let request: LocateRequest = serde_json::from_slice(&body)
        .map_err(|why| Problem::malformed(format!("The body is not as described: {why}.")))?;
    let mut files = Vec::with_capacity(request.images.len());
    for (i, image) in request.images.into_iter().enumerate() {
        let bytes = STANDARD.decode(&image.data);
        let bytes =
            bytes.map_err(|why| Problem::malformed(format!("`data` of image {} is not Base64: {why}.", i + 1)))?;
        files.push(ImageFile { name: name(image.name, i)?, bytes: bytes.into() });
    }
    Ok(Images { files, settings: request.options })
}

async fn read_form(request: Request) -> Result<Images, Problem> {
    let rejected = |why: axum::extract::multipart::MultipartRejection| Problem::malformed(sentence(why.body_text()));
    let mut form = Multipart::from_request(request, &()).await.map_err(rejected)?;
    let (mut files, mut settings) = (Vec::new(), None);
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("image") if files.len() < MAX_IMAGES => files.push(read_file(field, files.len()).await?),
            Some("image") => {
                return Err(Problem::impossible(format!("A request has at most {MAX_IMAGES} images.")));
            }
            Some("options") if settings.is_none() => {
                let text = field.bytes().await.map_err(broken)?;
                let parsed = serde_json::from_slice(&text);
                settings = Some(parsed.map_err(|why| Problem::malformed(format!("`options`: {why}.")))?);
            }
            _ => return Err(Problem::malformed("A form has parts `image` and at most one part `options`.")),
        }
    }
    Ok(Images { files, settings: settings.unwrap_or_default() })
}

async fn read_file(field: Field<'_>, index: usize) -> Result<ImageFile, Problem> {
    let name = name(field.file_name().map(str::to_owned), index)?;
    Ok(ImageFile { name, bytes: field.bytes().await.map_err(broken)? })
}

fn broken(why: MultipartError) -> Problem {
    Problem::new(why.status(), sentence(why.body_text()))
}

/// The name of an image in the answer.
///
/// # Errors
/// When it is too long.
pub(in crate::server) fn name(given: Option<String>, index: usize) -> Result<String, Problem> {
    match given {
        Some(name) if name.chars().count() > MAX_NAME_CHARS => {
            Err(Problem::impossible(format!("The name of image {} is too long.", index + 1)))
        }
        Some(name) if !name.is_empty() => Ok(name),
        _ => Ok((index + 1).to_string()),
    }
}

fn sentence(text: String) -> String {
    if text.ends_with('.') { text } else { text + "." }
}
