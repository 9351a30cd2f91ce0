//! The training loop: AdamW over epochs of batches, with early stopping and checkpoints.

use anyhow::{Result, anyhow, bail};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor, TensorData, activation};
use landfall_model::Error;

use crate::checkpoint::{self, Best, Checkpoints, State};
use crate::feed::{Batch, Feed};
use crate::head::{Layers, Moments};
use crate::index::Row;
use crate::live::{self, Live};
use crate::objective::Objective;
use crate::prior;
use crate::recipe::Recipe;
use crate::samples::{self, Sample};
use crate::schedule;
use crate::trainee::{self, Fixed, Trainee};
use crate::validate::Probe;

/// Epochs between two looks at pictures held out, where nothing depends on them.
const LOOK_EVERY: usize = 5;
/// With early stopping, at most so many places decide.
const DECIDING_PLACES: usize = 600;

/// A network with its optimisers: one step at a time.
pub struct Trainer<'a> {
    objective: &'a Objective<'a>,
    recipe: &'a Recipe,
    fixed: Fixed,
    device: Device,
    network: Trainee,
    rest: ModuleOptimizer,
    bridge: ModuleOptimizer,
}

impl<'a> Trainer<'a> {
    /// An untrained network for embeddings of `dim` numbers.
    ///
    /// # Errors
    /// When the cell embeddings cannot be used.
    pub fn new(objective: &'a Objective<'a>, recipe: &'a Recipe, dim: usize, seed: u64) -> Result<Self> {
        let device = Device::flex().autodiff();
        let fixed = Fixed::new(recipe, objective, &device)?;
        let network = Trainee::new(dim, recipe.train.hidden, seed, objective, &fixed, &device);
        let adam = |decay: f32| AdamWConfig::new().with_weight_decay(decay).with_epsilon(1e-8).init();
        let (rest, bridge) = (adam(recipe.train.weight_decay), adam(recipe.cell_embeddings.weight_decay));
        Ok(Self { objective, recipe, fixed, device, network, rest, bridge })
    }

    /// Learns from a batch; gives the loss before it, which may be no number.
    ///
    /// # Errors
    /// Never in practice.
    pub fn step(&mut self, batch: Batch, rate: f64) -> Result<f32> {
        let Batch { n, x, mask, answers } = batch;
        let tensor = |values: Vec<f32>| {
            let width = values.len() / n;
            Tensor::<2>::from_data(TensorData::new(values, [n, width]), &self.device)
        };
        let (logits, others) = self.network.forward(tensor(x), mask.map(tensor), &self.fixed);
        let mut loss = self.cross_entropy(logits.clone(), tensor(answers.cells));
        for ((z, y), other) in others.into_iter().zip(answers.others).zip(&self.objective.others) {
            loss = loss + self.cross_entropy(z, tensor(y)) * other.loss;
        }
        if let Some(risk) = answers.risk {
            loss = loss + (activation::softmax(logits, 1) * tensor(risk)).sum() * self.recipe.km_loss.weight;
        }
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            return Ok(value);
        }
        let mut gradients = loss.backward();
        let ids = self.network.bridge_ids();
        let of_bridge = GradientsParams::from_params(&mut gradients, &self.network, &ids);
        let of_rest = GradientsParams::from_grads(gradients, &self.network);
        let mut network = self.network.clone();
        if !ids.is_empty() {
            network = self.bridge.step(rate * self.recipe.cell_embeddings.rate_factor, network, of_bridge);
        }
        self.network = self.rest.step(rate, network, of_rest);
        Ok(value)
    }

    /// Of logits `[N, classes]` and labels that sum to each row's weight: one distribution a row or, with sigmoids, one
    /// a class.
    fn cross_entropy(&self, logits: Tensor<2>, labels: Tensor<2>) -> Tensor<1> {
        let sigmoids = &self.recipe.sigmoids;
        if !sigmoids.on {
            return (activation::log_softmax(logits, 1) * labels).sum().neg();
        }
        let others = labels.clone().sum_dim(1) - labels.clone();
        let yes = activation::log_sigmoid(logits.clone()) * labels * sigmoids.positive_weight;
        (yes + activation::log_sigmoid(logits.neg()) * others).sum().neg()
    }

    /// The plain layers that answer as the network does.
    ///
    /// # Errors
    /// When burn cannot read its own numbers.
    pub fn fold(&self) -> Result<Layers> {
        self.network.fold(self.objective, &self.fixed)
    }

    /// Logits, and those of each other answer, for one standardised embedding, before folding.
    #[cfg(test)]
    pub(crate) fn answer(&self, input: &[f32]) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let input = Tensor::<2>::from_data(TensorData::new(input.to_vec(), [1, input.len()]), &self.device);
        let (logits, others) = self.network.forward(input, None, &self.fixed);
        let numbers = |tensor: Tensor<2>| crate::head::numbers(tensor.into_data());
        Ok((numbers(logits)?, others.into_iter().map(numbers).collect::<Result<_>>()?))
    }

    pub(crate) fn save(&self) -> Result<Vec<Vec<u8>>> {
        let cannot = |e| anyhow!("burn cannot write its own state: {e:?}");
        let network = self.network.clone().into_record().into_bytes().map_err(cannot)?;
        let rest = self.rest.into_bytes().map_err(cannot)?;
        let bridge = self.bridge.into_bytes().map_err(cannot)?;
        Ok([network, rest, bridge].map(|bytes| bytes.to_vec()).to_vec())
    }

    pub(crate) fn load(&mut self, bytes: Vec<Vec<u8>>) -> Result<()> {
        let [network, rest, bridge] = bytes.try_into().map_err(|_| anyhow!("a checkpoint has three parts"))?;
        let cannot = |e| anyhow!("burn cannot read the state in a checkpoint: {e:?}");
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(network)).map_err(cannot)?;
        self.network = self.network.clone().load_record(record);
        self.rest = self.rest.clone().from_bytes(Bytes::from_bytes_vec(rest)).map_err(cannot)?;
        self.bridge = self.bridge.clone().from_bytes(Bytes::from_bytes_vec(bridge)).map_err(cannot)?;
        Ok(())
    }
}

