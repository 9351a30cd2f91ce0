//! The network during training: an optional hidden layer, the output over cells, and outputs for the auxiliary targets.
//! After training it is folded into the linear layers of a [`Network`](crate::head::model::Network).

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData, activation};
use landfall_common::fs::f32_from_le_bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::head::loss::{AuxiliaryTarget, Objective};
use crate::head::model::{Layers, Moments, to_vec};
use crate::head::recipe::{Recipe, is_unset};

/// The trained weights. Checkpoints store them under the field names, so renaming a field breaks `--resume`.
#[derive(Module, Debug)]
pub(crate) struct TrainableHead {
    trunk: Vec<Linear>,
    cells: Linear,
    /// The matrix A of [`CellEmbeddings`](crate::head::recipe::CellEmbeddings), `[width, E]`.
    bridge: Option<Param<Tensor<2>>>,
    others: Vec<Linear>,
}

/// The constant tensors of the network.
pub(crate) struct FrozenParams {
    /// Embeddings of the cells, `[E, cells]`.
    embeddings: Option<Tensor<2>>,
    /// The matrix `[cells, classes]` that sums cells to classes, for auxiliary targets that are sums.
    sums: Vec<Option<Tensor<2>>>,
    /// Whether the weights of `cells` are used.
    free: bool,
    /// The matrix A of an earlier head for unit embeddings, `[dim, E]` in row-major order.
    start: Option<Vec<f32>>,
}

impl FrozenParams {
    /// The constant tensors for a recipe.
    ///
    /// # Errors
    /// When the file of cell embeddings cannot be read or does not match the cells.
    pub(crate) fn new(recipe: &Recipe, objective: &Objective<'_>, device: &Device) -> Result<Self> {
        let (cells, config) = (objective.table.cells.len(), &recipe.cell_embeddings);
        let is_used = !is_unset(&config.file);
        let embeddings = if is_used { Some(read_embeddings(&config.file, cells, device)?) } else { None };
        let matrix = |class_of_cell: &[usize], classes: usize| {
            let mut matrix = vec![0.0f32; cells * classes];
            class_of_cell.iter().enumerate().for_each(|(cell, class)| matrix[cell * classes + class] = 1.0);
            Tensor::from_data(TensorData::new(matrix, [cells, classes]), device)
        };
        let sum = |target: &AuxiliaryTarget<'_>| {
            target.is_sum_of_cells.then(|| matrix(&target.class_of_cell, target.classes))
        };
        let sums = objective.auxiliary.iter().map(sum).collect();
        let has_start = !is_unset(&config.start);
        let start = if has_start { Some(read_numbers(&config.start)?) } else { None };
        Ok(Self { embeddings, sums, free: config.free || !is_used, start })
    }

    fn width(&self) -> Option<usize> {
        self.embeddings.as_ref().map(|embeddings| embeddings.dims()[0])
    }
}

/// Reads cell embeddings, stored as little-endian f32 `[cells, E]`, into a tensor `[E, cells]`.
pub(crate) fn read_embeddings(file: &Path, cells: usize, device: &Device) -> Result<Tensor<2>> {
    let values = read_numbers(file)?;
    if values.is_empty() || !values.len().is_multiple_of(cells) {
        bail!("{}: {} numbers are not a whole number per cell for {cells} cells", file.display(), values.len());
    }
    let width = values.len() / cells;
    Ok(Tensor::<2>::from_data(TensorData::new(values, [cells, width]), device).transpose())
}

/// Reads little-endian f32 values, which must be finite.
fn read_numbers(file: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() % 4 != 0 {
        bail!("{}: {} bytes are not a whole number of f32 values", file.display(), bytes.len());
    }
    let values = f32_from_le_bytes(&bytes);
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => bail!("{}, value {i}: not a finite number", file.display()),
        None => Ok(values),
    }
}

impl TrainableHead {
    /// An untrained network. Output layers start at 0 (uniform probabilities), or from an earlier head; a hidden layer
    /// is initialised from `seed`.
    ///
    /// # Errors
    /// When the matrix of the earlier head does not match the embeddings.
    pub(crate) fn new(
        moments: &Moments,
        hidden: usize,
        seed: u64,
        objective: &Objective<'_>,
        frozen: &FrozenParams,
        device: &Device,
    ) -> Result<Self> {
        let dim = moments.mean.len();
        let mut random = StdRng::seed_from_u64(seed);
        // Parameters are numbered in order, because checkpoints look up optimizer state by these ids.
        let mut id = 0u64;
        let mut next = || {
            id += 1;
            ParamId::from(id)
        };
        let mut linear = |inputs: usize, outputs: usize, bound: f32| {
            let weights = (0..inputs * outputs).map(|_| (2.0 * random.random::<f32>() - 1.0) * bound).collect();
            let weight = Tensor::<2>::from_data(TensorData::new(weights, [inputs, outputs]), device);
            let bias = Tensor::<1>::zeros([outputs], device);
            Linear {
                weight: Param::initialized(next(), weight.require_grad()),
                bias: Some(Param::initialized(next(), bias.require_grad())),
            }
        };
        let trunk: Vec<Linear> =
            (hidden > 0).then(|| linear(dim, hidden, (3.0 / dim as f32).sqrt())).into_iter().collect();
        let width = if hidden > 0 { hidden } else { dim };
        let cells = linear(width, objective.table.cells.len(), 0.0);
        let others = objective
            .auxiliary
            .iter()
            .filter(|target| !target.is_sum_of_cells)
            .map(|target| linear(width, target.classes, 0.0))
            .collect();
        let bridge = |inner| Param::initialized(next(), Tensor::<2>::zeros([width, inner], device).require_grad());
        let mut network = Self { trunk, cells, bridge: frozen.width().map(bridge), others };
        if let Some(start) = &frozen.start {
            network.start_from(start, moments, frozen, device)?;
        }
        Ok(network)
    }

