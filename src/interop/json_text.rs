//! Places in JSON texts.

/// Most bytes of a line that a message shows before the place in it.
const SHOWN: usize = 60;

/// Returns the message of an error of a text, with the end of what was read of its line: that names the field.
pub(super) fn located(error: &serde_json::Error, text: &[u8]) -> String {
    let line = error.line().checked_sub(1);
    let line = line.and_then(|number| text.split(|&byte| byte == b'\n').nth(number));
    let read = line.map_or(&[][..], |line| &line[..error.column().min(line.len())]);
    let shown = String::from_utf8_lossy(&read[read.len().saturating_sub(SHOWN)..]);
    match shown.trim() {
        "" => error.to_string(),
        shown => format!("{error}: {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error =
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap_err();
        located(&error, text.as_bytes())
    }

    #[test]
    fn the_line_of_an_error_is_shown() {
        assert_eq!(
            message("{\n  \"a\": 1,\n  \"lora_alpha\": NaN\n}"),
            "expected value at line 3 column 17: \"lora_alpha\": N"
        );
        let long = format!("{{{}\"r\": 0x10}}", "\"a\": 1, ".repeat(100));
        assert!(
            message(&long).ends_with("\"a\": 1, \"r\": 0x"),
            "{}",
            message(&long)
        );
        // A sign of several bytes is not split, and a text that ends has a last line.
        assert!(message(&format!("{{\"{}\": ?", "é".repeat(80))).contains("é\": ?"));
        assert_eq!(message(""), "EOF while parsing a value at line 1 column 0");
        assert_eq!(
            message("{\n"),
            "EOF while parsing an object at line 2 column 0"
        );
    }
}
