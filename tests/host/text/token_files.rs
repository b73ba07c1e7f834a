//! Token files: round trip, and rejection of all other files.

use std::{fs, path::PathBuf, sync::Arc};

use bitnet_burn::text::{
    TextError, Tokenizer,
    dataset::{
        RandomWindowsConfig, TokenDType, TokenFile, TokenFileWriter, TokenPart, TokenStore,
        read_tokens,
    },
};
use burn::tensor::Device;
use proptest::prelude::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, tokens: &[u32], vocab_size: usize) -> PathBuf {
        let path = self.file(name);
        let mut writer = TokenFileWriter::create(&path, vocab_size).unwrap();
        writer.push(tokens).unwrap();
        writer.finish().unwrap();
        path
    }
}

fn all(store: &impl TokenStore) -> Vec<u32> {
    let mut tokens = Vec::new();
    store.read(0..store.len(), &mut tokens).unwrap();
    tokens
}

#[test]
fn tokens_come_back() {
    let folder = Folder::new();
    for (vocab_size, bytes) in [(65536, 2), (65537, 4)] {
        let tokens = [0, 65535, 7, 300];
        let path = folder.write("tokens.bin", &tokens, vocab_size);
        assert_eq!(fs::metadata(&path).unwrap().len(), 4 * bytes);
        let file = TokenFile::open(&path).unwrap();
        assert_eq!((file.len(), file.vocab_size()), (4, vocab_size));
        assert_eq!(all(&file), tokens);
        file.check().unwrap();
    }
    let empty = folder.write("empty.bin", &[], 10);
    assert!(all(&TokenFile::open(empty).unwrap()).is_empty());
}

#[test]
fn files_of_nanogpt_are_read_with_their_type() {
    let folder = Folder::new();
    let path = folder.file("train.bin");
    fs::write(&path, [1, 0, 0, 1]).unwrap();
    let file = TokenFile::open_raw(&path, TokenDType::U16, 50257).unwrap();
    assert_eq!(all(&file), [1, 256]);
    let error = TokenFile::open(&path).unwrap_err();
    assert!(matches!(error, TextError::Io { .. }), "{error}");

    fs::write(&path, [1, 0, 0]).unwrap();
    let error = TokenFile::open_raw(&path, TokenDType::U16, 50257).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has 3 bytes, expected a multiple of 2"),
        "{error}"
    );
}

#[test]
fn tokens_outside_the_vocabulary_have_an_offset() {
    let folder = Folder::new();
    let path = folder.file("train.bin");
    let tokens: [u32; 3] = [5, 99, 100];
    fs::write(&path, tokens.map(u32::to_le_bytes).concat()).unwrap();
    let file = TokenFile::open_raw(&path, TokenDType::U32, 100).unwrap();
    let expected = "token 100 at byte 8 is not in a vocabulary of 100";
    for error in [
        file.check().unwrap_err(),
        file.read(1..3, &mut Vec::new()).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    file.read(0..2, &mut Vec::new()).unwrap();

    let mut writer = TokenFileWriter::create(folder.file("new.bin"), 100).unwrap();
    assert!(writer.push(&[100]).is_err());
    drop(writer);
    assert!(!folder.file("new.bin").exists());
}

#[test]
fn a_file_must_be_as_long_as_its_description_says() {
    let folder = Folder::new();
    let path = folder.write("tokens.bin", &[1, 2, 3], 10);
    fs::write(&path, [1, 0]).unwrap();
    let error = TokenFile::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("has 2 bytes, expected those of 3 tokens of 2 bytes"),
        "{error}"
    );

    let sidecar = folder.file("tokens.bin.json");
    let text = fs::read_to_string(&sidecar).unwrap();
    for (from, to, expected) in [
        (
            "\"version\": 1",
            "\"version\": 2",
            "`version`: expected 1, found 2",
        ),
        (
            "bitnet-burn tokens",
            "other",
            "`format`: expected bitnet-burn tokens",
        ),
        ("u16", "u8", "expected the description of a file of tokens"),
        (
            "\"vocab_size\": 10",
            "\"vocab_size\": 0",
            "expected 1 to 2^32 tokens, found 0",
        ),
    ] {
        fs::write(&sidecar, text.replace(from, to)).unwrap();
        let error = TokenFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn windows_go_over_the_ends_of_files() {
    let folder = Folder::new();
    let tokens: Vec<u32> = (0..40).collect();
    let paths = [
        folder.write("a.bin", &tokens[..7], 100),
        folder.write("b.bin", &[], 100),
        folder.write("c.bin", &tokens[7..], 100),
    ];
    let letters: String = ('A'..).take(100).collect();
    let tokenizer = Arc::new(Tokenizer::characters(&letters).unwrap());
    let files = read_tokens(&paths, &tokenizer).unwrap();
    assert_eq!(all(&files), tokens);
    let mut part = Vec::new();
    files.read(5..9, &mut part).unwrap();
    assert_eq!(part, [5, 6, 7, 8]);

    let device = Device::default();
    let config = RandomWindowsConfig::new(8, 4, 2);
    let of_files = config.init(files, &device).unwrap().batch(1).unwrap();
    let in_memory = config.init(tokens, &device).unwrap().batch(1).unwrap();
    of_files
        .inputs
        .to_data()
        .assert_eq(&in_memory.inputs.to_data(), true);
}

#[test]
fn a_part_is_read_from_its_start() {
    let part = TokenPart::new(Arc::new(vec![1, 2, 3, 4, 5]), 1..4);
    let mut tokens = vec![0];
    part.read(1..3, &mut tokens).unwrap();
    assert_eq!(tokens, [0, 3, 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        sidecar in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            any::<(u64, u64)>().prop_map(|(vocab, count)| format!(
                "{{\"format\": \"bitnet-burn tokens\", \"version\": 1, \"dtype\": \"u32\", \
                 \"vocab_size\": {vocab}, \"count\": {}}}", count % 12
            ).into_bytes()),
        ],
    ) {
        let folder = Folder::new();
        let path = folder.file("tokens.bin");
        fs::write(&path, &bytes).unwrap();
        fs::write(folder.file("tokens.bin.json"), sidecar).unwrap();
        let raw = [TokenDType::U16, TokenDType::U32].map(|t| TokenFile::open_raw(&path, t, 300));
        for file in raw.into_iter().chain([TokenFile::open(&path)]).flatten() {
            let mut tokens = Vec::new();
            if file.read(0..file.len(), &mut tokens).is_ok() {
                prop_assert!(tokens.iter().all(|&t| (t as usize) < file.vocab_size()));
            } else {
                prop_assert!(file.check().is_err());
            }
        }
    }
}