    /// Sets the weights such that the logits are those of an earlier linear head with the matrix `start`: a unit
    /// embedding is `deviation * x + mean` for the standardised input x. With a hidden layer, one half of the hidden
    /// units passes on the positive part of `x start`, the other half the negative part.
    fn start_from(&mut self, start: &[f32], moments: &Moments, frozen: &FrozenParams, device: &Device) -> Result<()> {
        let dim = moments.mean.len();
        let Some((bridge, embeddings)) = self.bridge.as_mut().zip(frozen.embeddings.as_ref()) else {
            bail!("cell_embeddings.start needs cell_embeddings.file");
        };
        let inner = embeddings.dims()[0];
        if start.len() != dim * inner {
            bail!(
                "cell_embeddings.start has {} values, not {dim} x {inner} for features of {dim} values and cell \
                embeddings of {inner}",
                start.len()
            );
        }
        let row = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [1, dim]), device);
        let start = Tensor::<2>::from_data(TensorData::new(start.to_vec(), [dim, inner]), device);
        let scaled = row(&moments.deviation).transpose() * start.clone();
        let shift = row(&moments.mean).matmul(start);
        let set = |weights: &mut Param<Tensor<2>>, values: Tensor<2>| {
            *weights = Param::initialized(weights.id, values.detach().require_grad());
        };
        let set_bias = |layer: &mut Linear, values: Tensor<2>| {
            if let Some(bias) = &mut layer.bias {
                *bias = Param::initialized(bias.id, values.squeeze::<1>().detach().require_grad());
            }
        };
        let Some(hidden) = self.trunk.first_mut() else {
            set(bridge, scaled);
            set_bias(&mut self.cells, shift.matmul(embeddings.clone()));
            return Ok(());
        };
        if hidden.weight.dims()[1] != 2 * inner {
            bail!("cell_embeddings.start needs train.hidden = {} for cell embeddings of {inner} values", 2 * inner);
        }
        let halves = |positive: Tensor<2>, dimension| Tensor::cat(vec![positive.clone(), positive.neg()], dimension);
        set(&mut hidden.weight, halves(scaled, 1));
        set_bias(hidden, halves(shift, 1));
        set(bridge, halves(Tensor::<2>::eye(inner, device), 0));
        Ok(())
    }

    /// Parameter ids of the matrix A.
    pub(crate) fn bridge_ids(&self) -> Vec<ParamId> {
        self.bridge.iter().map(|bridge| bridge.id).collect()
    }

    /// Logits `[N, cells]`, and those of each auxiliary target, `[N, classes]`, for inputs `[N, dim]`. For targets that
    /// are sums of cells they are log-probabilities. `mask` is the dropout mask of the hidden units.
    pub(crate) fn forward(
        &self,
        input: Tensor<2>,
        mask: Option<Tensor<2>>,
        frozen: &FrozenParams,
    ) -> (Tensor<2>, Vec<Tensor<2>>) {
        let x = match (self.trunk.first(), mask) {
            (Some(layer), Some(mask)) => activation::relu(layer.forward(input)) * mask,
            (Some(layer), None) => activation::relu(layer.forward(input)),
            (None, _) => input,
        };
        let bias = || self.cells.bias.as_ref().map(|bias| bias.val().unsqueeze::<2>());
        let free = if frozen.free { Some(self.cells.forward(x.clone())) } else { bias() };
        let embedded = self.bridge.as_ref().zip(frozen.embeddings.as_ref());
        let embedded = embedded.map(|(bridge, embeddings)| x.clone().matmul(bridge.val()).matmul(embeddings.clone()));
        let logits = match (free, embedded) {
            (Some(free), Some(embedded)) => embedded + free,
            (Some(logits), None) | (None, Some(logits)) => logits,
            (None, None) => unreachable!("without embeddings the weights are always used"),
        };
        let p = frozen.sums.iter().any(Option::is_some).then(|| activation::softmax(logits.clone(), 1));
        let mut heads = self.others.iter();
        let output = |sum: &Option<Tensor<2>>| match (sum, &p) {
            (Some(sum), Some(p)) => Some(p.clone().matmul(sum.clone()).clamp_min(1e-9).log()),
            _ => heads.next().map(|head| head.forward(x.clone())),
        };
        let auxiliary = frozen.sums.iter().filter_map(output).collect();
        (logits, auxiliary)
    }

    /// Folds the network into equivalent linear layers. With the logits z of the cells and the weight w of an auxiliary
    /// output, `z + w log P(parent)` differs from `z + w z_parent` only by a constant over all cells, which softmax
    /// ignores. So every auxiliary output, and the product of `bridge` and the embeddings of the cells, can be added to
    /// the weights of the output layer.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(crate) fn fold(&self, objective: &Objective<'_>, frozen: &FrozenParams) -> Result<Layers> {
        let layer_values = |layer: &Linear| -> Result<(Vec<f32>, Vec<f32>)> {
            let bias = layer.bias.as_ref().context("a layer has no bias")?;
            Ok((to_vec(layer.weight.val().into_data())?, to_vec(bias.val().into_data())?))
        };
        let (mut weights, mut bias) = layer_values(&self.cells)?;
        if !frozen.free {
            weights.fill(0.0);
        }
        if let Some((bridge, embeddings)) = self.bridge.as_ref().zip(frozen.embeddings.as_ref()) {
            let embedded = to_vec(bridge.val().matmul(embeddings.clone()).into_data())?;
            weights.iter_mut().zip(embedded).for_each(|(w, x)| *w += x);
        }
        for (head, target) in
            self.others.iter().zip(objective.auxiliary.iter().filter(|target| !target.is_sum_of_cells))
        {
            let (coarse, shift) = layer_values(head)?;
            for (row, coarse) in weights.chunks_exact_mut(bias.len()).zip(coarse.chunks_exact(target.classes)) {
                row.iter_mut().zip(&target.class_of_cell).for_each(|(w, class)| *w += target.read_out * coarse[*class]);
            }
            bias.iter_mut().zip(&target.class_of_cell).for_each(|(b, class)| *b += target.read_out * shift[*class]);
        }
        let mut layers = self.trunk.iter().map(layer_values).collect::<Result<Layers>>()?;
        layers.push((weights, bias));
        Ok(layers)
    }
}

