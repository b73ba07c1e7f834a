//! Files of teacher logits: round trip, and rejection of all other files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use bitnet_burn::{
    loss::{TeacherLogits, TopKLogits},
    train::teacher_logits::{
        LogitsType, TeacherLogitsError, TeacherLogitsFormat, TeacherLogitsReader,
        TeacherLogitsWriter,
    },
};
use burn::tensor::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::support::values::*;

const POSITIONS: usize = 2;
const VOCAB: usize = 5;
const EXAMPLES: usize = 3;

/// Folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("teacher-logits-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("logits")
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        names
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn format() -> TeacherLogitsFormat {
    TeacherLogitsFormat::new(VOCAB, POSITIONS, "teacher 1").with_logits_type(LogitsType::F32)
}

fn logits(device: &Device) -> Tensor<3> {
    let values = normal(EXAMPLES * POSITIONS * VOCAB, 70);
    tensor(&values, [EXAMPLES, POSITIONS, VOCAB], DType::F32, device)
}

/// Writes all examples.
fn write(path: &Path, format: &TeacherLogitsFormat) {
    let mut writer = TeacherLogitsWriter::create(path, format.clone()).unwrap();
    writer.push(logits(&Device::default())).unwrap();
    writer.finish().unwrap();
}

/// Opens the file and reads all of its examples.
fn read(path: &Path, format: &TeacherLogitsFormat) -> Result<TeacherLogits, TeacherLogitsError> {
    let reader = TeacherLogitsReader::open(path, format)?;
    let examples: Vec<usize> = (0..reader.len()).collect();
    reader.read(&examples, &Device::default())
}

fn full(logits: TeacherLogits) -> Vec<f32> {
    match logits {
        TeacherLogits::Full(logits) => floats(logits),
        other => panic!("not all logits: {other:?}"),
    }
}

