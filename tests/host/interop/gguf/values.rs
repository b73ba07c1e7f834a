//! Typed values of the metadata, and shapes of tensors.

use bitnet_burn::interop::gguf::{GgufError, GgufMetadata, GgufShape};

fn metadata() -> GgufMetadata {
    let mut metadata = GgufMetadata::new();
    metadata.insert("name", "a").unwrap();
    metadata.insert("count", 70_000u64).unwrap();
    metadata.insert("below", -1i32).unwrap();
    metadata.insert("words", vec!["x".to_string()]).unwrap();
    metadata
}

#[test]
fn values_have_types() {
    let metadata = metadata();
    assert_eq!(metadata.required::<&str>("name").unwrap(), "a");
    assert_eq!(metadata.required::<u32>("count").unwrap(), 70_000);
    assert_eq!(metadata.required::<&[String]>("words").unwrap(), ["x"]);
    assert_eq!(metadata.optional::<f32>("none").unwrap(), None);
    let text = |error: GgufError| error.to_string();
    assert_eq!(
        text(metadata.required::<u32>("name").unwrap_err()),
        "key `name`: expected u32, found string"
    );
    assert_eq!(
        text(metadata.optional::<u32>("below").unwrap_err()),
        "key `below`: expected u32, found i32 -1"
    );
    assert_eq!(
        text(metadata.required::<&[f32]>("words").unwrap_err()),
        "key `words`: expected array of f32, found array of string"
    );
    assert_eq!(
        text(metadata.required::<bool>("none").unwrap_err()),
        "there is no key `none`"
    );
}

#[test]
fn keys_occur_once() {
    let mut metadata = metadata();
    let error = metadata.insert("name", 1u8).unwrap_err();
    assert!(matches!(error, GgufError::DuplicateKey { key } if key == "name"));
    assert_eq!(metadata.replace("name", 1u8).unwrap(), Some("a".into()));
    assert_eq!(metadata.replace("new", 2u8).unwrap(), None);
    let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["name", "count", "below", "words", "new"]);
    assert!(metadata.insert("", 1u8).is_err());
    assert!(metadata.insert("k".repeat(65536), 1u8).is_err());
    let copy = metadata.clone();
    assert!(metadata.extend(copy).is_err());
}

#[test]
fn shapes_have_two_orders() {
    let shape = GgufShape::from_row_major(&[2, 3, 256]).unwrap();
    assert_eq!(shape.ggml(), [256, 3, 2]);
    assert_eq!(shape.row_major(), [2, 3, 256]);
    assert_eq!((shape.row_len(), shape.rows()), (256, 6));
    assert_eq!(shape.num_elements(), 1536);
}

#[test]
fn absurd_shapes_are_none() {
    for sizes in [
        &[] as &[u64],
        &[1; 5],
        &[3, 0],
        &[u64::MAX],
        &[1 << 32, 1 << 31],
        &[1 << 33; 2],
    ] {
        assert_eq!(GgufShape::from_ggml(sizes), None, "{sizes:?}");
    }
    assert!(GgufShape::from_ggml(&[i64::MAX as u64, 1]).is_some());
}
