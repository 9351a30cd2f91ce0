//! The operations of [`super`] composed of burn's operations, for backends without custom kernels: on GPUs, burn's
//! grouped convolution is not a bottleneck.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Slice;
use burn::tensor::ops::{ConvOptions, PadMode};

use crate::encoder::padding::same_padding;

/// Axis permutations between the layouts `[N, H, W, C]` and `[N, C, H, W]`.
const TO_CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];
const TO_CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];

/// Options of a depthwise convolution without further padding.
fn options(stride: usize, channels: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [0; 2], [1; 2], channels)
}

/// Reshapes weights `[kernel², C]` to `[C, 1, kernel, kernel]`.
fn filters<B: Backend>(weight: FloatTensor<B>, kernel: usize) -> FloatTensor<B> {
    let [_, channels] = weight.shape().dims();
    B::float_reshape(B::float_swap_dims(weight, 0, 1), [channels, 1, kernel, kernel].into())
}

/// Pads maps `[N, H, W, C]` with TensorFlow's `SAME` padding and moves the channels first.
fn padded<B: Backend>(x: FloatTensor<B>, kernel: usize, stride: usize) -> FloatTensor<B> {
    let [_, height, width, _] = x.shape().dims();
    let around = [(0, 0), same_padding(height, kernel, stride), same_padding(width, kernel, stride), (0, 0)];
    B::float_permute(B::float_pad(x, &around, PadMode::Constant(0.0)), &TO_CHANNELS_FIRST)
}

/// See `Kernels::depthwise`.
pub(super) fn depthwise<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    kernel: usize,
    stride: usize,
) -> FloatTensor<B> {
    let [_, channels] = weight.shape().dims();
    let filters = filters::<B>(weight, kernel);
    let y = B::conv2d(padded::<B>(x, kernel, stride), filters, None, options(stride, channels));
    B::float_permute(y, &TO_CHANNELS_LAST)
}

/// See `KernelGradients::depthwise_input`.
pub(super) fn depthwise_input<B: Backend>(
    grad: FloatTensor<B>,
    weight: FloatTensor<B>,
    (height, width): (usize, usize),
    kernel: usize,
    stride: usize,
) -> FloatTensor<B> {
    let [n, _, _, channels] = grad.shape().dims();
    // Only the shape of the input matters.
    let zeros = B::float_zeros([n, height, width, channels].into(), &grad.device(), grad.dtype().into());
    let x = padded::<B>(zeros, kernel, stride);
    let grad = B::float_permute(grad, &TO_CHANNELS_FIRST);
    let padded_grad = B::conv2d_x_backward(x, filters::<B>(weight, kernel), grad, options(stride, channels));
    let inside = |length: usize| {
        let (before, _) = same_padding(length, kernel, stride);
        Slice::from(before..before + length)
    };
    let all = |length: usize| Slice::from(0..length);
    let x_grad = B::float_slice(padded_grad, &[all(n), all(channels), inside(height), inside(width)]);
    B::float_permute(x_grad, &TO_CHANNELS_LAST)
}

/// See `KernelGradients::depthwise_weight`.
pub(super) fn depthwise_weight<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    kernel: usize,
    stride: usize,
) -> FloatTensor<B> {
    let [_, _, _, channels] = grad.shape().dims();
    // Only the shape of the weights matters.
    let weight = B::float_zeros([channels, 1, kernel, kernel].into(), &grad.device(), grad.dtype().into());
    let grad = B::float_permute(grad, &TO_CHANNELS_FIRST);
    let filters_grad =
        B::conv2d_weight_backward(padded::<B>(x, kernel, stride), weight, grad, options(stride, channels));
    B::float_swap_dims(B::float_reshape(filters_grad, [channels, kernel * kernel].into()), 0, 1)
}

/// See `Kernels::bias_relu6`.
pub(super) fn bias_relu6<B: Backend>(x: FloatTensor<B>, bias: FloatTensor<B>) -> FloatTensor<B> {
    let [channels] = bias.shape().dims();
    let bias = B::float_reshape(bias, [1, 1, 1, channels].into());
    B::float_clamp(B::float_add(x, bias), 0.0.into(), 6.0.into())
}

