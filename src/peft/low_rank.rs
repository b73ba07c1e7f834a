//! The largest singular values and vectors of a matrix.

use burn::{
    linalg::svd,
    tensor::{Tensor, TensorData},
};

use crate::base::random::{mix, unit};

/// Factors `A: [d_input, rank]` and `B: [rank, d_output]`.
pub(super) type Factors = (Tensor<2>, Tensor<2>);

/// Iterations per singular value within which the decomposition converges; it needs two on average.
const SVD_SWEEPS: usize = 20;

/// Matrices `U: [rows, rank]`, `S: [rank]` and `V^T: [rank, columns]`, without autodiff.
pub(super) struct LowRank {
    u: Tensor<2>,
    s: Tensor<1>,
    vt: Tensor<2>,
}

impl LowRank {
    /// Decomposes a matrix in full, on the host: `O(rows columns min(rows, columns))`.
    pub(super) fn exact(matrix: Tensor<2>, rank: usize) -> Self {
        let (u, s, vt) = svd::<2, 1>(matrix, SVD_SWEEPS);
        Self {
            u: u.narrow(1, 0, rank),
            s: s.narrow(0, 0, rank),
            vt: vt.narrow(0, 0, rank),
        }
    }

    /// Approximates the decomposition by the range of `rank` random vectors after so many subspace iterations, each of
    /// two products with the matrix: `torch.svd_lowrank`. The vectors are the same each time.
    ///
    /// Source: [Finding structure with randomness](https://arxiv.org/abs/0909.4061), algorithm 4.4.
    pub(super) fn randomized(matrix: Tensor<2>, rank: usize, iterations: usize) -> Self {
        let [rows, columns] = matrix.dims();
        if rows < columns {
            let Self { u, s, vt } = Self::randomized(matrix.transpose(), rank, iterations);
            let (u, vt) = (vt.transpose(), u.transpose());
            return Self { u, s, vt };
        }
        let random = TensorData::new(normal(columns * rank), [columns, rank]);
        let random = Tensor::<2>::from_data(random, &matrix.device());
        let mut basis = orthonormal(matrix.clone().matmul(random));
        for _ in 0..iterations {
            let other = orthonormal(matrix.clone().transpose().matmul(basis));
            basis = orthonormal(matrix.clone().matmul(other));
        }
        let small = basis.clone().transpose().matmul(matrix);
        let Self { u, s, vt } = Self::exact(small, rank);
        let u = basis.matmul(u);
        Self { u, s, vt }
    }

    /// Returns factors with `scaling A B = U S V^T`, each with the root of the singular values.
    pub(super) fn factors(self, scaling: f64) -> Factors {
        let root = (self.s / scaling).sqrt();
        let a = self.u * root.clone().unsqueeze_dim(0);
        let b = self.vt * root.unsqueeze_dim(1);
        (a, b)
    }
}

/// Returns orthonormal columns that span the columns of a tall matrix.
fn orthonormal(matrix: Tensor<2>) -> Tensor<2> {
    svd::<2, 1>(matrix, SVD_SWEEPS).0
}

/// Returns normally distributed values, by the Box-Muller transform.
fn normal(n: usize) -> Vec<f32> {
    let value = |i: u64| {
        let [radius, angle] = [2 * i, 2 * i + 1].map(|counter| unit(mix(counter)));
        (-2.0 * (1.0 - radius).ln()).sqrt() * (core::f32::consts::TAU * angle).cos()
    };
    (0..n as u64).map(value).collect()
}
