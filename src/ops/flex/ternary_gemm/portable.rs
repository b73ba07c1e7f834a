//! The loops without instructions of their own, and the twin that the others are tested against.

use super::{Rows, panels::Panel, rows::Sums};

/// Sums of rows with the columns of a panel.
pub(super) fn tile(panel: Panel<'_>, rows: Rows<'_>, sums: &mut [Sums]) {
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [0; _];
        for (block, codes) in panel.groups().flatten().zip(rows.row(row).chunks(4)) {
            for (i, codes) in codes.iter().enumerate() {
                for (b, code) in codes.to_le_bytes().into_iter().enumerate() {
                    let code = code as i8 as i32;
                    for (sum, word) in sums.iter_mut().zip(block) {
                        *sum += (word >> (8 * b + 2 * i) & 3) as i32 * code;
                    }
                }
            }
        }
    }
}

/// Sums of packed rows with one token of [arranged](super::dot::arrange) codes.
pub(super) fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [i32]) {
    for (row, sum) in rows.iter().zip(sums) {
        *sum = 0;
        for (words, codes) in row.chunks(16).zip(codes.chunks(256)) {
            for (i, codes) in codes.chunks(64).enumerate() {
                for (word, codes) in words.iter().zip(codes.chunks(4)) {
                    for (b, &code) in codes.iter().enumerate() {
                        *sum += (word >> (8 * b + 2 * i) & 3) as i32 * code as i32;
                    }
                }
            }
        }
    }
}
