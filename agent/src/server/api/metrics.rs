//! Counters for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Media type of the text format.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the durations of requests, in seconds.
const BUCKETS_S: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ImageLabels {
    outcome: Outcome,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    Located,
    Unreadable,
}

pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    images: Family<ImageLabels, Counter>,
    duration: Histogram,
    /// Requests that are being answered.
    pub in_flight: Gauge,
    inference: Counter<f64, AtomicU64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("landfall"),
            requests: Family::default(),
            images: Family::default(),
            duration: Histogram::new(BUCKETS_S),
            in_flight: Gauge::default(),
            inference: Counter::default(),
        };
        let Self { mut registry, requests, images, duration, in_flight, inference } = metrics;
        registry.register("requests", "Requests by path and status", requests.clone());
        registry.register("images", "Images by outcome", images.clone());
        let help = "Time from the head of a request for /v1/locate to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, duration.clone());
        registry.register("requests_in_flight", "Requests for /v1/locate that are being answered", in_flight.clone());
        let help = "Time that images waited for and spent in inference";
        registry.register_with_unit("inference", help, Unit::Seconds, inference.clone());
        Self { registry, requests, images, duration, in_flight, inference }
    }

    pub(super) fn count_request(&self, path: &'static str, status: StatusCode) {
        self.requests.get_or_create(&RequestLabels { path, status: status.as_u16() }).inc();
    }

    pub(super) fn count_image(&self, outcome: Outcome) {
        self.images.get_or_create(&ImageLabels { outcome }).inc();
    }

    pub(super) fn add_duration(&self, time: Duration) {
        self.duration.observe(time.as_secs_f64());
    }

    pub(super) fn add_inference(&self, time: Duration) {
        self.inference.inc_by(time.as_secs_f64());
    }

    /// In the OpenMetrics text format.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
