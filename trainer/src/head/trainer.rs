//! Training steps of a head.

use anyhow::{Result, anyhow};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor, TensorData, activation};

use crate::head::dataloader::Batch;
use crate::head::loss::Objective;
use crate::head::model::{Layers, Moments};
use crate::head::recipe::Recipe;
use crate::head::trainable::{FrozenParams, TrainableHead};

/// A network with its optimizers.
pub(crate) struct Trainer<'a> {
    objective: &'a Objective<'a>,
    recipe: &'a Recipe,
    frozen: FrozenParams,
    device: Device,
    network: TrainableHead,
    main_optimizer: ModuleOptimizer,
    bridge_optimizer: ModuleOptimizer,
}

impl<'a> Trainer<'a> {
    /// An untrained network for embeddings with these moments.
    ///
    /// # Errors
    /// When the cell embeddings or the matrix to start from cannot be used.
    pub(crate) fn new(objective: &'a Objective<'a>, recipe: &'a Recipe, moments: &Moments, seed: u64) -> Result<Self> {
        let device = Device::flex().autodiff();
        let frozen = FrozenParams::new(recipe, objective, &device)?;
        let network = TrainableHead::new(moments, recipe.train.hidden, seed, objective, &frozen, &device)?;
        let adam = |decay: f32| AdamWConfig::new().with_weight_decay(decay).with_epsilon(1e-8).init();
        let (main_optimizer, bridge_optimizer) =
            (adam(recipe.train.weight_decay), adam(recipe.cell_embeddings.weight_decay));
        Ok(Self { objective, recipe, frozen, device, network, main_optimizer, bridge_optimizer })
    }

