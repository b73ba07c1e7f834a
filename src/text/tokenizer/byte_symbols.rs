//! Characters with which byte-level tokenizers write bytes: GPT-2's table.

/// Returns the character of each byte: the byte itself if printable, else the next one from 256 on.
///
/// Source: [`bytes_to_unicode`](https://github.com/openai/gpt-2/blob/master/src/encoder.py).
pub(super) fn byte_symbols() -> [char; 256] {
    let mut symbols = ['\0'; 256];
    let mut unseen = 256;
    for (byte, symbol) in symbols.iter_mut().enumerate() {
        let seen = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if seen {
            byte as u32
        } else {
            unseen += 1;
            unseen - 1
        };
        *symbol = char::from_u32(code).expect("a code below 512");
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_symbols_of_gpt_2() {
        let symbols = byte_symbols();
        let of = |byte: u8| symbols[usize::from(byte)];
        assert_eq!((of(b'a'), of(b' '), of(b'\n')), ('a', 'Ġ', 'Ċ'));
        assert_eq!((of(0xc3), of(0xad), of(0xff)), ('Ã', 'Ń', 'ÿ'));
        let mut different = symbols.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 256);
    }
}
