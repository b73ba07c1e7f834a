use burn::{
    data::dataloader::Progress,
    tensor::TensorReadError,
    train::metric::{Adaptor, LossInput, LossMetric, Metric, MetricMetadata, Numeric},
};

/// Loss of an optimizer step: the mean over its batches, weighted like their gradients.
#[derive(Debug, Clone, Default)]
pub(in crate::train) struct StepLoss {
    /// Weight of the current batch.
    weight: f64,
    /// `true` if its loss is recorded.
    recorded: bool,
    sum: f64,
    weights: f64,
    /// Number of batches of the step, and of those with a recorded loss.
    batches: usize,
    known: usize,
    /// Loss of the last batch, for a step whose batches all have weight 0.
    last: f64,
}

impl StepLoss {
    /// Returns the number of batches of the step so far.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Starts the next batch of the step.
    pub fn begin_batch(&mut self, weight: f64) {
        self.weight = weight;
        self.recorded = false;
        self.batches += 1;
    }

    /// Reads the loss of the batch back from the device, unless it is already recorded.
    pub fn record(&mut self, output: &impl Adaptor<LossInput>) -> Result<(), TensorReadError> {
        if self.recorded {
            return Ok(());
        }
        self.last = read(output)?;
        self.recorded = true;
        self.known += 1;
        if self.weight > 0.0 {
            self.sum += self.weight * self.last;
            self.weights += self.weight;
        }
        Ok(())
    }

    /// Returns the loss of the last batch that was read.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Returns the mean; `None` unless the losses of all batches are known.
    pub fn mean(&self) -> Option<f64> {
        let complete = self.batches > 0 && self.known == self.batches;
        complete.then(|| match self.weights > 0.0 {
            true => self.sum / self.weights,
            false => self.last,
        })
    }
}

/// Reads the loss in the output of a step. Burn's metric keeps it private; it is computed here.
fn read(output: &impl Adaptor<LossInput>) -> Result<f64, TensorReadError> {
    let mut metric = LossMetric::new();
    let metadata = MetricMetadata {
        progress: Progress::new(1, 1, None),
        iteration: None,
        lr: None,
    };
    metric.update(&output.adapt(), &metadata)?;
    Ok(metric.value().map_or(f64::NAN, |value| value.current()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    struct Output(f32);

    impl Adaptor<LossInput> for Output {
        fn adapt(&self) -> LossInput {
            LossInput::new(Tensor::from_floats([self.0], &Device::default()))
        }
    }

    #[test]
    fn batches_have_the_weight_of_their_gradients() {
        let mut loss = StepLoss::default();
        for (weight, value) in [(3.0, 1.0), (1.0, 5.0), (0.0, 9.0)] {
            loss.begin_batch(weight);
            loss.record(&Output(value)).unwrap();
            loss.record(&Output(100.0)).unwrap(); // read once
        }
        assert_eq!(loss.mean(), Some(2.0));
    }

    #[test]
    fn a_step_with_a_batch_that_nobody_read_has_no_loss() {
        let mut loss = StepLoss::default();
        assert_eq!(loss.mean(), None);
        loss.begin_batch(1.0);
        loss.record(&Output(1.0)).unwrap();
        loss.begin_batch(1.0);
        assert_eq!(loss.mean(), None);
    }

    #[test]
    fn a_step_in_which_no_token_counts_has_the_loss_of_its_last_batch() {
        let mut loss = StepLoss::default();
        loss.begin_batch(0.0);
        loss.record(&Output(0.0)).unwrap();
        assert_eq!(loss.mean(), Some(0.0));
    }
}
