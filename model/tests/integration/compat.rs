//! Bundle manifests written before values were renamed are still read.

use landfall_model::bundle::{Activations, Manifest};

#[test]
fn the_former_name_of_exact_conv_is_read() {
    let old = Manifest::parse(include_bytes!("../compat/pocket-2026.11.3.json")).unwrap();
    assert_eq!(old.encoder.activations, Activations::ExactConv);
    assert_eq!((old.id().as_str(), old.cells.count), ("pocket@2026.11.3", 1551));
    let written = serde_json::to_value(&old).unwrap();
    assert_eq!(written["encoder"]["activations"], "exact-conv");
}
