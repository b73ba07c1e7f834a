use super::{
    PANELS, Rows,
    dot::{FEATURES, FeatureSums},
    panels::Panel,
    portable,
    rows::Sums,
};

#[cfg(any(target_arch = "aarch64", test))]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Instruction set of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Detected),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(Detected),
    /// NEON with dot products; in tests on other processors emulated with scalar instructions.
    #[cfg(any(target_arch = "aarch64", test))]
    Neon(Detected),
    /// Portable code for every processor.
    Portable,
}

/// Proof that the processor has the instructions; only this file creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Detected(());

impl Instructions {
    /// Returns all instruction sets of this processor, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let own = [
            (is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni"))
                .then_some(Self::Avx512(Detected(()))),
            is_x86_feature_detected!("avx2").then_some(Self::Avx2(Detected(()))),
        ];
        #[cfg(target_arch = "aarch64")]
        let own =
            [std::arch::is_aarch64_feature_detected!("dotprod")
                .then_some(Self::Neon(Detected(())))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let own = [None];
        #[cfg(all(test, not(target_arch = "aarch64")))]
        let emulated = [Self::Neon(Detected(()))];
        #[cfg(not(all(test, not(target_arch = "aarch64"))))]
        let emulated = [];
        own.into_iter()
            .flatten()
            .chain([Self::Portable])
            .chain(emulated)
    }

    /// Returns the fastest instruction set of this processor.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// Returns the number of rows that are multiplied at a time.
    pub fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => avx512::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => avx2::ROWS,
            #[cfg(any(target_arch = "aarch64", test))]
            Self::Neon(_) => neon::ROWS,
            Self::Portable => 4,
        }
    }

    /// Computes the sums of `sums.len()` rows with the columns of one or two panels, of `code + 1`.
    pub fn tile(self, panels: &[Panel<'_>], rows: Rows<'_>, sums: &mut [Sums]) {
        assert!(panels.iter().all(|panel| rows.depth() == panel.depth()) && panels.len() <= PANELS);
        assert!(rows.len() == sums.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Detected` is created only if the processor has the instructions.
            Self::Avx512(_) => unsafe { avx512::tile(panels, rows, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2(_) => unsafe { avx2::tile(panels, rows, sums) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Self::Neon(_) => unsafe { neon::tile(panels, rows, sums) },
            #[cfg(all(test, not(target_arch = "aarch64")))]
            Self::Neon(_) => neon::tile(panels, rows, sums),
            Self::Portable => portable::tile(panels, rows, sums),
        }
    }

    /// Computes the sums of packed rows with tokens of [arranged](super::dot::arrange) codes, of `code + 1`,
    /// for each token.
    pub fn dot(self, rows: &[&[u32]], codes: &[i8], sums: &mut [FeatureSums]) {
        let length = codes.len() / sums.len().max(1);
        let words = rows.first().map_or(0, |row| row.len());
        assert!(rows.iter().all(|row| row.len() == words) && rows.len() <= FEATURES);
        assert!(words * 16 <= length);
        assert!(length.is_multiple_of(256) && codes.len() == length * sums.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512(_) => unsafe { avx512::dot(rows, codes, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2(_) => unsafe { avx2::dot(rows, codes, sums) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Self::Neon(_) => unsafe { neon::dot(rows, codes, sums) },
            #[cfg(all(test, not(target_arch = "aarch64")))]
            Self::Neon(_) => neon::dot(rows, codes, sums),
            Self::Portable => portable::dot(rows, codes, sums),
        }
    }
}
