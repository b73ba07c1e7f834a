//! Batches of several worker threads, in an order that depends on the seed alone.

use std::{thread, time::Duration};

use bitnet_burn::train::OrderedDataLoader;
use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    tensor::Device,
};

/// Takes longer for some batches than for others.
struct Slow;

impl Batcher<u64, Vec<u64>> for Slow {
    fn batch(&self, items: Vec<u64>, _device: &Device) -> Vec<u64> {
        thread::sleep(Duration::from_millis(items[0] % 5));
        items
    }
}

fn loader(workers: usize, seed: Option<u64>) -> OrderedDataLoader<u64, Vec<u64>> {
    let loader = OrderedDataLoader::new(InMemDataset::new((0..50).collect()), Slow, 3);
    let loader = loader.with_num_workers(workers);
    match seed {
        Some(seed) => loader.with_shuffle(seed),
        None => loader,
    }
}

fn epoch(loader: &dyn DataLoader<Vec<u64>>) -> Vec<Vec<u64>> {
    loader.iter().map(|batch| batch.unwrap()).collect()
}

#[test]
fn the_order_is_the_same_for_every_number_of_workers() {
    let in_order: Vec<u64> = epoch(&loader(4, None)).concat();
    assert_eq!(in_order, (0..50).collect::<Vec<u64>>());
    let one = loader(1, Some(7));
    let epochs = [epoch(&one), epoch(&one)];
    assert_ne!(epochs[0], epochs[1]);
    let mut sorted = epochs[1].concat();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<u64>>());
    for workers in [2, 5, 20] {
        let several = loader(workers, Some(7)).to_device(&Device::default());
        assert_eq!([epoch(&*several), epoch(&*several)], epochs, "{workers}");
    }
}

#[test]
fn an_epoch_that_is_broken_off_leaves_the_next_ones_as_they_are() {
    let (whole, broken) = (loader(3, Some(1)), loader(3, Some(1)));
    let expected = [epoch(&whole), epoch(&whole), epoch(&whole)];
    drop(broken.iter());
    let start: Vec<_> = broken.iter().take(4).map(|batch| batch.unwrap()).collect();
    assert_eq!(start, expected[1][..4]);
    assert_eq!(epoch(&broken), expected[2]);
}

#[test]
fn progress_counts_the_items_that_were_handed_out() {
    let loader = loader(2, None);
    let mut batches = loader.iter();
    assert_eq!(batches.progress().items_total, 50);
    batches.next();
    assert_eq!(batches.progress().items_processed, 3);
    while batches.next().is_some() {}
    assert!(batches.progress().is_completed());
}

struct Panics;

impl Batcher<u64, u64> for Panics {
    fn batch(&self, items: Vec<u64>, _device: &Device) -> u64 {
        assert!(items[0] < 4, "a bug of the batcher");
        items[0]
    }
}

#[test]
fn a_worker_that_panics_is_an_error_of_the_data() {
    let loader = OrderedDataLoader::new(InMemDataset::new((0..8).collect()), Panics, 1);
    let loader = loader.with_num_workers(2);
    let error = loader.iter().find_map(Result::err).unwrap();
    let message = error.to_string();
    assert!(message.contains("batch 5 panicked"), "{message}");
}

#[test]
#[should_panic(expected = "batch_size must be 1 or more, got 0")]
fn batches_of_nothing_are_refused() {
    let _ = OrderedDataLoader::new(InMemDataset::new(vec![1u64]), Slow, 0);
}