/// Computes the CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Writes the right checksum after the header, whose length is `length`.
fn seal_header(bytes: &mut [u8], length: usize) {
    let checksum = crc32(&bytes[..length - 4]);
    bytes[length - 4..length].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes the right checksum after the last example, which begins at `start`.
fn seal_last_example(bytes: &mut [u8], start: usize) {
    let end = bytes.len() - 4;
    let number = (EXAMPLES as u64 - 1).to_le_bytes();
    let checksum = crc32(&[&number, &bytes[start..end]].concat());
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn logits_come_back_by_example_in_any_order() {
    let (folder, device) = (Folder::new(), Device::default());
    let expected = floats(logits(&device));
    let format = format();
    let mut writer = TeacherLogitsWriter::create(folder.file(), format.clone()).unwrap();
    // Two batches of different sizes, one on a device with autodiff.
    let all = logits(&device.clone().autodiff());
    writer.push(all.clone().narrow(0, 0, 2)).unwrap();
    writer.push(all.narrow(0, 2, 1)).unwrap();
    writer.finish().unwrap();

    let reader = TeacherLogitsReader::open(folder.file(), &format).unwrap();
    assert_eq!(reader.len(), EXAMPLES);
    let example = |i: usize| &expected[i * POSITIONS * VOCAB..(i + 1) * POSITIONS * VOCAB];
    let read = full(reader.read(&[2, 0, 2], &device).unwrap());
    assert_equal(
        &read,
        &[example(2), example(0), example(2)].concat(),
        "logits",
    );
    let bytes = fs::metadata(folder.file()).unwrap().len();
    assert_eq!(bytes, 46 + 9 + 4 + 3 * format.num_bytes_of_example());
}

#[test]
fn half_precision_rounds_once() {
    let folder = Folder::new();
    let format = format().with_logits_type(LogitsType::F16);
    write(&folder.file(), &format);
    let expected = rounded(&floats(logits(&Device::default())), DType::F16);
    let read = full(read(&folder.file(), &format).unwrap());
    assert_equal(&read, &expected, "logits");
}

#[test]
fn the_largest_logits_come_back_as_they_were_cut() {
    let (folder, device) = (Folder::new(), Device::default());
    let format = format().with_top_k(2, 1.5);
    write(&folder.file(), &format);
    let expected = TopKLogits::from_logits(logits(&device), 2, 1.5);
    let TeacherLogits::TopK(read) = read(&folder.file(), &format).unwrap() else {
        panic!("not the largest logits");
    };
    assert_eq!(read.temperature, 1.5);
    assert_equal(&floats(read.logits), &floats(expected.logits), "logits");
    let rest = |top: Option<Tensor<3>>| floats(top.unwrap());
    assert_equal(&rest(read.log_rest), &rest(expected.log_rest), "rest");
    let tokens: Vec<i64> = ints(read.indices);
    assert_equal(&tokens, &ints::<3, i64>(expected.indices), "tokens");
}

#[test]
fn tokens_of_a_large_vocabulary_take_four_bytes() {
    let (folder, device) = (Folder::new(), Device::default());
    // Not 65,537: Burn's maximum over a long row of odd length misses values on wgpu.
    let vocab = 70_000;
    let format = TeacherLogitsFormat::new(vocab, 1, "").with_top_k(1, 1.0);
    let mut values = vec![0.0; vocab];
    values[vocab - 1] = 3.0;
    let mut writer = TeacherLogitsWriter::create(folder.file(), format.clone()).unwrap();
    writer
        .push(tensor(&values, [1, 1, vocab], DType::F32, &device))
        .unwrap();
    writer.finish().unwrap();
    let TeacherLogits::TopK(read) = read(&folder.file(), &format).unwrap() else {
        panic!("not the largest logits");
    };
    assert_equal(&ints::<3, i64>(read.indices), &[69_999], "token");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = Folder::new();
    for format in [format(), format().with_top_k(2, 1.0)] {
        write(&folder.file(), &format);
        let bytes = fs::read(folder.file()).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(folder.file(), &flipped).unwrap();
            let error = read(&folder.file(), &format);
            assert!(error.is_err(), "bit {bit} of {:?}", format.stored);
        }
    }
}

#[test]
fn a_file_of_another_length_is_refused_when_opened() {
    let folder = Folder::new();
    write(&folder.file(), &format());
    let bytes = fs::read(folder.file()).unwrap();
    for length in 0..bytes.len() {
        fs::write(folder.file(), &bytes[..length]).unwrap();
        let error = TeacherLogitsReader::open(folder.file(), &format()).unwrap_err();
        let error = error.to_string();
        let short = error.ends_with(&format!(" bytes, found {length}"));
        // Without magic bytes and version, it cannot be distinguished from other files.
        let other = length < 12 && error.contains("expected a file of teacher logits");
        assert!(short || other, "length {length}: {error}");
    }
    fs::write(folder.file(), [&bytes[..], &[0]].concat()).unwrap();
    let error = TeacherLogitsReader::open(folder.file(), &format()).unwrap_err();
    let expected = format!("expected {} bytes, found {}", bytes.len(), bytes.len() + 1);
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn random_bytes_are_errors_and_never_a_panic() {
    let folder = Folder::new();
    let mut rng = StdRng::seed_from_u64(71);
    for format in [format(), format().with_top_k(2, 1.0)] {
        write(&folder.file(), &format);
        let good = fs::read(folder.file()).unwrap();
        let header = 46 + 9 + 4;
        for _ in 0..500 {
            // Random bytes after a random prefix of a valid file; half of the headers with the right
            // checksum.
            let mut bytes = good.clone();
            let start = rng.random_range(0..bytes.len());
            let end = rng.random_range(start + 1..=bytes.len());
            rng.fill(&mut bytes[start..end]);
            if rng.random() {
                seal_header(&mut bytes, header);
            }
            let changed = bytes != good;
            fs::write(folder.file(), &bytes).unwrap();
            let result = read(&folder.file(), &format);
            assert!(result.is_err() || !changed, "{start}..{end}");
        }
    }
}

#[test]
fn a_header_with_impossible_values_is_refused_whatever_its_checksum() {
    let folder = Folder::new();
    let expected = format().with_top_k(2, 1.0);
    write(&folder.file(), &expected);
    let good = fs::read(folder.file()).unwrap();
    let refused = |start: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[start..start + value.len()].copy_from_slice(value);
        seal_header(&mut bytes, 46 + 9 + 4);
        fs::write(folder.file(), &bytes).unwrap();
        let error = TeacherLogitsReader::open(folder.file(), &expected).unwrap_err();
        error.to_string()
    };
    assert!(refused(12, &[2]).contains("header: expected a type of logits of 0 or 1, found 2"));
    assert!(refused(13, &[2]).contains("header: expected all logits or the top k"));
    assert!(refused(14, &[1]).contains("header: expected a vocabulary, positions, and zero"));
    assert!(refused(16, &[0; 4]).contains("header: expected a vocabulary"));
    assert!(refused(16, &[0xff; 4]).contains("expected vocabulary 5, found 4294967295"));
    assert!(refused(20, &[0; 4]).contains("header: expected a vocabulary"));
    assert!(refused(20, &[0xff; 4]).contains("expected positions 2, found 4294967295"));
    assert!(refused(24, &[9, 0, 0, 0]).contains("header: expected all logits or the top k"));
    assert!(refused(28, &f64::NAN.to_le_bytes()).contains("header: expected all logits"));
    // As many examples as there are numbers: the product overflows.
    assert!(refused(36, &[0xff; 8]).contains("expected 18446744073709551615 bytes, found"));
    assert!(refused(36, &[2; 8]).contains("bytes, found"));
    assert!(refused(46, &[0xff]).contains("bytes of UTF-8, found 9 bytes"));
}

#[test]
fn an_example_with_impossible_values_is_refused_whatever_its_checksum() {
    let folder = Folder::new();
    let format = format().with_top_k(2, 1.0);
    write(&folder.file(), &format);
    let good = fs::read(folder.file()).unwrap();
    let start = good.len() - format.num_bytes_of_example() as usize;
    let refused = |offset: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[start + offset..start + offset + value.len()].copy_from_slice(value);
        seal_last_example(&mut bytes, start);
        fs::write(folder.file(), &bytes).unwrap();
        read(&folder.file(), &format).unwrap_err().to_string()
    };
    let logit = refused(0, &f32::NAN.to_le_bytes());
    assert!(
        logit.contains("example 2: expected a logit below infinity, found NaN"),
        "{logit}"
    );
    let logit = refused(4, &f32::INFINITY.to_le_bytes());
    assert!(logit.contains("found inf"), "{logit}");
    // After 2 positions of 2 logits.
    let rest = refused(16, &f32::NEG_INFINITY.to_le_bytes());
    assert!(
        rest.contains("expected a finite mass of the rest, found -inf"),
        "{rest}"
    );
    // After the masses.
    let token = refused(24, &[5, 0]);
    assert!(
        token.contains("expected a token below 5, found 5"),
        "{token}"
    );
}

