//! The two operations that dominate the training time of a small convolutional network, for maps `[N, H, W, C]`: the
//! depthwise convolution, and a bias followed by ReLU6.
//!
//! Burn's grouped convolution computes the gradient of the weights one group at a time, which takes most of a training
//! step if every channel is a group. With channels last, the innermost loop runs over channels, which is five times as
//! fast (`cargo bench -p landfall-trainer`), and the rest of the network is matrix products.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
use pulp::Arch;
use rayon::prelude::*;

use super::padding::same_padding;

#[cfg(any(test, feature = "gpu"))]
mod portable;

/// A depthwise convolution of maps `[N, H, W, C]` with weights `[kernel², C]` and TensorFlow's `SAME` padding.
pub fn depthwise(x: Tensor<4>, weight: Tensor<2>, kernel: usize, stride: usize) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Kernels>::depthwise(x.into_dispatch(), weight.into_dispatch(), kernel, stride))
}

/// `min(max(x + bias, 0), 6)` of maps `[N, H, W, C]` and a bias `[C]`.
pub(crate) fn bias_relu6(x: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Kernels>::bias_relu6(x.into_dispatch(), bias.into_dispatch()))
}

/// The operations of a backend.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub(super) trait Kernels: Backend {
    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, kernel: usize, stride: usize) -> FloatTensor<Self>;
    fn bias_relu6(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The gradients of [`Kernels`], for automatic differentiation.
pub(super) trait KernelGradients: Kernels {
    /// Gradient of a depthwise convolution with respect to its input, which has this height and width.
    fn depthwise_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: (usize, usize),
        kernel: usize,
        stride: usize,
    ) -> FloatTensor<Self>;
    /// Gradient of a depthwise convolution with respect to its weights.
    fn depthwise_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
    ) -> FloatTensor<Self>;
    /// Gradient of `bias_relu6` with respect to its input, given the output `y` and its gradient.
    fn relu6_input(y: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy)]
struct ConvGeometry {
    n: usize,
    height: usize,
    width: usize,
    channels: usize,
    kernel: usize,
    stride: usize,
}

impl ConvGeometry {
    fn of([n, height, width, channels]: [usize; 4], kernel: usize, stride: usize) -> Self {
        Self { n, height, width, channels, kernel, stride }
    }

    /// Height and width of the output.
    fn output(&self) -> (usize, usize) {
        (self.height.div_ceil(self.stride), self.width.div_ceil(self.stride))
    }

    /// Padding before an axis of this length.
    fn before(&self, length: usize) -> usize {
        same_padding(length, self.kernel, self.stride).0
    }

    /// The kernel taps that lie within the input for position `o` of the output along one axis, as
    /// `(tap, position in the input)`.
    fn taps(&self, o: usize, length: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
        let (first, before) = (o * self.stride, self.before(length));
        let taps = before.saturating_sub(first)..self.kernel.min((length + before).saturating_sub(first));
        taps.map(move |tap| (tap, first + tap - before))
    }

    /// The kernel taps that use position `i` of the input along one axis, as `(tap, position in the output)`.
    fn reached(&self, i: usize, length: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
        let (from, stride, last) = (i + self.before(length), self.stride, length.div_ceil(self.stride));
        let taps = (0..self.kernel).filter(move |tap| from >= *tap && (from - tap).is_multiple_of(stride));
        taps.map(move |tap| (tap, (from - tap) / stride)).filter(move |(_, o)| *o < last)
    }

    fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let (c, (height, width)) = (self.channels, self.output());
        let mut y = vec![0.0; self.n * height * width * c];
        y.par_chunks_exact_mut(width * c).enumerate().for_each(|(row, y)| {
            let x = &x[row / height * self.height * self.width * c..];
            let mut pairs = Vec::with_capacity(self.kernel * self.kernel);
            Arch::new().dispatch(|| {
                for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                    pairs.clear();
                    for (ky, iy) in self.taps(row % height, self.height) {
                        let at = |(kx, ix)| ((iy * self.width + ix) * c, (ky * self.kernel + kx) * c);
                        pairs.extend(self.taps(ox, self.width).map(at));
                    }
                    add_products(y, x, weight, &pairs);
                }
            });
        });
        y
    }

    fn input_gradient(&self, grad: &[f32], weight: &[f32]) -> Vec<f32> {
        let (c, (height, width)) = (self.channels, self.output());
        let mut x = vec![0.0; self.n * self.height * self.width * c];
        x.par_chunks_exact_mut(self.width * c).enumerate().for_each(|(row, x)| {
            let grad = &grad[row / self.height * height * width * c..];
            let mut pairs = Vec::with_capacity(self.kernel * self.kernel);
            Arch::new().dispatch(|| {
                for (ix, x) in x.chunks_exact_mut(c).enumerate() {
                    pairs.clear();
                    for (ky, oy) in self.reached(row % self.height, self.height) {
                        let at = |(kx, ox)| ((oy * width + ox) * c, (ky * self.kernel + kx) * c);
                        pairs.extend(self.reached(ix, self.width).map(at));
                    }
                    add_products(x, grad, weight, &pairs);
                }
            });
        });
        x
    }

    /// Summed per picture and then over pictures in order, so that the result is bit-reproducible.
    fn weight_gradient(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let (c, (height, width)) = (self.channels, self.output());
        let taps = self.kernel * self.kernel * c;
        let mut sums = vec![0.0; self.n * taps];
        let pictures = x.par_chunks_exact(self.height * self.width * c).zip(grad.par_chunks_exact(height * width * c));
        sums.par_chunks_exact_mut(taps).zip(pictures).for_each(|(sum, (x, grad))| {
            let mut pairs = Vec::with_capacity(width);
            Arch::new().dispatch(|| {
                for (oy, ky, iy) in (0..height).flat_map(|oy| self.taps(oy, self.height).map(move |(k, i)| (oy, k, i)))
                {
                    for kx in 0..self.kernel {
                        let on_input = |ox: usize| (ox * self.stride + kx).checked_sub(self.before(self.width));
                        let at = |ox| {
                            let ix = on_input(ox).filter(|ix| *ix < self.width)?;
                            Some(((iy * self.width + ix) * c, (oy * width + ox) * c))
                        };
                        pairs.clear();
                        pairs.extend((0..width).filter_map(at));
                        add_products(&mut sum[(ky * self.kernel + kx) * c..][..c], x, grad, &pairs);
                    }
                }
            });
        });
        let mut pictures = sums.chunks_exact(taps);
        let mut total = pictures.next().map_or_else(|| vec![0.0; taps], <[f32]>::to_vec);
        pictures.for_each(|sum| total.iter_mut().zip(sum).for_each(|(total, x)| *total += x));
        total
    }
}

/// Number of channels whose sums are kept in registers.
const LANES: usize = 32;

/// Adds products of `a` and `b` to `sums`, in the order of `pairs`, which are offsets into `a` and `b`.
#[inline(always)]
fn add_products(sums: &mut [f32], a: &[f32], b: &[f32], pairs: &[(usize, usize)]) {
    let (groups, rest) = sums.as_chunks_mut::<LANES>();
    let done = groups.len() * LANES;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut sum = *group;
        for (in_a, in_b) in pairs {
            let (a, b) = (&a[in_a + i * LANES..][..LANES], &b[in_b + i * LANES..][..LANES]);
            for i in 0..LANES {
                sum[i] += a[i] * b[i];
            }
        }
        *group = sum;
    }
    for (in_a, in_b) in pairs {
        let factors = a[in_a + done..].iter().zip(&b[in_b + done..]);
        rest.iter_mut().zip(factors).for_each(|(sum, (a, b))| *sum += a * b);
    }
}

