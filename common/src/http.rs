//! HTTP clients with TLS.

use reqwest::{Client, ClientBuilder};

/// A builder of HTTP clients. Clients of other builders panic unless [`use_ring`] was called before.
pub fn client_builder() -> ClientBuilder {
    use_ring();
    Client::builder()
}

/// Makes ring the TLS cryptography of this process, unless it already has another one.
pub fn use_ring() {
    _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_be_built() {
        assert!(client_builder().build().is_ok());
    }
}
