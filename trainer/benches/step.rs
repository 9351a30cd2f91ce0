//! `cargo bench -p landfall-trainer`: a training step of EfficientNet-Lite0, and its depthwise convolution compared
//! with burn's.

#![allow(missing_docs, reason = "divan's macros make items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic on errors")]

use std::path::Path;

use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use divan::counter::ItemsCount;
use landfall_trainer::{EncoderSpec, Lite, depthwise, patches_shape};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Default, &Device::flex().autodiff())
}

#[divan::bench(args = [128, 224], sample_count = 5)]
fn step_of_16_pictures(bencher: Bencher<'_, '_>, side: usize) {
    let encoders = Path::new(env!("CARGO_MANIFEST_DIR")).join("encoders");
    let spec = EncoderSpec::read(&encoders.join("efficientnet-lite0.json")).unwrap();
    let weights = spec.encoder.locate(&encoders).unwrap().network;
    let mut network = Lite::read(&weights, &Device::flex().autodiff()).unwrap();
    let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
    let patches = random(patches_shape(16, side));
    bencher.counter(ItemsCount::new(16usize)).bench_local(move || {
        let loss = network.forward(patches.clone()).powi_scalar(2).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-6, network.clone(), gradients);
    });
}

#[divan::bench(sample_count = 5)]
fn depthwise_and_its_gradients(bencher: Bencher<'_, '_>) {
    let (x, weight) = (random([16, 14, 14, 480]).require_grad(), random([25, 480]).require_grad());
    bencher.bench_local(|| depthwise(x.clone(), weight.clone(), 5, 1).sum().backward());
}

#[divan::bench(sample_count = 5)]
fn burns_grouped_convolution_and_its_gradients(bencher: Bencher<'_, '_>) {
    let (x, weight) = (random([16, 480, 14, 14]).require_grad(), random([480, 1, 5, 5]).require_grad());
    let options = || ConvOptions::new([1; 2], [2; 2], [1; 2], 480);
    bencher.bench_local(|| conv2d(x.clone(), weight.clone(), None, options()).sum().backward());
}
