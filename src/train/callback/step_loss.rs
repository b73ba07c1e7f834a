use burn::{
    data::dataloader::Progress,
    tensor::TensorReadError,
    train::metric::{LossInput, LossMetric, Metric, MetricMetadata, Numeric},
};

/// Losses of the batches of an optimizer step. They stay on the device until one is asked for.
#[derive(Default)]
pub(in crate::train) struct StepLoss {
    /// Loss of each batch with the weight of its gradients.
    batches: Vec<(f64, LossInput)>,
    /// Mean over the batches, if it was read.
    mean: Option<f64>,
}

impl StepLoss {
    /// Returns the number of batches of the step so far.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Adds a batch.
    pub fn add(&mut self, weight: f64, loss: LossInput) {
        self.batches.push((weight, loss));
        self.mean = None;
    }

    /// Reads the loss of the last batch; NaN if there is none.
    pub fn last(&self) -> Result<f64, TensorReadError> {
        self.batches
            .last()
            .map_or(Ok(f64::NAN), |(_, loss)| read(loss))
    }

    /// Reads the weighted mean over the batches. That of a step whose batches all have weight 0 is
    /// the loss of the last one.
    pub fn mean(&mut self) -> Result<f64, TensorReadError> {
        if let Some(mean) = self.mean {
            return Ok(mean);
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (weight, loss) in self.batches.iter().filter(|(weight, _)| *weight > 0.0) {
            sum += weight * read(loss)?;
            weights += weight;
        }
        let mean = match weights > 0.0 {
            true => sum / weights,
            false => self.last()?,
        };
        self.mean = Some(mean);
        Ok(mean)
    }
}

/// Reads a loss back from the device. Burn's metric keeps it private; it is computed here.
fn read(loss: &LossInput) -> Result<f64, TensorReadError> {
    let mut metric = LossMetric::new();
    let metadata = MetricMetadata {
        progress: Progress::new(1, 1, None),
        iteration: None,
        lr: None,
    };
    metric.update(loss, &metadata)?;
    Ok(metric.value().map_or(f64::NAN, |value| value.current()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn step(batches: &[(f64, f32)]) -> StepLoss {
        let mut step = StepLoss::default();
        for &(weight, loss) in batches {
            let loss = Tensor::from_floats([loss], &Device::default());
            step.add(weight, LossInput::new(loss));
        }
        step
    }

    #[test]
    fn batches_have_the_weight_of_their_gradients() {
        let mut loss = step(&[(3.0, 1.0), (1.0, 5.0), (0.0, 9.0)]);
        for _ in 0..2 {
            assert_eq!(loss.mean().unwrap(), 2.0);
        }
        assert_eq!(loss.last().unwrap(), 9.0);
    }

    #[test]
    fn a_step_without_batches_has_no_loss() {
        assert!(step(&[]).mean().unwrap().is_nan());
    }

    #[test]
    fn a_step_in_which_no_token_counts_has_the_loss_of_its_last_batch() {
        assert_eq!(step(&[(0.0, 3.0), (0.0, 0.0)]).mean().unwrap(), 0.0);
    }
}
