//! Decoding with a cache against the forward pass on the whole sequence, and against transformers.

use bitnet_burn::nn::{
    BitNetLm, BitNetLmConfig, KvCache, KvCacheConfig, KvCacheDType, Projection, TrainableProjection,
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{DType, Device, Int, Tensor},
};

use crate::support::{oracle::Oracle, tiny_bitnet::load, values::*};

/// Groups of two query heads share a key head.
fn lm<P: TrainableProjection>(device: &Device) -> BitNetLm<P> {
    let config = BitNetLmConfig::new(50, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16);
    config.init(device).map(&mut Drawn::new(1, 0.2))
}

/// Different tokens in each sequence.
fn tokens(batch: usize, positions: usize, device: &Device) -> Tensor<2, Int> {
    let tokens: Vec<i32> = (0..(batch * positions) as i32)
        .map(|i| (i * 7 + i * i) % 50)
        .collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), device).reshape([batch, positions])
}

/// Returns the logits of each position, computed in pieces of these lengths.
fn decode<P: Projection>(
    lm: &BitNetLm<P>,
    cache: &mut KvCache,
    tokens: &Tensor<2, Int>,
    pieces: &[usize],
) -> Vec<Vec<f32>> {
    pieces
        .iter()
        .map(|&positions| {
            let piece = tokens.clone().narrow(1, cache.len(), positions);
            floats(lm.decode(piece, cache))
        })
        .collect()
}

/// Compares [`decode`] with the forward pass.
fn check<P: Projection>(lm: &BitNetLm<P>, dtype: KvCacheDType, pieces: &[usize], bound: f64) {
    let device = Device::default();
    let (batch, positions) = (3, pieces.iter().sum());
    let tokens = tokens(batch, positions, &device);
    let mut cache = KvCacheConfig::new(batch, 16).with_dtype(dtype).init(lm);
    let decoded = decode(lm, &mut cache, &tokens, pieces);
    assert_eq!(cache.len(), positions);

    let whole = lm.forward(tokens);
    let mut end = 0;
    for (piece, logits) in pieces.iter().zip(decoded) {
        end += piece;
        let expected = floats(whole.clone().narrow(1, end - 1, 1));
        let what = format!("{dtype:?}, pieces {pieces:?}, position {end}");
        assert_within(&logits, &expected, |_| bound, &what);
    }
}

#[test]
fn pieces_of_a_text_give_the_logits_of_the_whole() {
    let lm = lm::<Linear>(&Device::default());
    for pieces in [&[8][..], &[1; 8], &[5, 1, 2], &[1, 7]] {
        check(&lm, KvCacheDType::F32, pieces, 2e-5);
    }
}

#[test]
fn smaller_caches_round_keys_and_values() {
    let device = Device::default();
    let lm = lm::<Linear>(&device);
    // Logits are of size 1.
    check(&lm, KvCacheDType::Int8, &[5, 1, 1, 1], 0.05);
    if device.supports_dtype(DType::F16) {
        check(&lm, KvCacheDType::F16, &[5, 1, 1, 1], 5e-3);
    }
}

#[test]
fn smaller_caches_are_smaller() {
    let device = Device::default();
    // Heads of 64 values.
    let config = BitNetLmConfig::new(50, 128, 2, 2, 48).with_max_positions(16);
    let lm: BitNetLm = config.init(&device);
    let bytes = |dtype| {
        let cache = KvCacheConfig::new(3, 10).with_dtype(dtype);
        cache.init(&lm).num_bytes()
    };
    let values = 2 * 2 * 3 * 10 * 128;
    assert_eq!(bytes(KvCacheDType::F32), 4 * values);
    // One byte per value and one scale per 64.
    assert_eq!(bytes(KvCacheDType::Int8), values + values / 64 * 4);
    if device.supports_dtype(DType::F16) {
        assert_eq!(bytes(KvCacheDType::F16), 2 * values);
    }
}

#[test]
fn decoding_a_checkpoint_token_by_token_equals_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("i_bitnet_lm_io");
    let case = oracle.case("robust_1x8");
    let tokens = case.tokens("input_ids", &device);
    let lm = load::<bitnet_burn::nn::BitLinear>(&device).pack();
    let mut cache = KvCacheConfig::new(1, 8).init(&lm);
    let logits = decode(&lm, &mut cache, &tokens, &[1; 8]).concat();
    // Activations of the case are not near ties, see `oracle_lm`.
    assert_within(&logits, &case.floats("logits"), |_| 1e-4, "logits");
}

#[test]
fn packed_weights_decode_like_those_they_were_made_from() {
    let device = Device::default();
    let lm = lm::<bitnet_burn::nn::BitLinear>(&device);
    let packed = lm.clone().pack();
    let tokens = tokens(2, 8, &device);
    let config = KvCacheConfig::new(2, 8).with_dtype(KvCacheDType::Int8);
    let pieces = [6, 1, 1];
    let expected = decode(&lm, &mut config.init(&lm), &tokens, &pieces).concat();
    let logits = decode(&packed, &mut config.init(&packed), &tokens, &pieces).concat();
    if on_cpu_library() {
        assert_equal(&logits, &expected, "logits");
    } else {
        // Another summation order may change a code of an activation.
        assert_within(&logits, &expected, |_| 0.05, "logits");
    }
}

#[test]
fn a_model_that_trains_decodes_as_its_copy_for_inference() {
    let device = Device::default().autodiff();
    let lm = lm::<bitnet_burn::nn::BitLinear>(&device);
    let config = KvCacheConfig::new(2, 8);
    let pieces = [6, 1, 1];
    let logits = decode(&lm, &mut config.init(&lm), &tokens(2, 8, &device), &pieces);
    let copy = lm.valid();
    let tokens = tokens(2, 8, &Device::default());
    let expected = decode(&copy, &mut config.init(&copy), &tokens, &pieces);
    // Sums have another order under autodiff; logits are below 1.
    let bound = |_: usize| 32.0 * ROUNDING;
    assert_within(&logits.concat(), &expected.concat(), bound, "logits");
}

#[test]
fn a_truncated_cache_decodes_the_same_again() {
    let device = Device::default();
    let lm = lm::<Linear>(&device);
    let tokens = tokens(2, 8, &device);
    let mut cache = KvCacheConfig::new(2, 8).init(&lm);
    let first = decode(&lm, &mut cache, &tokens, &[4, 1, 1]);
    cache.truncate(4);
    // A copy is independent of the other's tokens.
    let mut copy = cache.clone();
    let other = tokens.clone().flip([1]);
    decode(&lm, &mut copy, &other, &[4]);
    assert_eq!((cache.len(), copy.len()), (4, 8));
    let again = decode(&lm, &mut cache, &tokens, &[1, 1]);
    assert_eq!(first[1..], again);

    cache.truncate(0);
    assert!(cache.is_empty());
    assert_eq!(decode(&lm, &mut cache, &tokens, &[4]), first[..1]);
}

#[test]
#[should_panic(
    expected = "a cache of 2 sequences of 4 positions, 3 of them taken, has no room for 2"
)]
fn a_full_cache_panics() {
    let device = Device::default();
    let lm = lm::<Linear>(&device);
    let mut cache = KvCacheConfig::new(2, 4).init(&lm);
    decode(&lm, &mut cache, &tokens(2, 5, &device), &[3, 2]);
}

#[test]
#[should_panic(expected = "1 to 16 positions, got 1 and 17")]
fn a_cache_larger_than_the_model_panics() {
    KvCacheConfig::new(1, 17).init(&lm::<Linear>(&Device::default()));
}
