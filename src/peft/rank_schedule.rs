use super::AdaLoraConfig;

/// Schedule of the number of directions that an AdaLoRA training keeps over all modules, its budget.
///
/// With `b_0` directions at first and `b_T = target_r` times the number of modules, the budget of step `t`, from 0, is
///
/// - `b_0` for `t <= tinit`,
/// - `floor((b_0 - b_T) (1 - (t - tinit) / (total_step - tfinal - tinit))^3 + b_T)` until `total_step - tfinal`,
/// - `b_T` after it.
///
/// Source: [AdaLoRA](https://arxiv.org/abs/2303.10512), equation 12, as in peft's `RankAllocator`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankSchedule {
    initial: usize,
    target: usize,
    start: usize,
    end: usize,
    every: usize,
}

/// Part of a step of an AdaLoRA training in the allocation of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankStep {
    /// The importance of directions is measured.
    Measure,
    /// It is measured, and directions are pruned by it.
    Prune,
    /// Directions are pruned for the last time, by the importance so far.
    Freeze,
    /// Directions that are pruned stay so.
    Frozen,
}

impl RankStep {
    /// Returns whether directions are pruned in the step.
    pub fn prunes(self) -> bool {
        self != Self::Measure
    }
}

impl RankSchedule {
    /// Creates the schedule of a training that begins with `initial` directions in `modules` modules.
    ///
    /// The target is never above the directions at first.
    pub fn new(config: &AdaLoraConfig, initial: usize, modules: usize) -> Self {
        Self {
            initial,
            target: (config.target_r * modules).min(initial),
            start: config.tinit,
            end: config.total_step.saturating_sub(config.tfinal),
            every: config.delta_t.max(1),
        }
    }

    /// Returns the budget of a step, from 0.
    pub fn budget(&self, step: usize) -> usize {
        if step <= self.start {
            return self.initial;
        }
        if step >= self.end {
            return self.target;
        }
        let share = (step - self.start) as f64 / (self.end - self.start) as f64;
        let surplus = (self.initial - self.target) as f64;
        // `powf`, as the power in Python: a product can be one rounding off, which counts beside a whole number.
        (surplus * (1.0 - share).powf(3.0) + self.target as f64) as usize
    }

    /// Returns what is done in a step, from 0.
    pub fn step(&self, step: usize) -> RankStep {
        if step > self.end {
            return RankStep::Frozen;
        }
        if step == self.end {
            return RankStep::Freeze;
        }
        match step > self.start && step.is_multiple_of(self.every) {
            true => RankStep::Prune,
            false => RankStep::Measure,
        }
    }

    /// Returns the step in which directions are pruned for the last time.
    pub fn last(&self) -> usize {
        self.end
    }
}

/// Returns which directions of each module are kept: those whose score is above that of the best direction that the
/// budget has no place for, over all modules.
///
/// Directions of the same score at the threshold are all pruned, as in peft. A budget for all directions keeps all of
/// them.
pub fn kept_directions(scores: &[Vec<f32>], budget: usize) -> Vec<Vec<bool>> {
    let mut sorted = scores.concat();
    let pruned = sorted.len().saturating_sub(budget);
    if pruned == 0 {
        return scores
            .iter()
            .map(|scores| vec![true; scores.len()])
            .collect();
    }
    let (_, &mut threshold, _) = sorted.select_nth_unstable_by(pruned - 1, f32::total_cmp);
    let keeps = |scores: &Vec<f32>| {
        let above = |score: &f32| score.total_cmp(&threshold).is_gt();
        scores.iter().map(above).collect()
    };
    scores.iter().map(keeps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(initial: usize, config: &AdaLoraConfig) -> RankSchedule {
        RankSchedule::new(config, initial, 1)
    }

    #[test]
    fn the_budget_falls_from_the_first_to_the_target_and_stays() {
        let config = AdaLoraConfig::new(100)
            .with_ranks(12, 4)
            .with_steps(10, 20, 1);
        let schedule = schedule(12, &config);
        let budgets: Vec<usize> = (0..120).map(|step| schedule.budget(step)).collect();
        assert!(budgets[..=10].iter().all(|&budget| budget == 12));
        assert!(budgets[80..].iter().all(|&budget| budget == 4));
        assert!(budgets.is_sorted_by(|a, b| a >= b));
        // 8 * 0.5^3 + 4 at half the way.
        assert_eq!(budgets[45], 5);
    }

    #[test]
    fn the_budget_is_that_of_all_modules() {
        let config = AdaLoraConfig::new(20).with_ranks(6, 2).with_steps(3, 4, 2);
        let schedule = RankSchedule::new(&config, 18, 3);
        let budgets = [3, 4, 8, 12, 19].map(|t| schedule.budget(t));
        assert_eq!(budgets, [18, 15, 8, 6, 6]);
        assert_eq!(schedule.step(3), RankStep::Measure);
        assert_eq!(schedule.step(4), RankStep::Prune);
    }

    #[test]
    fn directions_are_pruned_between_the_first_and_the_last_steps() {
        use RankStep::*;
        let config = AdaLoraConfig::new(10).with_ranks(4, 2).with_steps(2, 3, 2);
        let schedule = schedule(4, &config);
        let steps: Vec<RankStep> = (0..10).map(|step| schedule.step(step)).collect();
        let expected = [Measure, Measure, Measure, Measure, Prune, Measure, Prune];
        assert_eq!(steps[..7], expected);
        assert_eq!(steps[7..], [Freeze, Frozen, Frozen]);
    }

    #[test]
    fn a_target_of_all_directions_prunes_none() {
        let config = AdaLoraConfig::new(10).with_ranks(4, 4);
        let schedule = schedule(4, &config);
        assert!((0..20).all(|step| schedule.budget(step) == 4));
        assert_eq!(kept_directions(&[vec![0.0; 4]], 4), [[true; 4]]);
    }

    #[test]
    fn equal_scores_at_the_threshold_are_all_pruned() {
        let kept = kept_directions(&[vec![1.0, 1.0], vec![2.0, 1.0]], 2);
        assert_eq!(kept, [[false, false], [true, false]]);
        let kept = kept_directions(&[vec![0.1, 3.0], vec![2.0, 0.5, 0.1]], 2);
        assert_eq!(kept, [vec![false, true], vec![true, false, false]]);
        // A NaN is above every number.
        let kept = kept_directions(&[vec![f32::NAN, 1.0]], 1);
        assert_eq!(kept, [[true, false]]);
    }
}
