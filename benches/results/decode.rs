//! Tokens a second of a language model, packed against full precision.

use bitnet_burn::nn::{
    BitLinear, BitNetLm, BitNetLmConfig, KvCache, KvCacheConfig, KvCacheDType, Projection,
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::{
    alternate::{Timed, medians, timed},
    table::{Table, number},
};

pub const ABOUT: &str = "Tokens a second of a language model of 6 layers of 768 (12 heads, d_ff 2048, 256 \
    tokens in the vocabulary): of a\nprompt of 128 tokens, and of 64 tokens after it, one by one. MiB of \
    all parameters, and of the cache for 192\npositions.";

const PROMPT: usize = 128;
const NEW: usize = 64;

pub fn run(quick: bool) -> Table {
    let head = &[
        "batch",
        "weights",
        "cache",
        "prompt",
        "ratio",
        "decode",
        "ratio",
        "parameters",
        "ratio",
        "cache MiB",
    ];
    let mut table = Table::new(
        head,
        "tokens a second against full precision, longer is better",
    );
    let device = Device::default();
    let config = BitNetLmConfig::new(256, 768, 6, 12, 2048).with_max_positions(256);
    let full: BitNetLm<Linear> = config.init(&device);
    let packed = config.init::<BitLinear>(&device).pack();
    let sizes = [bytes(&full), bytes(&packed)];
    let types = [KvCacheDType::F32, KvCacheDType::F16, KvCacheDType::Int8];
    for batch in [1, 8] {
        let cache = |dtype| KvCacheConfig::new(batch, PROMPT + NEW).with_dtype(dtype);
        let caches = types.map(|dtype| cache(dtype).init(&packed));
        let full_cache = cache(KvCacheDType::F32).init(&full);
        let [base, a, b, c] = &[&full_cache, &caches[0], &caches[1], &caches[2]];
        let prompts = medians(
            [
                prompt(&full, base, batch),
                prompt(&packed, a, batch),
                prompt(&packed, b, batch),
                prompt(&packed, c, batch),
            ],
            quick,
        );
        let decodes = medians(
            [
                decode(&full, base, batch),
                decode(&packed, a, batch),
                decode(&packed, b, batch),
                decode(&packed, c, batch),
            ],
            quick,
        );
        for i in 0..4usize {
            let size = sizes[usize::from(i > 0)];
            let dtype = types[i.saturating_sub(1)];
            let speed = |tokens: usize, ms: f64| number(1e3 * (batch * tokens) as f64 / ms);
            let ratios = [prompts[0] / prompts[i], decodes[0] / decodes[i]];
            table.row([
                batch.to_string(),
                if i == 0 { "f32" } else { "packed" }.to_string(),
                format!("{dtype:?}"),
                speed(PROMPT, prompts[i]),
                format!("{:.2}", ratios[0]),
                speed(NEW, decodes[i]),
                format!("{:.2}", ratios[1]),
                number(size / 1048576.0),
                format!("{:.1}", sizes[0] / size),
                number([base, a, b, c][i].num_bytes() as f64 / 1048576.0),
            ]);
            if i > 0 {
                let group = |what| format!("{what}, batch {batch}");
                table.bar(
                    group("prompt"),
                    format!("packed, cache {dtype:?}"),
                    ratios[0],
                );
                table.bar(
                    group("decode"),
                    format!("packed, cache {dtype:?}"),
                    ratios[1],
                );
            }
        }
    }
    table.bars.sort_by(|a, b| a.group.cmp(&b.group));
    table
}

fn tokens(batch: usize, positions: usize) -> Tensor<2, Int> {
    let device = Device::default();
    let tokens = Tensor::<1, Int>::arange(0..(batch * positions) as i64, &device);
    tokens.remainder_scalar(256).reshape([batch, positions])
}

/// Reads the prompt.
fn prompt<'a, P: Projection>(lm: &'a BitNetLm<P>, cache: &KvCache, batch: usize) -> Timed<'a> {
    let (mut cache, tokens) = (cache.clone(), tokens(batch, PROMPT));
    timed(move || {
        cache.truncate(0);
        lm.decode(tokens.clone(), &mut cache)
    })
}

/// Decodes one token after the other, after a prompt.
fn decode<'a, P: Projection>(lm: &'a BitNetLm<P>, cache: &KvCache, batch: usize) -> Timed<'a> {
    let mut cache = cache.clone();
    let logits = lm.decode(tokens(batch, PROMPT), &mut cache);
    timed(move || {
        cache.truncate(PROMPT);
        (0..NEW).fold(logits.clone(), |logits, _| {
            lm.decode(logits.argmax(1), &mut cache)
        })
    })
}

/// Bytes of all parameters.
fn bytes<M: Module>(module: &M) -> f64 {
    struct Bytes(usize);
    impl ModuleVisitor for Bytes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0 += value.shape().num_elements() * value.dtype().size();
        }
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let value = param.val();
            self.0 += value.shape().num_elements() * value.dtype().size();
        }
    }
    let mut bytes = Bytes(0);
    module.visit(&mut bytes);
    bytes.0 as f64
}
