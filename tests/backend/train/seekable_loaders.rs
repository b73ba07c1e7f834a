//! Loaders that seek to any batch, and that are divided among processes.

use std::sync::Arc;

use bitnet_burn::{
    text::dataset::{
        Document, DocumentBatchesConfig, EvenWindowsConfig, PackingConfig, RandomWindowsConfig,
        TokenBatch,
    },
    train::{OrderedDataLoader, SeekableDataLoader},
};
use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    tensor::Device,
};

const BATCHES: usize = 7;

fn windows() -> Arc<dyn SeekableDataLoader<TokenBatch>> {
    let config = RandomWindowsConfig::new(4, 2, 3 * BATCHES).with_steps_per_epoch(Some(BATCHES));
    let tokens: Vec<u32> = (0..50).collect();
    Arc::new(config.init(tokens, &Device::default()).unwrap())
}

fn documents() -> Arc<dyn SeekableDataLoader<TokenBatch>> {
    let documents = (0..9)
        .map(|i| Document::new((i..i + 13).collect()))
        .collect::<Vec<_>>();
    let config =
        DocumentBatchesConfig::new(PackingConfig::new(4).with_eos(Some(99)), 2, 2 * BATCHES);
    let config = config.with_shuffle_buffer(3);
    Arc::new(config.init(documents, &Device::default()).unwrap())
}

struct Items;

impl Batcher<u32, Vec<i64>> for Items {
    fn batch(&self, items: Vec<u32>, _device: &Device) -> Vec<i64> {
        items.into_iter().map(i64::from).collect()
    }
}

fn ordered() -> Arc<dyn SeekableDataLoader<Vec<i64>>> {
    let items = InMemDataset::new((0..2 * BATCHES as u32).collect());
    Arc::new(
        OrderedDataLoader::new(items, Items, 2)
            .with_shuffle(5)
            .with_num_workers(3),
    )
}

fn tokens(batch: TokenBatch) -> Vec<i64> {
    batch.inputs.to_data().iter::<i64>().collect()
}

/// Returns the batches of the next epoch.
fn epoch<O>(loader: &dyn SeekableDataLoader<O>, values: fn(O) -> Vec<i64>) -> Vec<Vec<i64>> {
    let mut batches = loader.iter();
    let all: Vec<_> = (&mut batches).map(|batch| values(batch.unwrap())).collect();
    let progress = batches.progress();
    assert_eq!(progress.items_processed, progress.items_total);
    assert_eq!(progress.items_total, loader.num_items());
    all
}

/// Checks that a loader that seeks continues like one that read all batches before.
fn check_seek<O>(new: fn() -> Arc<dyn SeekableDataLoader<O>>, values: fn(O) -> Vec<i64>) {
    let loader = new();
    let epochs: Vec<_> = (0..3).map(|_| epoch(&*loader, values)).collect();
    assert!(epochs.iter().all(|epoch| epoch.len() == BATCHES));
    assert_ne!(epochs[0], epochs[1]);
    for (number, batch) in [(1, 3), (0, 0), (2, 6), (1, BATCHES)] {
        // A copy for a device has the same position.
        let copy = loader.to_device(&Device::default());
        loader.seek(number, batch);
        let rest: Vec<_> = copy.iter().map(|batch| values(batch.unwrap())).collect();
        assert_eq!(
            rest,
            epochs[number][batch..],
            "epoch {number}, batch {batch}"
        );
        if number < 2 {
            assert_eq!(epoch(&*loader, values), epochs[number + 1]);
        }
    }
}

/// Checks that the shards of processes alternate in the batches of the whole.
fn check_shards<O>(new: fn() -> Arc<dyn SeekableDataLoader<O>>, values: fn(O) -> Vec<i64>) {
    let loader = new();
    let parts: Vec<_> = (0..3).map(|rank| loader.shard(rank, 3)).collect();
    for _ in 0..2 {
        let whole = epoch(&*loader, values);
        for (rank, part) in parts.iter().enumerate() {
            // 7 batches are 2 for each of 3.
            let expected = [whole[rank].clone(), whole[3 + rank].clone()];
            assert_eq!(epoch(&**part, values), expected, "rank {rank}");
        }
    }
    parts[1].seek(0, 1);
    loader.seek(0, 4);
    assert_eq!(epoch(&*parts[1], values)[0], epoch(&*loader, values)[0]);
}

#[test]
fn seeking_gives_the_batches_from_there_on() {
    check_seek(windows, tokens);
    check_seek(documents, tokens);
    check_seek(ordered, |batch| batch);
}

#[test]
fn shards_take_turns_in_the_batches() {
    check_shards(windows, tokens);
    check_shards(documents, tokens);
    check_shards(ordered, |batch| batch);
}

/// Checks that a second epoch is an error while one is read, and that a shard is read beside it.
fn check_readers<O>(new: fn() -> Arc<dyn SeekableDataLoader<O>>, values: fn(O) -> Vec<i64>) {
    let loader = new();
    let other = loader.shard(0, 1);
    let mut first = loader.iter();
    let begun = values(first.next().unwrap().unwrap());
    let copy = loader.to_device(&Device::default());
    for mut second in [loader.iter(), copy.iter()] {
        let error = second.next().unwrap().err().unwrap().to_string();
        assert!(error.contains("expected one reader at a time"), "{error}");
        assert!(second.next().is_none());
    }
    let rest = first.map(|batch| values(batch.unwrap())).collect();
    let read = [vec![begun], rest].concat();
    assert_eq!(epoch(&*other, values), read);
    assert_eq!(epoch(&*loader, values), epoch(&*other, values));
}

#[test]
fn two_epochs_of_one_loader_at_a_time_are_an_error() {
    check_readers(windows, tokens);
    check_readers(documents, tokens);
    check_readers(ordered, |batch| batch);
}

#[test]
fn windows_that_are_the_same_in_each_epoch_have_several_readers() {
    let config = EvenWindowsConfig::new(4, 2, 5);
    let tokens: Vec<u32> = (0..50).collect();
    let windows = config.init(tokens, &Device::default()).unwrap();
    let pairs = windows.iter().zip(windows.iter());
    let equal = pairs.map(|(a, b)| self::tokens(a.unwrap()) == self::tokens(b.unwrap()));
    assert_eq!(Vec::from_iter(equal), [true; 3]);
}

#[test]
fn a_shard_of_a_shard_is_one_of_the_whole() {
    let (shard, whole) = (windows().shard(1, 2), windows());
    // Batches 1, 3 and 5, of which the second process has the second.
    let part = shard.shard(1, 2);
    assert_eq!(epoch(&*part, tokens), [epoch(&*whole, tokens)[3].clone()]);
}

#[test]
#[should_panic(expected = "rank is 2, expected less than the world size 2")]
fn a_rank_outside_of_the_world_is_refused() {
    let _ = windows().shard(2, 2);
}
