use burn::tensor::Tensor;

/// Distance of the columns of a matrix from orthonormal ones, with its gradient.
#[derive(Debug, Clone)]
pub(super) struct Orthogonality {
    /// `|M^T M - I|`, of shape `[1]`.
    pub distance: Tensor<1>,
    /// `dn/dM = 2 M (M^T M - I) / n` of the distance `n`, and zero where that is zero.
    pub gradient: Tensor<2>,
}

impl Orthogonality {
    /// Computes it for the columns of a matrix `[d, rank]`, in `f32` and without autodiff.
    pub fn of_columns(matrix: Tensor<2>) -> Self {
        let [_, rank] = matrix.dims();
        let gram = matrix.clone().transpose().matmul(matrix.clone());
        let identity = Tensor::<2>::eye(rank, &matrix.device()).cast(matrix.dtype());
        let excess = gram - identity;
        let distance = excess.clone().square().sum().sqrt();
        // Orthonormal columns have no gradient, as of `torch.norm`, where the formula divides zero by zero.
        let divisor = distance.clone().clamp_min(f32::MIN_POSITIVE);
        let gradient = matrix.matmul(excess) * 2.0 / divisor.unsqueeze();
        Self { distance, gradient }
    }

    /// Computes it for the rows of a matrix `[rank, d]`.
    pub fn of_rows(matrix: Tensor<2>) -> Self {
        let columns = Self::of_columns(matrix.transpose());
        Self {
            gradient: columns.gradient.transpose(),
            ..columns
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn orthonormal_columns_have_no_distance_and_no_gradient() {
        let device = Device::default();
        let matrix = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], &device);
        let found = Orthogonality::of_columns(matrix);
        assert_eq!(found.distance.into_scalar::<f32>(), 0.0);
        let gradient = found.gradient.into_data();
        assert!(gradient.iter::<f32>().all(|value| value == 0.0));
    }

    #[test]
    fn one_column_has_the_distance_of_its_square_from_one() {
        let device = Device::default();
        let matrix = Tensor::<2>::from_floats([[3.0, 0.0]], &device);
        let found = Orthogonality::of_rows(matrix);
        assert_eq!(found.distance.into_scalar::<f32>(), 8.0);
        // d(m^2 - 1)/dm = 2 m.
        let gradient: Vec<f32> = found.gradient.into_data().iter().collect();
        assert_eq!(gradient, [6.0, 0.0]);
    }
}