/// Applies `f` to the values of tensors, which are made contiguous.
fn map_slices<const N: usize>(
    tensors: [FlexTensor; N],
    f: impl FnOnce([&[f32]; N]) -> Vec<f32>,
    shape: Vec<usize>,
) -> FlexTensor {
    let tensors = tensors.map(|tensor| tensor.to_contiguous());
    let slices = tensors.each_ref().map(|tensor| tensor.as_slice::<f32>().expect("a contiguous tensor is a slice"));
    FlexTensor::from_data(TensorData::new(f(slices), shape))
}

/// Modifies the values of a tensor with `f`, in place if they are not shared.
fn map_in_place(tensor: FlexTensor, f: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut contiguous = tensor.to_contiguous();
    drop(tensor);
    let (start, end) = contiguous.layout().contiguous_offsets().expect("a contiguous tensor is a slice");
    f(&mut contiguous.storage_mut()[start..end]);
    contiguous
}

impl Kernels for Flex {
    fn depthwise(x: FlexTensor, weight: FlexTensor, kernel: usize, stride: usize) -> FlexTensor {
        let geometry = ConvGeometry::of(x.shape().dims(), kernel, stride);
        let (height, width) = geometry.output();
        let shape = vec![geometry.n, height, width, geometry.channels];
        map_slices([x, weight], |[x, weight]| geometry.forward(x, weight), shape)
    }

    fn bias_relu6(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let bias = bias.to_contiguous();
        let bias: &[f32] = bias.as_slice().expect("a contiguous tensor is a slice");
        map_in_place(x, |x| {
            x.par_chunks_mut(BLOCK * bias.len()).for_each(|rows| {
                Arch::new().dispatch(|| {
                    for row in rows.chunks_exact_mut(bias.len()) {
                        row.iter_mut().zip(bias).for_each(|(x, bias)| *x = (*x + bias).clamp(0.0, 6.0));
                    }
                });
            });
        })
    }
}

impl KernelGradients for Flex {
    fn depthwise_input(
        grad: FlexTensor,
        weight: FlexTensor,
        (height, width): (usize, usize),
        kernel: usize,
        stride: usize,
    ) -> FlexTensor {
        let [n, _, _, channels] = grad.shape().dims();
        let geometry = ConvGeometry { n, height, width, channels, kernel, stride };
        let shape = vec![n, height, width, channels];
        map_slices([grad, weight], |[grad, weight]| geometry.input_gradient(grad, weight), shape)
    }

    fn depthwise_weight(x: FlexTensor, grad: FlexTensor, kernel: usize, stride: usize) -> FlexTensor {
        let geometry = ConvGeometry::of(x.shape().dims(), kernel, stride);
        let shape = vec![kernel * kernel, geometry.channels];
        map_slices([x, grad], |[x, grad]| geometry.weight_gradient(x, grad), shape)
    }

    fn relu6_input(y: FlexTensor, grad: FlexTensor) -> FlexTensor {
        let channels = y.shape().dims::<4>()[3];
        let y = y.to_contiguous();
        let y: &[f32] = y.as_slice().expect("a contiguous tensor is a slice");
        map_in_place(grad, |grad| {
            grad.par_chunks_mut(BLOCK * channels).zip(y.par_chunks(BLOCK * channels)).for_each(|(grad, y)| {
                Arch::new().dispatch(|| {
                    let is_open = |y: f32| f32::from(u8::from(y > 0.0 && y < 6.0));
                    grad.iter_mut().zip(y).for_each(|(x, y)| *x *= is_open(*y));
                });
            });
        })
    }
}

/// Number of rows per parallel task.
const BLOCK: usize = 256;

#[derive(Debug)]
struct Depthwise;

impl<B: KernelGradients> Backward<B, 2> for Depthwise {
    type State = (FloatTensor<B>, FloatTensor<B>, usize, usize);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([x_node, weight_node], grad) = (ops.parents, grads.consume::<B>(&ops.node));
        let (x, weight, kernel, stride) = ops.state;
        let [_, height, width, _] = x.shape().dims();
        if let Some(node) = x_node {
            let x_grad = B::depthwise_input(grad.clone(), weight, (height, width), kernel, stride);
            grads.register::<B>(node.id, x_grad);
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, B::depthwise_weight(x, grad, kernel, stride));
        }
    }
}

