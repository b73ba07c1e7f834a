use std::fmt;

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

/// Loops of a product for an instruction set of this processor; only this file creates them.
#[derive(Clone, Copy)]
pub(super) struct Instructions {
    name: &'static str,
    /// Number of rows that are multiplied at a time.
    pub rows: usize,
    tile: unsafe fn(&[Panel<'_>], Rows<'_>, &mut [Sums]),
    dot: unsafe fn(&[&[u32]], &[i8], &mut [FeatureSums]),
}

impl fmt::Debug for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Code for every processor.
const PORTABLE: Instructions = Instructions {
    name: "portable",
    rows: 4,
    tile: portable::tile,
    dot: portable::dot,
};

/// AVX-512 with VNNI.
#[cfg(target_arch = "x86_64")]
const AVX512: Instructions = Instructions {
    name: "AVX-512",
    rows: avx512::ROWS,
    tile: avx512::tile,
    dot: avx512::dot,
};

#[cfg(target_arch = "x86_64")]
const AVX2: Instructions = Instructions {
    name: "AVX2",
    rows: avx2::ROWS,
    tile: avx2::tile,
    dot: avx2::dot,
};

/// NEON with dot products; in tests on other processors emulated with scalar instructions.
#[cfg(any(target_arch = "aarch64", test))]
const NEON: Instructions = Instructions {
    name: "NEON",
    rows: neon::ROWS,
    tile: neon::tile,
    dot: neon::dot,
};

impl Instructions {
    /// Returns all instruction sets of this processor, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let own = [
            (is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni"))
                .then_some(AVX512),
            is_x86_feature_detected!("avx2").then_some(AVX2),
        ];
        #[cfg(target_arch = "aarch64")]
        let own = [std::arch::is_aarch64_feature_detected!("dotprod").then_some(NEON)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let own = [None];
        #[cfg(all(test, not(target_arch = "aarch64")))]
        let emulated = [NEON];
        #[cfg(not(all(test, not(target_arch = "aarch64"))))]
        let emulated = [];
        own.into_iter().flatten().chain([PORTABLE]).chain(emulated)
    }

    /// Returns the fastest instruction set of this processor.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(PORTABLE)
    }

    /// Computes the sums of `sums.len()` rows with the columns of one or two panels, of `code + 1`.
    pub fn tile(self, panels: &[Panel<'_>], rows: Rows<'_>, sums: &mut [Sums]) {
        assert!(panels.iter().all(|panel| rows.depth() == panel.depth()) && panels.len() <= PANELS);
        assert!(rows.len() == sums.len());
        // SAFETY: the processor has the instructions, and the shapes are those asserted above.
        unsafe { (self.tile)(panels, rows, sums) }
    }

    /// Computes the sums of packed rows with tokens of [arranged](super::dot::arrange) codes, of `code + 1`,
    /// for each token.
    pub fn dot(self, rows: &[&[u32]], codes: &[i8], sums: &mut [FeatureSums]) {
        let length = codes.len() / sums.len().max(1);
        let words = rows.first().map_or(0, |row| row.len());
        assert!(rows.iter().all(|row| row.len() == words) && rows.len() <= FEATURES);
        assert!(words * 16 <= length);
        assert!(length.is_multiple_of(256) && codes.len() == length * sums.len());
        // SAFETY: the processor has the instructions, and the shapes are those asserted above.
        unsafe { (self.dot)(rows, codes, sums) }
    }
}