/// Layers whose logits are the mean of the logits of several heads: linear heads are averaged; hidden layers are
/// concatenated and the output weights scaled.
pub(crate) fn average_heads(heads: Vec<Layers>) -> Layers {
    let share = 1.0 / heads.len() as f32;
    let mut heads = heads.into_iter();
    let Some(mut all) = heads.next() else { return Vec::new() };
    let scale = |values: &mut [f32]| values.iter_mut().for_each(|x| *x *= share);
    let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for mut head in heads {
        let Some((output, bias)) = head.pop() else { continue };
        let Some((all_output, all_bias)) = all.last_mut() else { continue };
        add(all_bias, &bias);
        if head.is_empty() {
            add(all_output, &output);
        } else {
            all_output.extend(output);
        }
        for ((all, all_bias), (weights, bias)) in all.iter_mut().zip(head) {
            let rows = all.chunks_exact(all_bias.len()).zip(weights.chunks_exact(bias.len()));
            *all = rows.flat_map(|(a, b)| a.iter().chain(b).copied()).collect();
            all_bias.extend(bias);
        }
    }
    if let Some((weights, bias)) = all.last_mut() {
        scale(weights);
        scale(bias);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::model::Network;

    #[test]
    fn averaged_heads_give_the_mean_of_their_logits() {
        let linear = |a: f32| vec![(vec![a, 2.0 * a, -a, 0.5], vec![a, 1.0])];
        let deep = |a: f32| vec![(vec![a, -1.0, 0.5, a], vec![0.1, a]), (vec![1.0, a, -a, 0.3], vec![a, 0.0])];
        for heads in [vec![linear(1.0), linear(-3.0), linear(0.7)], vec![deep(1.0), deep(-2.0), deep(0.3)]] {
            let device = Device::flex();
            let inputs = [vec![0.3, -1.2], vec![2.0, 0.7]];
            let logits = |layers: Layers| {
                crate::head::model::logits(&Network::new(layers, &device), &inputs, &device).unwrap().concat()
            };
            let each: Vec<Vec<f32>> = heads.iter().cloned().map(logits).collect();
            for (i, got) in logits(average_heads(heads)).iter().enumerate() {
                let mean = each.iter().map(|logits| logits[i]).sum::<f32>() / 3.0;
                assert!((got - mean).abs() < 1e-5, "{got} {mean}");
            }
        }
    }

    #[test]
    fn invalid_cell_embeddings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good: [f32; 12] = std::array::from_fn(|i| i as f32);
        let mut bad = good;
        bad[7] = f32::NAN;
        for (values, expected) in [(&good[..10], "per cell for 4 cells"), (&bad, "value 7: not a finite number")] {
            let file = dir.path().join("cells.f32");
            std::fs::write(&file, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()).unwrap();
            let error = read_embeddings(&file, 4, &Device::flex()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