/// See `KernelGradients::relu6_input`.
pub(super) fn relu6_input<B: Backend>(y: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    // Outputs are from 0 to 6: both signs are 1 strictly between, and one of them is 0 at either end.
    let below_six = B::float_sign(B::float_add_scalar(B::float_neg(y.clone()), 6.0.into()));
    B::float_mul(grad, B::float_mul(B::float_sign(y), below_six))
}

#[cfg(feature = "gpu")]
mod gpu {
    use burn::backend::tensor::FloatTensor;
    use burn::backend::wgpu::CubeBackend;

    use crate::encoder::depthwise::portable;
    use crate::encoder::depthwise::{KernelGradients, Kernels};

    impl Kernels for CubeBackend {
        fn depthwise(
            x: FloatTensor<Self>,
            weight: FloatTensor<Self>,
            kernel: usize,
            stride: usize,
        ) -> FloatTensor<Self> {
            portable::depthwise::<Self>(x, weight, kernel, stride)
        }

        fn bias_relu6(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
            portable::bias_relu6::<Self>(x, bias)
        }
    }

    impl KernelGradients for CubeBackend {
        fn depthwise_input(
            grad: FloatTensor<Self>,
            weight: FloatTensor<Self>,
            size: (usize, usize),
            kernel: usize,
            stride: usize,
        ) -> FloatTensor<Self> {
            portable::depthwise_input::<Self>(grad, weight, size, kernel, stride)
        }

        fn depthwise_weight(
            x: FloatTensor<Self>,
            grad: FloatTensor<Self>,
            kernel: usize,
            stride: usize,
        ) -> FloatTensor<Self> {
            portable::depthwise_weight::<Self>(x, grad, kernel, stride)
        }

        fn relu6_input(y: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
            portable::relu6_input::<Self>(y, grad)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KernelGradients, Kernels};
    use super::*;
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;

    #[test]
    fn the_kernels_agree_with_the_portable_operations() {
        let tensor = |shape: &[usize], at: f32| {
            let numbers = (0..shape.iter().product()).map(|i| (i as f32 * at).sin() * 3.0).collect();
            FlexTensor::from_data(TensorData::new::<f32, _>(numbers, shape.to_vec()))
        };
        for (height, width, kernel, stride) in [(7, 9, 3, 1), (8, 8, 3, 2), (9, 6, 5, 2), (4, 5, 5, 1), (1, 2, 5, 2)] {
            let (x, weight) = (tensor(&[2, height, width, 5], 0.37), tensor(&[kernel * kernel, 5], 0.73));
            let grad = tensor(&[2, height.div_ceil(stride), width.div_ceil(stride), 5], 0.59);
            let (bias, y) = (tensor(&[5], 1.1), <Flex as Kernels>::bias_relu6(x.clone(), tensor(&[5], 1.1)));
            let (kernels, portable) = (
                [
                    <Flex as Kernels>::depthwise(x.clone(), weight.clone(), kernel, stride),
                    <Flex as KernelGradients>::depthwise_input(
                        grad.clone(),
                        weight.clone(),
                        (height, width),
                        kernel,
                        stride,
                    ),
                    <Flex as KernelGradients>::depthwise_weight(x.clone(), grad.clone(), kernel, stride),
                    y.clone(),
                    <Flex as KernelGradients>::relu6_input(y.clone(), x.clone()),
                ],
                [
                    super::depthwise::<Flex>(x.clone(), weight.clone(), kernel, stride),
                    super::depthwise_input::<Flex>(grad.clone(), weight, (height, width), kernel, stride),
                    super::depthwise_weight::<Flex>(x.clone(), grad, kernel, stride),
                    super::bias_relu6::<Flex>(x.clone(), bias),
                    super::relu6_input::<Flex>(y, x),
                ],
            );
            for (i, (a, b)) in kernels.into_iter().zip(portable).enumerate() {
                let (a, b) = (a.to_contiguous(), b.to_contiguous());
                assert_eq!(a.shape(), b.shape());
                let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
                assert!(
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3),
                    "{i}: {height} × {width}, {kernel}, {stride}"
                );
            }
        }
    }
}