#[derive(Debug)]
struct BiasRelu6;

impl<B: KernelGradients> Backward<B, 2> for BiasRelu6 {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([x_node, bias_node], grad) = (ops.parents, grads.consume::<B>(&ops.node));
        let [n, height, width, channels] = ops.state.shape().dims();
        let grad = B::relu6_input(ops.state, grad);
        if let Some(node) = bias_node {
            let rows = B::float_reshape(grad.clone(), [n * height * width, channels].into());
            let sum = B::float_sum_dim(rows, 0);
            grads.register::<B>(node.id, B::float_reshape(sum, [channels].into()));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, grad);
        }
    }
}

impl<B: KernelGradients, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, kernel: usize, stride: usize) -> FloatTensor<Self> {
        let prepared = Depthwise.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = B::depthwise(x.clone(), weight.clone(), kernel, stride);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight, kernel, stride), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn bias_relu6(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = BiasRelu6.prepare::<C>([x.node(), bias.node()]).compute_bound().stateful();
        let y = B::bias_relu6(x.into_primitive(), bias.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(y.clone(), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, module::conv2d, ops::ConvOptions};

    /// The same computation with burn's grouped convolution, which has channels first.
    fn reference(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>, kernel: usize, stride: usize) -> Tensor<4> {
        let [_, height, width, channels] = x.dims();
        let ((top, bottom), (left, right)) =
            (same_padding(height, kernel, stride), same_padding(width, kernel, stride));
        let x = x.permute([0, 3, 1, 2]).pad((left, right, top, bottom), 0.0);
        let weight = weight.transpose().reshape([channels, 1, kernel, kernel]);
        let options = ConvOptions::new([stride; 2], [0; 2], [1; 2], channels);
        conv2d(x, weight, Some(bias), options).clamp(0.0, 6.0).permute([0, 2, 3, 1])
    }

    #[test]
    fn both_operations_and_their_gradients_agree_with_burn() {
        let device = Device::flex().autodiff();
        for (height, width, kernel, stride) in [(7, 9, 3, 1), (8, 8, 3, 2), (9, 6, 5, 2), (4, 5, 5, 1), (1, 2, 5, 2)] {
            let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(1.0, 2.0), &device);
            let x = random([2, height, width, 5]).require_grad();
            let weight = random([1, 1, kernel * kernel, 5]).reshape([kernel * kernel, 5]).detach().require_grad();
            let bias = random([1, 1, 1, 5]).reshape([5]).detach().require_grad();
            let ours = bias_relu6(depthwise(x.clone(), weight.clone(), kernel, stride), bias.clone());
            let theirs = reference(x.clone(), weight.clone(), bias.clone(), kernel, stride);
            assert_eq!(ours.dims(), theirs.dims());
            let max_difference = |a: Tensor<1>, b: Tensor<1>| -> f32 { (a - b).abs().max().into_scalar() };
            assert!(max_difference(ours.clone().flatten(0, 3), theirs.clone().flatten(0, 3)) < 1e-4);
            // Random weights, so that a gradient at the wrong position is detected.
            let weights = random(ours.dims());
            let (a, b) = ((ours * weights.clone()).sum().backward(), (theirs * weights).sum().backward());
            let gradients = [
                x.grad(&a).zip(x.grad(&b)).map(|(a, b)| (a.flatten(0, 3), b.flatten(0, 3))),
                weight.grad(&a).zip(weight.grad(&b)).map(|(a, b)| (a.flatten(0, 1), b.flatten(0, 1))),
                bias.grad(&a).zip(bias.grad(&b)),
            ];
            for (of, pair) in ["input", "weight", "bias"].into_iter().zip(gradients) {
                let (a, b) = pair.unwrap();
                assert!(max_difference(a, b) < 1e-2, "{of}, {height} × {width}, kernel {kernel}, stride {stride}");
            }
        }
    }
}
