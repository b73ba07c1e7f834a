use core::{fmt, str::FromStr};

use burn::{
    linalg::qr,
    tensor::{Device, Distribution, Tensor},
};
use serde::{Deserialize, Serialize};

use super::{
    PeftError,
    low_rank::{Factors, LowRank},
};
use crate::base::bounds::OutOfBounds;

/// Initial values of the factors of a LoRA adapter, by the names of peft in files: `"pissa"`, `"pissa_niter_4"`, and
/// here `"loftq"` or `"loftq_iter_5"`.
///
/// The first three leave the model as it is (except [`Orthogonal`](Self::Orthogonal), whose product is not
/// zero: as in peft, that is part of the method). [`Pissa`](Self::Pissa) and [`Olora`](Self::Olora) take
/// their directions from the base weight, and subtract the product from it. The adapter [keeps
/// it](super::Lora::subtracted): the base comes back where the adapter is not active, and files hold a plain LoRA
/// adapter of twice the rank for the original weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LoraInit {
    /// `A` uniform in `±1 / sqrt(d_input)`, `B` zero: the default of peft.
    #[default]
    Kaiming,
    /// `A` normal with a standard deviation of `1 / rank`, `B` zero.
    Gaussian,
    /// Rows of `A` and columns of `B` from an orthogonal basis, divided by 10. Even ranks only.
    Orthogonal,
    /// The largest singular values and vectors of the weight: [PiSSA](https://arxiv.org/abs/2404.02948). A weight of
    /// 576 x 1536 takes about 1 s on one core.
    Pissa,
    /// An approximation of [`Pissa`](Self::Pissa) after so many subspace iterations, for large weights.
    PissaNiter(usize),
    /// The QR decomposition of the weight: [OLoRA](https://arxiv.org/abs/2406.01775).
    Olora,
    /// The error of the quantized base, after so many alternations of quantizing and decomposing:
    /// [LoftQ](super::loftq), for [`with_loftq`](crate::nn::BitNetLm::with_loftq).
    Loftq(usize),
}

/// Names and inits without a number.
const NAMES: [(&str, LoraInit); 5] = [
    ("kaiming", LoraInit::Kaiming),
    ("gaussian", LoraInit::Gaussian),
    ("orthogonal", LoraInit::Orthogonal),
    ("pissa", LoraInit::Pissa),
    ("olora", LoraInit::Olora),
];

impl fmt::Display for LoraInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PissaNiter(iterations) => write!(f, "pissa_niter_{iterations}"),
            Self::Loftq(1) => f.write_str("loftq"),
            Self::Loftq(iterations) => write!(f, "loftq_iter_{iterations}"),
            plain => {
                let name = NAMES.iter().find(|(_, init)| init == plain);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

impl FromStr for LoraInit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let after = |prefix: &str| text.strip_prefix(prefix)?.parse().ok();
        let plain = NAMES.iter().find(|(name, _)| *name == text);
        let init = plain.map(|(_, init)| *init);
        let init = init.or_else(|| after("pissa_niter_").map(Self::PissaNiter));
        let init = init.or_else(|| after("loftq_iter_").map(Self::Loftq));
        let init = init.or((text == "loftq").then_some(Self::Loftq(1)));
        init.ok_or_else(|| {
            format!(
                "unknown init {text:?}, expected kaiming, gaussian, orthogonal, pissa, pissa_niter_N, olora, loftq or \
                 loftq_iter_N"
            )
        })
    }
}

impl TryFrom<String> for LoraInit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LoraInit> for String {
    fn from(init: LoraInit) -> Self {
        init.to_string()
    }
}

impl LoraInit {
    /// Returns whether the product of the factors is subtracted from the base weight.
    pub(crate) fn changes_base(self) -> bool {
        matches!(self, Self::Pissa | Self::PissaNiter(_) | Self::Olora)
    }

    /// Checks that the factors of a projection can have a rank.
    pub(super) fn check_rank(
        self,
        module: &str,
        size: [usize; 2],
        rank: usize,
    ) -> Result<(), PeftError> {
        let field = format!("the rank of {module}");
        let smallest = size.into_iter().min().unwrap_or(0);
        if self.changes_base() || matches!(self, Self::Loftq(_)) {
            let allowed = format!("at most {smallest} for init {self}");
            OutOfBounds::unless(rank <= smallest, &field, &allowed, rank)?;
        }
        let is_even = rank.is_multiple_of(2) || self != Self::Orthogonal;
        Ok(OutOfBounds::unless(
            is_even,
            &field,
            "even for init orthogonal",
            rank,
        )?)
    }

    /// Checks the number of iterations.
    pub(super) fn check(self) -> Result<(), PeftError> {
        let has_any = self != Self::Loftq(0);
        Ok(OutOfBounds::unless(
            has_any,
            "the iterations of init loftq",
            "1 or more",
            0,
        )?)
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
            Self::PissaNiter(iterations) => {
                LowRank::randomized(weight, rank, iterations).factors(scaling)
            }
            _ => LowRank::exact(weight, rank).factors(scaling),
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

/// With `W^T = Q R`: `A = R^T` and `B = Q^T`, of their first `rank` rows and columns.
fn olora(weight: Tensor<2>, rank: usize) -> Factors {
    let (q, r) = qr(weight.transpose(), true);
    (
        r.narrow(0, 0, rank).transpose(),
        q.narrow(1, 0, rank).transpose(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let numbered = [
            LoraInit::PissaNiter(4),
            LoraInit::Loftq(1),
            LoraInit::Loftq(5),
        ];
        for init in NAMES.map(|(_, init)| init).into_iter().chain(numbered) {
            assert_eq!(init.to_string().parse(), Ok(init));
        }
        assert_eq!("pissa_niter_16".parse(), Ok(LoraInit::PissaNiter(16)));
        let error = "pissa_niter_".parse::<LoraInit>().unwrap_err();
        assert!(
            error.starts_with("unknown init \"pissa_niter_\", expected kaiming"),
            "{error}"
        );
    }
}
