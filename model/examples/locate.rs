//! Predicts where the images of one place were taken: `cargo run --example locate -- BUNDLE IMAGE…`

use std::error::Error;

use landfall_model::{Geolocator, open_image};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bundle = arguments.next().ok_or("usage: locate BUNDLE IMAGE…")?;
    let images = arguments.map(open_image).collect::<Result<Vec<_>, _>>()?;

    let geolocator = Geolocator::load(&bundle)?;
    let prediction = geolocator.locate(&images)?;
    println!("{} at {}", prediction.place, prediction.point);
    println!("50 % within {:.0} km, 90 % within {:.0} km", prediction.radius_50_km, prediction.radius_90_km);
    Ok(())
}
