//! EfficientNet-Lite0 (<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>): the encoder
//! of the pocket bundle, with 1,280 features per picture.
//!
//! Feature maps have the channels last, so that all convolutions except the depthwise ones are matrix products. Batch
//! normalisation uses fixed statistics from ImageNet, while its scale and shift are trained. It is applied to the
//! weights, which are far fewer than the activations.

use anyhow::Result;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use image::RgbImage;
use landfall_model::preprocess::Preprocess;

use super::depthwise::{bias_relu6, depthwise};
use super::padding::same_padding;
use crate::head::model::to_vec;

pub(crate) mod onnx_writer;
mod weights;

pub(crate) use weights::projection;

/// Number of features per picture.
pub(crate) const FEATURES: usize = 1280;
/// Epsilon of batch normalisation, as in TensorFlow's EfficientNet.
const EPSILON: f32 = 1e-3;
/// Kernel size and stride of the first convolution.
const STEM: (usize, usize) = (3, 2);
/// The stages of Lite0: kernel size, stride of the first block, number of blocks.
const STAGES: [(usize, usize, usize); 7] =
    [(3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1)];

/// A convolution followed by batch normalisation.
#[derive(Module, Debug)]
struct Layer {
    /// `[kernel² × in, out]`, or `[kernel², channels]` for a depthwise convolution.
    weight: Param<Tensor<2>>,
    scale: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
    mean: Param<Tensor<1>>,
    variance: Param<Tensor<1>>,
}

impl Layer {
    /// Weights and bias with the batch normalisation folded in.
    fn folded(&self) -> (Tensor<2>, Tensor<1>) {
        let scale = self.scale.val() / (self.variance.val() + EPSILON).sqrt();
        (self.weight.val() * scale.clone().unsqueeze(), self.shift.val() - self.mean.val() * scale)
    }

    /// Pointwise convolution from `[N, H, W, in]` to `[N, H, W, out]`. The bias is returned but not added.
    fn pointwise(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let (weight, bias) = self.folded();
        let [n, height, width, inputs] = x.dims();
        let outputs = bias.dims()[0];
        let y = x.reshape([n * height * width, inputs]).matmul(weight);
        (y.reshape([n, height, width, outputs]), bias)
    }

    fn fold_batch_norm(
        &self,
        kernel: usize,
        stride: usize,
        is_depthwise: bool,
        has_relu6: bool,
    ) -> Result<Convolution> {
        let (weight, bias) = self.folded();
        let [rows, outputs] = weight.dims();
        let taps = kernel * kernel;
        let inputs = rows / taps;
        let values = to_vec(weight.into_data())?;
        // From [row, column, in, out] to [out, in, row, column].
        let index = |i: usize| (i % taps * inputs + i / taps % inputs) * outputs + i / (taps * inputs);
        Ok(Convolution {
            kernel,
            stride,
            inputs: if is_depthwise { outputs } else { inputs },
            outputs,
            groups: if is_depthwise { outputs } else { 1 },
            weight: (0..values.len()).map(|i| values[index(i)]).collect(),
            bias: to_vec(bias.into_data())?,
            has_relu6,
        })
    }

    fn pointwise_relu6(&self, x: Tensor<4>) -> Tensor<4> {
        let (y, bias) = self.pointwise(x);
        bias_relu6(y, bias)
    }
}

/// An encoder with folded batch normalisation, in the weight layout of ONNX.
pub(crate) struct FoldedNetwork {
    /// The first convolution.
    pub(crate) stem: Convolution,
    /// The inverted residual blocks.
    pub(crate) blocks: Vec<FoldedBlock>,
    /// The last convolution, before global average pooling.
    pub(crate) top: Convolution,
}

/// A block of a [`FoldedNetwork`].
pub(crate) struct FoldedBlock {
    /// The convolutions in order.
    pub(crate) convolutions: Vec<Convolution>,
    /// Whether the input is added to the output.
    pub(crate) is_residual: bool,
}