#[test]
fn examples_that_changed_places_are_noticed() {
    let folder = Folder::new();
    write(&folder.file(), &format());
    let mut bytes = fs::read(folder.file()).unwrap();
    let size = format().num_bytes_of_example() as usize;
    let start = bytes.len() - EXAMPLES * size;
    bytes[start..].rotate_left(size);
    fs::write(folder.file(), &bytes).unwrap();
    let error = read(&folder.file(), &format()).unwrap_err().to_string();
    assert!(error.contains("example 0: expected checksum"), "{error}");
}

#[test]
fn a_file_of_something_else_says_what_differs() {
    let folder = Folder::new();
    write(&folder.file(), &format());
    let message = |expected: &TeacherLogitsFormat| {
        let error = TeacherLogitsReader::open(folder.file(), expected).unwrap_err();
        error.to_string()
    };
    let other = TeacherLogitsFormat {
        fingerprint: "teacher 2".to_string(),
        ..format()
    };
    let fingerprint = message(&other);
    assert!(
        fingerprint.contains("expected fingerprint \"teacher 2\", found \"teacher 1\""),
        "{fingerprint}"
    );
    let stored = message(&format().with_top_k(2, 1.0));
    assert!(
        stored.contains("expected stored logits TopK { k: 2"),
        "{stored}"
    );
    let logits_type = message(&format().with_logits_type(LogitsType::F16));
    assert!(
        logits_type.contains("expected type of logits F16, found F32"),
        "{logits_type}"
    );

    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[8] = 2;
    fs::write(folder.file(), &bytes).unwrap();
    let version = message(&format());
    assert!(
        version.contains("expected version 1 of the format, found version 2"),
        "{version}"
    );
    fs::write(folder.file(), b"GGUF\x03\0\0\0 and so on").unwrap();
    let kind = message(&format());
    assert!(
        kind.contains("found one that begins with GGUF\\x03"),
        "{kind}"
    );
}

