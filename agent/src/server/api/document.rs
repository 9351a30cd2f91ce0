//! The OpenAPI document.

use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The document, generated from the handlers and types.
#[derive(OpenApi)]
#[openapi(
    info(title = "Landfall", description = "Predicts where photographs were taken.", license(name = "MIT OR Apache-2.0")),
    paths(super::locate::locate, super::health, super::metrics, super::openapi),
    components(schemas(super::types::LocateForm)),
    modifiers(&Token)
)]
pub(super) struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut Description) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("If the service has a token"));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}
