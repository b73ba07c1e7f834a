use burn::tensor::{Device, Distribution, Int, Tensor};

use crate::base::random::mix;

/// Seeds of the blocks of a training step: a block that is computed again draws the same random numbers.
///
/// A model whose blocks draw none has no seeds, and leaves the numbers of the device alone.
pub(crate) struct BlockSeeds(Option<Seeded>);

struct Seeded {
    device: Device,
    seed: u64,
}

impl BlockSeeds {
    /// Creates those of a pass that is not computed again.
    pub fn none() -> Self {
        Self(None)
    }

    /// Draws them from the device.
    pub fn draw(device: Device) -> Self {
        // 24 bits of each are exact in every backend.
        let range = Distribution::Uniform(0.0, f64::from(1 << 24));
        let drawn = Tensor::<1, Int>::random([2], range, &device).into_data();
        let seed = drawn.iter::<i64>().fold(0, |seed, n| mix(seed ^ n as u64));
        Self(Some(Seeded { device, seed }))
    }

    /// Seeds the random numbers that follow: those of a block, of the head after the blocks, or of what comes after
    /// the step.
    pub fn start(&self, part: usize) {
        if let Some(Seeded { device, seed }) = &self.0 {
            device.seed(mix(seed ^ mix(part as u64)));
        }
    }

    /// Draws a number that shows which numbers were drawn since the last [`start`](Self::start).
    pub fn witness(&self) -> Option<Tensor<1>> {
        let Seeded { device, .. } = self.0.as_ref()?;
        let device = device.clone().inner();
        Some(Tensor::random([1], Distribution::Default, &device))
    }
}