#[test]
fn an_example_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    write(&folder.file(), &format());
    let reader = TeacherLogitsReader::open(folder.file(), &format()).unwrap();
    let error = reader.read(&[0, 3], &Device::default()).unwrap_err();
    let expected = "expected example 3, found 3 examples";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn an_unfinished_file_leaves_the_one_before() {
    let folder = Folder::new();
    write(&folder.file(), &format());
    let before = fs::read(folder.file()).unwrap();
    let other = TeacherLogitsFormat {
        fingerprint: "teacher 2".to_string(),
        ..format()
    };
    let mut writer = TeacherLogitsWriter::create(folder.file(), other).unwrap();
    writer.push(logits(&Device::default())).unwrap();
    assert_eq!(folder.names().len(), 2);
    drop(writer);
    assert_eq!(folder.names(), ["logits"]);
    assert_eq!(fs::read(folder.file()).unwrap(), before);
}

#[test]
fn logits_that_the_type_cannot_hold_are_refused_and_name_their_place() {
    let (folder, device) = (Folder::new(), Device::default());
    let one = |value: f32| {
        let mut values = vec![0.0; POSITIONS * VOCAB];
        values[VOCAB + 1] = value;
        tensor(&values, [1, POSITIONS, VOCAB], DType::F32, &device)
    };
    for (logits_type, value, stored) in [
        (LogitsType::F32, f32::NAN, false),
        (LogitsType::F32, f32::INFINITY, false),
        (LogitsType::F32, f32::NEG_INFINITY, true),
        (LogitsType::F32, 1e6, true),
        (LogitsType::F16, 1e6, false),
        (LogitsType::F16, -1e6, false),
        (LogitsType::F16, f32::NEG_INFINITY, true),
    ] {
        let format = format().with_logits_type(logits_type);
        let mut writer = TeacherLogitsWriter::create(folder.file(), format.clone()).unwrap();
        writer.push(one(1.0)).unwrap();
        let result = writer.push(one(value));
        assert_eq!(result.is_ok(), stored, "{value} as {logits_type:?}");
        if let Err(error) = result {
            let expected = "example 1, position 1: expected a logit that the file's type holds";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        // The example before the bad one is there.
        writer.finish().unwrap();
        let reader = TeacherLogitsReader::open(folder.file(), &format).unwrap();
        assert_eq!(reader.len(), 1 + usize::from(stored));
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error_with_its_path() {
    let path = std::env::temp_dir().join("no such folder").join("logits");
    let error = TeacherLogitsWriter::create(&path, format()).unwrap_err();
    assert!(error.to_string().contains("no such folder"), "{error}");
    let error = TeacherLogitsReader::open(&path, &format()).unwrap_err();
    assert!(error.to_string().contains("no such folder"), "{error}");
}