/// A convolution with a bias.
pub(crate) struct Convolution {
    /// Kernel size.
    pub(crate) kernel: usize,
    /// Stride.
    pub(crate) stride: usize,
    /// Number of input channels.
    pub(crate) inputs: usize,
    /// Number of output channels.
    pub(crate) outputs: usize,
    /// Number of groups of channels.
    pub(crate) groups: usize,
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub(crate) weight: Vec<f32>,
    /// One value per output.
    pub(crate) bias: Vec<f32>,
    /// Whether a ReLU6 follows.
    pub(crate) has_relu6: bool,
}

/// An inverted residual block.
#[derive(Module, Debug)]
struct Block {
    expand: Option<Layer>,
    depthwise: Layer,
    project: Layer,
    kernel: usize,
    stride: usize,
}

impl Block {
    fn forward(&self, x: Tensor<4>, observe: &mut impl FnMut(&Tensor<4>)) -> Tensor<4> {
        let wide = match &self.expand {
            Some(expand) => observed(expand.pointwise_relu6(x.clone()), observe),
            None => x.clone(),
        };
        let (weight, bias) = self.depthwise.folded();
        let wide = observed(bias_relu6(depthwise(wide, weight, self.kernel, self.stride), bias), observe);
        let (y, bias) = self.project.pointwise(wide);
        let y = observed(y + bias.unsqueeze(), observe);
        if self.stride == 1 && y.dims() == x.dims() { observed(y + x, observe) } else { y }
    }
}

fn observed(map: Tensor<4>, observe: &mut impl FnMut(&Tensor<4>)) -> Tensor<4> {
    observe(&map);
    map
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Lite {
    stem: Layer,
    blocks: Vec<Block>,
    top: Layer,
}

impl Lite {
    /// Features `[N, 1280]` of pictures, given as patches `[N, S / 2, S / 2, 27]` from `patches`.
    pub fn forward(&self, patches: Tensor<4>) -> Tensor<2> {
        self.forward_observed(patches, &mut |_| ())
    }

    /// Like [`Lite::forward`], and calls `observe` with every feature map, in the order of the convolutions; the sum of
    /// a residual block follows its last convolution.
    pub(crate) fn forward_observed(&self, patches: Tensor<4>, observe: &mut impl FnMut(&Tensor<4>)) -> Tensor<2> {
        let x = observed(self.stem.pointwise_relu6(patches), observe);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, observe));
        let x = observed(self.top.pointwise_relu6(x), observe);
        let [n, height, width, channels] = x.dims();
        x.reshape([n, height * width, channels]).mean_dim(1).reshape([n, channels])
    }

    pub(crate) fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Folds batch normalisation into the convolutions.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(crate) fn fold_batch_norm(&self) -> Result<FoldedNetwork> {
        let block = |block: &Block| {
            let expand = block.expand.as_ref().map(|layer| layer.fold_batch_norm(1, 1, false, true));
            let depthwise = block.depthwise.fold_batch_norm(block.kernel, block.stride, true, true);
            let convolutions = expand.into_iter().chain([depthwise, block.project.fold_batch_norm(1, 1, false, false)]);
            let convolutions: Vec<Convolution> = convolutions.collect::<Result<_>>()?;
            let ends = convolutions.first().zip(convolutions.last());
            let is_residual = block.stride == 1 && ends.is_some_and(|(first, last)| first.inputs == last.outputs);
            Ok(FoldedBlock { convolutions, is_residual })
        };
        Ok(FoldedNetwork {
            stem: self.stem.fold_batch_norm(STEM.0, STEM.1, false, true)?,
            blocks: self.blocks.iter().map(block).collect::<Result<_>>()?,
            top: self.top.fold_batch_norm(1, 1, false, true)?,
        })
    }

    /// The network with the stem and the first `blocks` blocks frozen.
    pub(crate) fn frozen(mut self, blocks: usize) -> Self {
        self.stem = self.stem.no_grad();
        self.blocks =
            self.blocks.into_iter().enumerate().map(|(i, b)| if i < blocks { b.no_grad() } else { b }).collect();
        self
    }
}

