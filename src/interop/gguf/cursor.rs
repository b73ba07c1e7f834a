use super::GgufError;

/// Reads numbers and texts of a file from front to back, and nothing beyond its end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes before the next one.
    pub fn offset(&self) -> u64 {
        self.position as u64
    }

    pub fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// The next `count` bytes, of something that errors call `what`.
    pub fn take(&mut self, count: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        if count > self.remaining() {
            return Err(GgufError::Truncated {
                what,
                offset: self.offset(),
                expected: count,
                found: self.remaining(),
            });
        }
        // Fits, as it is at most the length of a slice.
        let start = self.position;
        self.position += count as usize;
        Ok(&self.bytes[start..self.position])
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A text behind its length.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let length = self.u64(what)?;
        let offset = self.offset();
        let bytes = self.take(length, what)?;
        core::str::from_utf8(bytes).map_err(|_| GgufError::Utf8 { what, offset })
    }

    /// Checks that `count` things of `size` bytes or more can follow, before room is made for them.
    pub fn check_count(
        &self,
        count: u64,
        size: u64,
        what: &'static str,
    ) -> Result<usize, GgufError> {
        let limit = self.remaining() / size;
        if count > limit {
            return Err(GgufError::Count {
                what,
                offset: self.offset(),
                limit,
                found: count,
            });
        }
        Ok(count as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut cursor = Cursor::new(&[2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i', 7]);
        assert_eq!(cursor.string("text").unwrap(), "hi");
        assert!(cursor.check_count(2, 1, "things").is_err());
        let error = cursor.u32("number").unwrap_err();
        let text =
            "byte 10: number takes 4 bytes, the file has 1 more: it was cut off, or is damaged";
        assert_eq!(error.to_string(), text);
        assert_eq!(cursor.array("byte").unwrap(), [7]);
        assert!(cursor.take(u64::MAX, "all").is_err());
    }
}
