//! Tokens per second of a language model, packed compared with full precision.

use bitnet_burn::nn::{
    BitLinear, BitNetLm, BitNetLmConfig, KvCache, KvCacheConfig, KvCacheDType, PackedBitLinear,
    Projection,
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

pub const ABOUT: &str = "Tokens per second of a language model of 6 layers of width 768 (12 \
    heads, d_ff 2048, vocabulary of 256 tokens): for a\nprompt of 128 tokens, and for the 64 \
    tokens decoded after it. MiB of all parameters, and of the cache for 192\npositions.";

const PROMPT: usize = 128;
const NEW: usize = 64;

/// Value types of the caches: of full precision, and of packed weights.
const CACHES: [KvCacheDType; 4] = [
    KvCacheDType::F32,
    KvCacheDType::F32,
    KvCacheDType::F16,
    KvCacheDType::Int8,
];

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
        "tokens per second relative to full precision, longer is better",
    );
    let device = Device::default();
    let config = BitNetLmConfig::new(256, 768, 6, 12, 2048).with_max_positions(256);
    let full: BitNetLm<Linear> = config.init(&device);
    let packed = config.init::<BitLinear>(&device).pack();
    for batch in [1, 8] {
        measure(&mut table, batch, &full, &packed, quick);
    }
    table.bars.sort_by(|a, b| a.group.cmp(&b.group));
    table
}

fn measure(
    table: &mut Table,
    batch: usize,
    full: &BitNetLm<Linear>,
    packed: &BitNetLm<PackedBitLinear>,
    quick: bool,
) {
    let caches = CACHES.map(|dtype| {
        let config = KvCacheConfig::new(batch, PROMPT + NEW).with_dtype(dtype);
        config.init(packed)
    });
    let [f, a, b, c] = &caches;
    let prompts = [
        prompt(full, f, batch),
        prompt(packed, a, batch),
        prompt(packed, b, batch),
        prompt(packed, c, batch),
    ];
    let prompts = medians(prompts, quick);
    let decodes = [
        decode(full, f, batch),
        decode(packed, a, batch),
        decode(packed, b, batch),
        decode(packed, c, batch),
    ];
    let decodes = medians(decodes, quick);
    let sizes = [bytes(full), bytes(packed)];
    let mib = |bytes: f64| number(bytes / 1_048_576.0);
    for (i, cache) in caches.iter().enumerate() {
        let size = sizes[i.min(1)];
        let speed = |tokens: usize, ms: f64| number(1e3 * (batch * tokens) as f64 / ms);
        let ratios = [prompts[0] / prompts[i], decodes[0] / decodes[i]];
        table.row([
            batch.to_string(),
            ["f32", "packed"][i.min(1)].to_string(),
            format!("{:?}", CACHES[i]),
            speed(PROMPT, prompts[i]),
            format!("{:.2}", ratios[0]),
            speed(NEW, decodes[i]),
            format!("{:.2}", ratios[1]),
            mib(size),
            format!("{:.1}", sizes[0] / size),
            mib(cache.num_bytes() as f64),
        ]);
        for (what, ratio) in ["prompt", "decode"]
            .into_iter()
            .zip(ratios)
            .filter(|_| i > 0)
        {
            let label = format!("packed, cache {:?}", CACHES[i]);
            table.bar(format!("{what}, batch {batch}"), label, ratio);
        }
    }
}

fn tokens(batch: usize, positions: usize) -> Tensor<2, Int> {
    let device = Device::default();
    let tokens = Tensor::<1, Int>::arange(0..(batch * positions) as i64, &device);
    tokens.remainder_scalar(256).reshape([batch, positions])
}

/// Processes the prompt.
fn prompt<'a, P: Projection>(lm: &'a BitNetLm<P>, cache: &KvCache, batch: usize) -> Timed<'a> {
    let (mut cache, tokens) = (cache.clone(), tokens(batch, PROMPT));
    timed(move || {
        cache.truncate(0);
        lm.decode(tokens.clone(), &mut cache)
    })
}

/// Decodes token by token after a prompt.
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

/// Returns the size of all parameters in bytes.
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
