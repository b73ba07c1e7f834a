//! Loops without special instructions: the reference that the others are tested against.

use super::{
    COLUMNS, Rows,
    dot::FeatureSums,
    panels::{Block, Panel},
    rows::Sums,
};

/// Computes the sums of rows with the columns of panels.
pub(super) fn tile(panels: &[Panel<'_>], rows: Rows<'_>, sums: &mut [Sums]) {
    for (row, sums) in sums.iter_mut().enumerate() {
        for (panel, sums) in panels.iter().zip(sums) {
            *sums = [0; _];
            for (block, codes) in panel.blocks().zip(rows.row(row).chunks(4)) {
                add_block(block, codes, sums);
            }
        }
    }
}

fn add_block(block: &Block, codes: &[u32], sums: &mut [i32; COLUMNS]) {
    for (i, codes) in codes.iter().enumerate() {
        for (b, code) in codes.to_le_bytes().into_iter().enumerate() {
            let code = code as i8 as i32;
            for (sum, word) in sums.iter_mut().zip(block) {
                *sum += (word >> (8 * b + 2 * i) & 3) as i32 * code;
            }
        }
    }
}

/// Computes the sums of packed rows with tokens of [arranged](super::dot::arrange) codes.
pub(super) fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [FeatureSums]) {
    let length = codes.len() / sums.len().max(1);
    for (sums, codes) in sums.iter_mut().zip(codes.chunks(length.max(1))) {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = dot_row(row, codes);
        }
    }
}

fn dot_row(row: &[u32], codes: &[i8]) -> i32 {
    let mut sum = 0;
    for (words, codes) in row.chunks(16).zip(codes.chunks(256)) {
        for (i, codes) in codes.chunks(64).enumerate() {
            for (word, codes) in words.iter().zip(codes.chunks(4)) {
                for (b, &code) in codes.iter().enumerate() {
                    sum += (word >> (8 * b + 2 * i) & 3) as i32 * code as i32;
                }
            }
        }
    }
    sum
}
