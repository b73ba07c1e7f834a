//! Documents in sequences of one length, and their targets.

use bitnet_burn::text::dataset::{
    Document, DocumentSource, Packed, Packing, PackingConfig, Sequence,
};

/// Target that does not count.
const NO: i32 = -100;

fn packed(documents: Vec<Document>, config: PackingConfig) -> Vec<(Vec<i32>, Vec<i32>)> {
    let sequences = Packed::new(documents.documents(), config).unwrap();
    sequences
        .map(|sequence| sequence.unwrap())
        .map(|sequence| (sequence.inputs(), sequence.targets()))
        .collect()
}

fn documents() -> Vec<Document> {
    vec![
        Document::new(vec![1, 2, 3, 4, 5]),
        Document::with_prompt(&[6], &[7]),
    ]
}

#[test]
fn documents_follow_each_other() {
    let config = PackingConfig::new(3).with_eos(Some(9));
    let expected = [
        (vec![1, 2, 3], vec![2, 3, 4]),
        (vec![4, 5, 9], vec![5, 9, NO]),
        (vec![6, 7, 9], vec![7, 9, NO]),
    ];
    assert_eq!(packed(documents(), config), expected);
}

#[test]
fn documents_begin_sequences() {
    let config = PackingConfig::new(4)
        .with_eos(Some(9))
        .with_bos(Some(8))
        .with_packing(Packing::Separate);
    let expected = [
        (vec![8, 1, 2, 3], vec![1, 2, 3, 4]),
        (vec![4, 5, 9, 9], vec![5, 9, NO, NO]),
        (vec![8, 6, 7, 9], vec![NO, 7, 9, NO]),
    ];
    assert_eq!(packed(documents(), config), expected);
}

#[test]
fn nothing_is_left_of_a_document_that_fits() {
    let config = PackingConfig::new(2).with_packing(Packing::Separate);
    let documents = vec![Document::new(vec![1, 2, 3, 4, 5]), Document::new(vec![6])];
    let expected = [
        (vec![1, 2], vec![2, 3]),
        (vec![3, 4], vec![4, 5]),
        (vec![6, 0], vec![NO, NO]),
    ];
    assert_eq!(packed(documents, config), expected);
}

#[test]
fn pieces_of_a_document_have_no_end_between_them() {
    let config = PackingConfig::new(4).with_eos(Some(9)).with_bos(Some(8));
    let mut first = Document::new(vec![1, 2]);
    first.ends = false;
    let documents = vec![first, Document::new(vec![3]), Document::new(vec![4])];
    let expected = [
        (vec![8, 1, 2, 3], vec![1, 2, 3, 9]),
        (vec![9, 8, 4, 9], vec![NO, 4, 9, NO]),
    ];
    assert_eq!(packed(documents, config), expected);
}

#[test]
fn the_end_of_a_text_that_does_not_count_does_not_either() {
    let config = PackingConfig::new(2).with_eos(Some(9));
    let documents = vec![Document::with_prompt(&[1, 2], &[])];
    assert_eq!(packed(documents, config), [(vec![1, 2], vec![NO, NO])]);
}

#[test]
fn targets_are_the_next_tokens_that_count() {
    let sequence = Sequence::new(vec![1, 2, 3, 4], vec![true, false, true, true]);
    assert_eq!(sequence.inputs(), [1, 2, 3]);
    assert_eq!(sequence.targets(), [NO, 3, 4]);
    assert_eq!(sequence.counted(), 2);
}
