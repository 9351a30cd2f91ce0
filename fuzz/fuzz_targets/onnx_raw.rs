//! ONNX networks: splitting them into fields, and the rewrites that happen when they are loaded.
#![no_main]

use landfall_model::bundle::Activations;
use landfall_model::onnx::raw;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(fields) = raw::fields(bytes) else { return };
    let whole: usize = fields.iter().map(|field| field.whole.len()).sum();
    assert_eq!(whole, bytes.len(), "fields cover all bytes");
    for rewrite in [Activations::PerTokenTwoBytes, Activations::ExactConv] {
        if let Ok(network) = rewrite.of(bytes.to_vec(), None) {
            assert!(raw::fields(&network).is_ok(), "a rewritten network is a message");
            _ = rewrite.for_output(network, "output");
        }
        _ = rewrite.dequantized(bytes.to_vec(), None);
    }
});