/// How runs are watched and kept.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// Where checkpoints go; none are made without.
    pub checkpoints: Option<Checkpoints>,
    /// Lines of json instead of a bar.
    pub json: bool,
}

/// Trains as many heads as the recipe asks for and averages them; adds the prior.
///
/// # Errors
/// When there is nothing to train on, the loss stops being a number, or Ctrl-C was pressed.
pub fn train(
    name: &str,
    samples: &[&Sample],
    objective: &Objective<'_>,
    recipe: &Recipe,
    moments: &Moments,
    look: Option<&Probe<'_>>,
    keeping: &Keeping,
) -> Result<Layers> {
    let heads = (0..recipe.train.heads as u64).map(|i| {
        let name = if recipe.train.heads > 1 { format!("{name} head {}", i + 1) } else { name.to_owned() };
        let seed = recipe.train.seed.wrapping_add(i);
        Run { name, seed, objective, recipe, moments, look, keeping }.train(samples)
    });
    let mut layers = trainee::average(heads.collect::<Result<_>>()?);
    let rows: Vec<&Row> = samples.iter().map(|sample| &sample.row).collect();
    let prior = prior::bias(recipe, objective, &rows)?;
    if let Some((_, bias)) = layers.last_mut() {
        bias.iter_mut().zip(prior).for_each(|(bias, prior)| *bias += prior);
    }
    Ok(layers)
}

/// One head's training.
struct Run<'a> {
    name: String,
    seed: u64,
    objective: &'a Objective<'a>,
    recipe: &'a Recipe,
    moments: &'a Moments,
    look: Option<&'a Probe<'a>>,
    keeping: &'a Keeping,
}

