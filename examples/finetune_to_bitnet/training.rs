//! A plain training loop, for the full-precision model and both ways to a BitNet.

use std::time::Instant;

use bitnet_burn::nn::Projection;
use burn::{
    data::dataloader::DataLoader,
    lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
    optim::AdamWConfig,
    tensor::Device,
    train::{TrainOutput, TrainStep},
};

use crate::{
    data::{BATCH, CONTEXT, Corpus, STEPS_PER_EPOCH},
    model::LanguageModel,
};

/// Steps between two lines.
const INTERVAL: usize = 50;

/// AdamW with a cosine from the peak learning rate to a tenth of it.
pub struct Training<'a> {
    pub corpus: &'a Corpus,
    pub device: &'a Device,
    pub seed: u64,
    pub steps: usize,
    pub learning_rate: f64,
}

impl Training<'_> {
    /// Trains, with a call of `before_step` before each step.
    pub fn run<P: Projection>(
        &self,
        mut model: LanguageModel<P>,
        before_step: impl Fn(usize),
    ) -> Result<LanguageModel<P>, String> {
        let mut optimizer = AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_weight_decay(0.01)
            .init();
        let mut scheduler = CosineAnnealingLrSchedulerConfig::new(self.learning_rate, self.steps)
            .with_min_lr(0.1 * self.learning_rate)
            .init()?;
        let loader = self.corpus.train_loader(self.seed, self.steps);
        let loader = loader.to_device(&self.device.clone().autodiff());
        let epochs = self.steps.div_ceil(STEPS_PER_EPOCH);
        let mut since = Instant::now();
        for (step, batch) in (0..epochs).flat_map(|_| loader.iter()).enumerate() {
            before_step(step);
            let batch = batch.map_err(|error| error.to_string())?;
            let TrainOutput { grads, item } = TrainStep::step(&model, batch);
            model = model.optimize(&mut optimizer, scheduler.step(), grads);
            if (step + 1).is_multiple_of(INTERVAL) || step + 1 == self.steps {
                let loss = item.loss.into_scalar::<f32>();
                self.print(step, loss, since);
                since = Instant::now();
            }
        }
        Ok(model)
    }

    fn print(&self, step: usize, loss: f32, since: Instant) {
        let (done, total) = (step + 1, self.steps);
        let tokens = (step % INTERVAL + 1) * BATCH * CONTEXT;
        let rate = tokens as f64 / since.elapsed().as_secs_f64();
        println!("  step {done:>5}/{total} | {rate:>7.0} tokens/s | training loss {loss:.4}");
    }
}