    /// Trains on a batch and returns its loss. If the loss is not finite, the weights are unchanged.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) fn step(&mut self, batch: Batch, rate: f64) -> Result<f32> {
        let Batch { n, x, mask, labels } = batch;
        let tensor = |values: Vec<f32>| {
            let width = values.len() / n;
            Tensor::<2>::from_data(TensorData::new(values, [n, width]), &self.device)
        };
        let (logits, auxiliary) = self.network.forward(tensor(x), mask.map(tensor), &self.frozen);
        let mut loss = self.cross_entropy(logits.clone(), tensor(labels.cells));
        for ((z, y), target) in auxiliary.into_iter().zip(labels.auxiliary).zip(&self.objective.auxiliary) {
            loss = loss + self.cross_entropy(z, tensor(y)) * target.loss;
        }
        if let Some(risk) = labels.risk {
            loss = loss + (activation::softmax(logits, 1) * tensor(risk)).sum() * self.recipe.km_loss.weight;
        }
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            return Ok(value);
        }
        let mut gradients = loss.backward();
        let ids = self.network.bridge_ids();
        let bridge_gradients = GradientsParams::from_params(&mut gradients, &self.network, &ids);
        let main_gradients = GradientsParams::from_grads(gradients, &self.network);
        let mut network = self.network.clone();
        if !ids.is_empty() {
            network =
                self.bridge_optimizer.step(rate * self.recipe.cell_embeddings.lr_factor, network, bridge_gradients);
        }
        self.network = self.main_optimizer.step(rate, network, main_gradients);
        Ok(value)
    }

    /// Cross-entropy of logits `[N, classes]` with labels that sum to the weight of each row: over classes or, with
    /// sigmoids, per class.
    fn cross_entropy(&self, logits: Tensor<2>, labels: Tensor<2>) -> Tensor<1> {
        let sigmoids = &self.recipe.sigmoids;
        if !sigmoids.on {
            return (activation::log_softmax(logits, 1) * labels).sum().neg();
        }
        let negatives = labels.clone().sum_dim(1) - labels.clone();
        let positives = activation::log_sigmoid(logits.clone()) * labels * sigmoids.positive_weight;
        (positives + activation::log_sigmoid(logits.neg()) * negatives).sum().neg()
    }

    /// Folds the network into equivalent linear layers.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(crate) fn fold(&self) -> Result<Layers> {
        self.network.fold(self.objective, &self.frozen)
    }

    /// Logits of the cells and of each auxiliary target for one standardised embedding, before folding.
    #[cfg(test)]
    pub(crate) fn logits(&self, input: &[f32]) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let input = Tensor::<2>::from_data(TensorData::new(input.to_vec(), [1, input.len()]), &self.device);
        let (logits, auxiliary) = self.network.forward(input, None, &self.frozen);
        let numbers = |tensor: Tensor<2>| crate::head::model::to_vec(tensor.into_data());
        Ok((numbers(logits)?, auxiliary.into_iter().map(numbers).collect::<Result<_>>()?))
    }

    pub(crate) fn save(&self) -> Result<Vec<Vec<u8>>> {
        let failed = |e| anyhow!("cannot serialise the training state: {e:?}");
        let network = self.network.clone().into_record().into_bytes().map_err(failed)?;
        let main_optimizer = self.main_optimizer.into_bytes().map_err(failed)?;
        let bridge_optimizer = self.bridge_optimizer.into_bytes().map_err(failed)?;
        Ok([network, main_optimizer, bridge_optimizer].map(|bytes| bytes.to_vec()).to_vec())
    }

    pub(crate) fn load(&mut self, bytes: Vec<Vec<u8>>) -> Result<()> {
        let [network, main_optimizer, bridge_optimizer] = bytes.try_into().map_err(|_| {
            anyhow!("the checkpoint does not have the three parts of a head; start again without --resume")
        })?;
        let failed = |e| anyhow!("cannot read the training state in the checkpoint: {e:?}");
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(network)).map_err(failed)?;
        self.network = self.network.clone().load_record(record);
        self.main_optimizer =
            self.main_optimizer.clone().from_bytes(Bytes::from_bytes_vec(main_optimizer)).map_err(failed)?;
        self.bridge_optimizer =
            self.bridge_optimizer.clone().from_bytes(Bytes::from_bytes_vec(bridge_optimizer)).map_err(failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::samples::Sample;
    use crate::head::dataloader::DataLoader;
    use crate::head::model::Network;
    use crate::head::training_data::TrainingData;
    use crate::head::training_data::tests::{place, sample, training_data};
    use std::path::Path;

    fn pictures() -> TrainingData {
        let places = [(48.85, 2.35, "FR"), (45.76, 4.83, "FR"), (35.68, 139.76, "JP"), (-33.87, 151.21, "AU")];
        let mut data = training_data(&places);
        for (i, (lat, lng, iso2)) in places.into_iter().enumerate() {
            let embedding = [1.0, i as f32, (i * i) as f32, 0.5 - i as f32, 0.1];
            data.samples.push(sample(place(lat, lng, iso2), &embedding));
        }
        data.staggered.push(data.table.clone());
        data
    }

    fn recipes(embeddings: &Path) -> Vec<Recipe> {
        let mut all = vec![Recipe::default(); 5];
        all[0].hierarchy.levels = vec![2];
        all[0].hierarchy.country = true;
        all[1].cell_embeddings.file = embeddings.into();
        all[1].train.hidden = 7;
        all[2].cell_embeddings.file = embeddings.into();
        all[2].cell_embeddings.free = false;
        all[3].hierarchy = all[0].hierarchy.clone();
        all[3].hierarchy.sums = true;
        all[4].train.hidden = 3;
        all[4].train.mixup = 0.3;
        all[4].km_loss.weight = 0.5;
        all.iter_mut().for_each(|recipe| recipe.train.lr = 0.05);
        all
    }

    fn write_embeddings(dir: &Path, values: &[f32]) -> std::path::PathBuf {
        let file = dir.join("cells.f32");
        std::fs::write(&file, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        file
    }

    /// Embeddings of four cells with three values each.
    const EMBEDDINGS: [f32; 12] = [1.0, 0.0, 0.5, 0.0, 1.0, 0.5, -1.0, 0.0, 0.2, 0.0, -1.0, 0.1];

    fn softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f32 = logits.iter().map(|z| z.exp()).sum();
        logits.iter().map(|z| z.exp() / sum).collect()
    }

    /// Trains for these epochs with one step each.
    fn steps(trainer: &mut Trainer<'_>, loader: &DataLoader<'_>, epochs: std::ops::Range<usize>) {
        for epoch in epochs {
            let (order, mut random) = loader.epoch(epoch);
            let loss = trainer.step(loader.batch(&order, &mut random), 0.05).unwrap();
            assert!(loss.is_finite());
        }
    }

    #[test]
    fn the_folded_layers_give_the_logits_of_the_network() {
        let (data, dir) = (pictures(), tempfile::tempdir().unwrap());
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let moments = Moments::of_samples(&samples);
        for (i, recipe) in recipes(&write_embeddings(dir.path(), &EMBEDDINGS)).iter().enumerate() {
            let objective = Objective::new(&data, recipe).unwrap();
            let loader = DataLoader::new(&samples, &objective, recipe, 1, &moments);
            let mut trainer = Trainer::new(&objective, recipe, &moments, 1).unwrap();
            steps(&mut trainer, &loader, 0..30);
            let folded = Network::new(trainer.fold().unwrap(), &Device::flex());
            for sample in &samples {
                let input = crate::head::model::standardise(&sample.variants[0], &moments);
                let (logits, auxiliary) = trainer.logits(&input).unwrap();
                // The definition: z_child + w log P(parent).
                let mut expected = logits;
                for (z, target) in auxiliary.iter().zip(&objective.auxiliary) {
                    let log_p: Vec<f32> = softmax(z).into_iter().map(f32::ln).collect();
                    let read = |(z, class): (&mut f32, &usize)| *z += target.read_out * log_p[*class];
                    expected.iter_mut().zip(&target.class_of_cell).for_each(read);
                }
                let got = crate::head::model::logits(&folded, &[input], &Device::flex()).unwrap().remove(0);
                let differ = softmax(&got).iter().zip(softmax(&expected)).any(|(a, b)| (a - b).abs() > 1e-5);
                assert!(!differ, "recipe {i}: {got:?} {expected:?}");
                assert!(got.iter().any(|z| z.abs() > 0.1), "recipe {i} learned something");
            }
        }
    }

    #[test]
    fn a_head_starts_with_the_logits_of_an_earlier_one() {
        let (data, dir) = (pictures(), tempfile::tempdir().unwrap());
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let moments = Moments::of_samples(&samples);
        let start: [f32; 15] = std::array::from_fn(|i| (i as f32).sin());
        let file = dir.path().join("start.f32");
        std::fs::write(&file, start.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        let mut recipe = Recipe::default();
        recipe.cell_embeddings.file = write_embeddings(dir.path(), &EMBEDDINGS);
        recipe.cell_embeddings.start = file.clone();
        for hidden in [0, 6] {
            recipe.train.hidden = hidden;
            let objective = Objective::new(&data, &recipe).unwrap();
            let mut trainer = Trainer::new(&objective, &recipe, &moments, 1).unwrap();
            for sample in &samples {
                let unit = crate::features::samples::unit_vector(&sample.variants[0]);
                let input = crate::head::model::standardise(&sample.variants[0], &moments);
                for (cell, got) in EMBEDDINGS.chunks_exact(3).zip(trainer.logits(&input).unwrap().0) {
                    let column =
                        |j: usize| unit.iter().zip(start[j..].iter().step_by(3)).map(|(u, a)| u * a).sum::<f32>();
                    let expected: f32 = (0..3).map(|j| column(j) * cell[j]).sum();
                    assert!((got - expected).abs() < 1e-4, "{got} {expected}");
                }
            }
            let before = trainer.fold().unwrap();
            steps(&mut trainer, &DataLoader::new(&samples, &objective, &recipe, 1, &moments), 0..1);
            for (before, after) in before.iter().zip(trainer.fold().unwrap()) {
                assert_ne!(before.0, after.0, "weights that started from the earlier head are trained");
            }
        }
        for (hidden, numbers, expected) in [(0, 2, "2 values, not 5 x 3"), (4, 15, "needs train.hidden = 6")] {
            std::fs::write(&file, vec![0; 4 * numbers]).unwrap();
            recipe.train.hidden = hidden;
            let objective = Objective::new(&data, &recipe).unwrap();
            let error = Trainer::new(&objective, &recipe, &moments, 1).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_resumed_run_gives_bit_identical_weights() {
        let (data, dir) = (pictures(), tempfile::tempdir().unwrap());
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let moments = Moments::of_samples(&samples);
        for recipe in recipes(&write_embeddings(dir.path(), &EMBEDDINGS)) {
            let objective = Objective::new(&data, &recipe).unwrap();
            let loader = DataLoader::new(&samples, &objective, &recipe, 1, &moments);
            let mut straight = Trainer::new(&objective, &recipe, &moments, 1).unwrap();
            steps(&mut straight, &loader, 0..4);
            let kept = straight.save().unwrap();
            let before = straight.fold().unwrap();
            steps(&mut straight, &loader, 4..8);
            let mut resumed = Trainer::new(&objective, &recipe, &moments, 1).unwrap();
            resumed.load(kept).unwrap();
            assert_eq!(resumed.fold().unwrap(), before);
            steps(&mut resumed, &loader, 4..8);
            assert_eq!(resumed.fold().unwrap(), straight.fold().unwrap());
            assert_ne!(straight.fold().unwrap(), before);
        }
    }
}
