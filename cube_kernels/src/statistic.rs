/// The statistic of a group that its scale is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Mean magnitude, `max(mean|v|, 1e-5)`.
    AbsMean,
    /// Largest magnitude, `max(max|v|, 1e-5)`.
    AbsMax,
}