/// The patches of all squares of a picture, after preprocessing.
pub(crate) fn patches_of(picture: &RgbImage, preprocess: &Preprocess) -> Vec<f32> {
    preprocess.tensors(picture).flat_map(|tensor| patches(&tensor, preprocess.size as usize)).collect()
}

/// Extracts the 3 × 3 patches of the first convolution (im2col), from a picture `[3, S, S]` to
/// `[ceil(S / 2), ceil(S / 2), 27]` (row of the patch, column, channel), zero-padded.
pub(crate) fn patches(picture: &[f32], side: usize) -> Vec<f32> {
    let ((kernel, stride), out) = (STEM, side.div_ceil(STEM.1));
    let (before, _) = same_padding(side, kernel, stride);
    let mut patches = Vec::with_capacity(out * out * kernel * kernel * 3);
    let at = |o: usize, tap: usize| (o * stride + tap).checked_sub(before).filter(|i| *i < side);
    for (oy, ox) in (0..out * out).map(|o| (o / out, o % out)) {
        for (ky, kx) in (0..kernel * kernel).map(|k| (k / kernel, k % kernel)) {
            let pixel = at(oy, ky).zip(at(ox, kx)).map(|(y, x)| y * side + x);
            patches.extend((0..3).map(|c| pixel.map_or(0.0, |pixel| picture[c * side * side + pixel])));
        }
    }
    patches
}

/// The shape of the patches of `n` pictures with this side length.
pub fn patches_shape(n: usize, side: usize) -> [usize; 4] {
    let out = side.div_ceil(STEM.1);
    [n, out, out, STEM.0 * STEM.0 * 3]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::features::encoder_spec::EncoderSpec;
    use burn::tensor::{Device, TensorData};
    use std::path::Path;

    pub(crate) fn pretrained() -> Lite {
        let encoders = Path::new(env!("CARGO_MANIFEST_DIR")).join("encoders");
        let spec = EncoderSpec::read(&encoders.join("efficientnet-lite0.json")).unwrap();
        Lite::read(&spec.encoder.locate(&encoders).unwrap().network, &Device::flex()).unwrap()
    }

    /// A synthetic picture, `[3, side, side]`.
    fn waves(side: usize) -> Vec<f32> {
        let wave =
            |i: usize| (i as f64 * 0.37 + (i / (side * side)) as f64 * 1.3).sin() * ((i / side) as f64 * 0.11).cos();
        (0..3 * side * side).map(|i| wave(i) as f32).collect()
    }

    /// Reference values: the same weights and pictures with `jax.lax.conv_general_dilated` and padding `SAME`.
    #[test]
    fn the_pretrained_network_agrees_with_jax() {
        let network = pretrained();
        let first_224 = [0.001_778_04, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.080_327_73];
        let first_96 = [0.111_358_22, 0.0, 0.186_087_88, 0.0, 0.0, 0.0, 0.0, 0.214_540_06];
        for (side, first, sum, squares) in
            [(224, first_224, 167.626_13, 295.246_4), (96, first_96, 198.082_61, 359.457_83)]
        {
            let patches = TensorData::new(patches(&waves(side), side), patches_shape(1, side));
            let features = to_vec(network.forward(Tensor::from_data(patches, &Device::flex())).into_data()).unwrap();
            assert_eq!(features.len(), FEATURES);
            assert!(features.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-5), "{:?}", &features[..8]);
            assert!((features.iter().sum::<f32>() - sum).abs() < 2e-3);
            assert!((features.iter().map(|x| x * x).sum::<f32>() - squares).abs() < 4e-3);
        }
    }

    #[test]
    fn a_file_of_another_network_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weights.pth");
        std::fs::write(&file, b"no weights").unwrap();
        let error = format!("{:#}", Lite::read(&file, &Device::flex()).unwrap_err());
        assert!(error.contains("weights.pth"), "{error}");
    }
}
