/// Escapes a text for HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// Formats a number with as few digits as a label has room for.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        "0".to_string()
    } else if !(1e-3..1e5).contains(&magnitude) {
        format!("{value:.1e}")
    } else {
        let digits = (3 - magnitude.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_read_is_escaped() {
        let hostile = "<script>alert('x')</script>&\"";
        let expected = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;";
        assert_eq!(escape(hostile), expected);
    }

    #[test]
    fn numbers_have_no_digits_that_say_nothing() {
        for (value, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (0.25, "0.25"),
            (-12.5, "-12.5"),
            (1234.0, "1234"),
            (1e-7, "1.0e-7"),
            (2.5e9, "2.5e9"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
