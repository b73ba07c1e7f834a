use burn::{
    linalg::{qr, svd},
    tensor::{Device, Distribution, Tensor},
};
use serde::{Deserialize, Serialize};

/// Initial values of the factors of a LoRA adapter.
///
/// The first three leave the model as it is (except [`Orthogonal`](Self::Orthogonal), whose product is not
/// zero: as in peft, that is part of the method). [`Pissa`](Self::Pissa) and [`Olora`](Self::Olora) take
/// their directions from the base weight, and subtract the product from it. The adapter [keeps
/// it](super::Lora::subtracted): the base comes back where the adapter is not active, and files hold a plain LoRA
/// adapter of twice the rank for the original weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// `A` uniform in `±1 / sqrt(d_input)`, `B` zero: the default of peft.
    #[default]
    Kaiming,
    /// `A` normal with a standard deviation of `1 / rank`, `B` zero.
    Gaussian,
    /// Rows of `A` and columns of `B` from an orthogonal basis, divided by 10. Even ranks only.
    Orthogonal,
    /// The largest singular values and vectors of the weight: [PiSSA](https://arxiv.org/abs/2404.02948).
    Pissa,
    /// The QR decomposition of the weight: [OLoRA](https://arxiv.org/abs/2406.01775).
    Olora,
}

/// Factors `A: [d_input, rank]` and `B: [rank, d_output]`.
pub(super) type Factors = (Tensor<2>, Tensor<2>);

/// Sweeps of the Jacobi method after which the singular vectors of a matrix have settled in `f32`.
const SVD_SWEEPS: usize = 20;

impl LoraInit {
    /// Returns whether the product of the factors is subtracted from the base weight.
    pub(crate) fn changes_base(self) -> bool {
        matches!(self, Self::Pissa | Self::Olora)
    }

    /// Returns the ranks that the factors of a weight have, if `rank` is none of them.
    pub(super) fn other_ranks(self, size: [usize; 2], rank: usize) -> Option<String> {
        let [d_input, d_output] = size;
        let most = d_input.min(d_output);
        match self {
            Self::Orthogonal if !rank.is_multiple_of(2) => Some("an even rank".to_string()),
            Self::Pissa | Self::Olora if rank > most => {
                Some(format!("a rank of {most} at most for a weight {size:?}"))
            }
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kaiming => "kaiming",
            Self::Gaussian => "gaussian",
            Self::Orthogonal => "orthogonal",
            Self::Pissa => "pissa",
            Self::Olora => "olora",
        }
    }

    /// Returns the factors that do not depend on the weight, with the random numbers of the device.
    pub(super) fn drawn(
        self,
        [d_input, d_output]: [usize; 2],
        rank: usize,
        device: &Device,
    ) -> Factors {
        let b = Tensor::zeros([rank, d_output], device);
        match self {
            Self::Gaussian => {
                let normal = Distribution::Normal(0.0, 1.0 / rank as f64);
                (Tensor::random([d_input, rank], normal, device), b)
            }
            Self::Orthogonal => orthogonal([d_input, d_output], rank, device),
            _ => {
                let bound = 1.0 / (d_input as f64).sqrt();
                let uniform = Distribution::Uniform(-bound, bound);
                (Tensor::random([d_input, rank], uniform, device), b)
            }
        }
    }

    /// Returns the factors of a weight `[d_input, d_output]`, whose product times `scaling` is subtracted from it.
    pub(super) fn of_weight(self, weight: Tensor<2>, rank: usize, scaling: f64) -> Factors {
        match self {
            Self::Olora => olora(weight, rank),
            _ => pissa(weight, rank, scaling),
        }
    }
}

/// `Q` of the decomposition of a random square: its odd rows give `A`, its even ones `B`.
fn orthogonal([d_input, d_output]: [usize; 2], rank: usize, device: &Device) -> Factors {
    let normal = Distribution::Normal(0.0, 1.0);
    let draw = |shape: [usize; 2]| Tensor::<2>::random(shape, normal, device);
    let (q, _) = qr(draw([rank, rank]), true);
    let rows = |offset: usize| {
        let rows = q.clone().reshape([rank / 2, 2, rank]);
        rows.narrow(1, offset, 1).reshape([rank / 2, rank])
    };
    let a = draw([d_input, rank / 2]).matmul(rows(1)) / 10.0;
    let b = draw([d_output, rank / 2]).matmul(rows(0)) / 10.0;
    (a, b.transpose())
}

/// With `W^T = U S V^T`: `A = V sqrt(S / s)`, `B = sqrt(S / s) U^T`.
fn pissa(weight: Tensor<2>, rank: usize, scaling: f64) -> Factors {
    let (v, s, ut) = svd::<2, 1>(weight, SVD_SWEEPS);
    let root = (s.narrow(0, 0, rank) / scaling).sqrt();
    let a = v.narrow(1, 0, rank) * root.clone().unsqueeze_dim(0);
    let b = ut.narrow(0, 0, rank) * root.unsqueeze_dim(1);
    (a, b)
}

/// With `W^T = Q R`: `A = R^T` and `B = Q^T`, of their first `rank` rows and columns.
fn olora(weight: Tensor<2>, rank: usize) -> Factors {
    let (q, r) = qr(weight.transpose(), true);
    (
        r.narrow(0, 0, rank).transpose(),
        q.narrow(1, 0, rank).transpose(),
    )
}
