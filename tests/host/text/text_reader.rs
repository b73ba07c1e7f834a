//! Whole text files, and those that are none.

use std::io::Write;

use bitnet_burn::text::dataset::read_text;

fn read(bytes: &[u8]) -> Result<String, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    read_text(file.path()).map_err(|error| error.to_string())
}

#[test]
fn a_byte_order_mark_is_no_text() {
    assert_eq!(read("\u{feff}abc".as_bytes()).unwrap(), "abc");
    assert_eq!(read("a\u{feff}".as_bytes()).unwrap(), "a\u{feff}");
    assert_eq!(read(b"a").unwrap(), "a");
}

#[test]
fn other_encodings_are_named() {
    for bytes in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0b\0", b"\0a\0b"] {
        let error = read(bytes).unwrap_err();
        assert!(
            error.ends_with("expected text in UTF-8, found text in UTF-16"),
            "{error}"
        );
    }
    assert!(read(b"\xff\xfe\0\0a").unwrap_err().ends_with("UTF-32"));
    assert!(read(b"caf\xe9").unwrap_err().ends_with("other bytes"));
}

#[test]
fn nothing_is_named() {
    assert!(
        read(b"")
            .unwrap_err()
            .ends_with("expected text, found an empty file")
    );
    assert!(
        read(b"\xef\xbb\xbf \n")
            .unwrap_err()
            .ends_with("expected text, found a blank file")
    );
}