impl Run<'_> {
    fn train(&self, samples: &[&Sample]) -> Result<Layers> {
        let (early_stop, train) = (&self.recipe.early_stop, &self.recipe.train);
        let is_out = |s: &&&Sample| early_stop.patience > 0 && samples::is_held_out(&s.row, early_stop.parts);
        let (out, rest): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(is_out);
        let deciding = Probe::new(self.objective.table, &out, self.moments, DECIDING_PLACES);
        if early_stop.patience > 0 && deciding.is_empty() {
            bail!("early_stop: no picture with a place falls into the part held out; take fewer early_stop.parts");
        }
        let feed = Feed::new(&rest, self.objective, self.recipe, self.seed, self.moments);
        if feed.is_empty() {
            bail!("{}: there is no picture left to train on", self.name);
        }
        let dim = self.moments.mean.len();
        let fingerprint = checkpoint::fingerprint(self.recipe, self.seed, samples, self.objective.table, self.moments)?;
        let checkpoints = self.keeping.checkpoints.as_ref();
        let mut trainer = Trainer::new(self.objective, self.recipe, dim, self.seed)?;
        let mut state = State::default();
        if let Some(found) = checkpoints.map(|kept| kept.find(&self.name, &fingerprint)).transpose()?.flatten() {
            state = found;
            trainer.load(std::mem::take(&mut state.bytes))?;
        }
        let steps = feed.len().div_ceil(train.batch);
        let behind = (state.epoch * steps, train.epochs * steps);
        let mut live = Live::new(&self.name, train.epochs, behind, self.keeping.json)?;
        let has_stopped = |state: &State| {
            let best = state.best.as_ref();
            best.is_some_and(|best| early_stop.patience > 0 && state.epoch - best.epoch >= early_stop.patience)
        };
        while state.epoch < train.epochs && !has_stopped(&state) {
            let (order, mut random) = feed.epoch(state.epoch);
            for (i, pictures) in order.chunks(train.batch).enumerate() {
                if live::is_stopped() {
                    return Err(self.interrupted(&state).into());
                }
                let step = state.epoch * steps + i;
                let rate = schedule::rate_at(step, train.epochs * steps, train);
                let loss = trainer.step(feed.batch(pictures, &mut random), rate)?;
                if !loss.is_finite() {
                    bail!(self.diverged(loss, step, &state));
                }
                live.step(loss);
            }
            let layers = trainer.fold()?;
            if !layers.iter().all(|(weights, bias)| weights.iter().chain(bias).all(|x| x.is_finite())) {
                bail!(self.diverged(f32::NAN, (state.epoch + 1) * steps, &state));
            }
            state.epoch += 1;
            let is_time = state.epoch % LOOK_EVERY == 0 || state.epoch == train.epochs;
            let points = match self.look.filter(|probe| is_time && !probe.is_empty()) {
                _ if early_stop.patience > 0 => Some(deciding.points(&layers)?),
                Some(probe) => Some(probe.points(&layers)?),
                None => None,
            };
            if let Some(points) = points.filter(|_| early_stop.patience > 0)
                && state.best.as_ref().is_none_or(|best| points > best.points)
            {
                state.best = Some(Best { epoch: state.epoch, points, layers });
            }
            if let Some(kept) = checkpoints {
                let state = State { bytes: trainer.save()?, ..state.clone() };
                kept.keep(&self.name, &fingerprint, &state)?;
            }
            live.epoch(state.epoch, points);
        }
        match state.best {
            Some(best) => Ok(best.layers),
            None => trainer.fold(),
        }
    }

    /// Where a run may go on from, as the end of a sentence.
    fn kept(&self, state: &State) -> Option<String> {
        let kept = self.keeping.checkpoints.as_ref()?;
        if state.epoch == 0 {
            return kept.any().then(|| format!("what was finished before it is kept in {}", kept.dir.display()));
        }
        Some(format!("the checkpoint after epoch {} is kept in {}", state.epoch, kept.file(&self.name).display()))
    }

    fn diverged(&self, loss: f32, steps: usize, state: &State) -> String {
        let rate = self.recipe.train.rate;
        let what = format!(
            "{}: the loss is {loss} after {steps} steps: the learning rate {rate} is too high for this data",
            self.name
        );
        match self.kept(state) {
            Some(kept) => format!("{what}; {kept}: go on from it with --resume and a lower --set train.rate"),
            None => format!("{what}; try a lower --set train.rate, as lr-find suggests"),
        }
    }

    fn interrupted(&self, state: &State) -> Error {
        let name = &self.name;
        Error::Surroundings(match self.kept(state) {
            Some(kept) => format!("stopped in {name}; {kept}: the same command with --resume goes on from it"),
            None => format!("stopped in {name} before there was a checkpoint"),
        })
    }
}
