use core::ops::Range;

/// Detects the texts that end a generated text, also if they span several tokens.
///
/// Special tokens are not part of a generated text, but may be part of a stop sequence: their texts are
/// searched as well, and then removed.
#[derive(Debug, Clone)]
pub(super) struct StopSequences<'a> {
    stop: &'a [String],
    /// Text that may be the beginning of a stop sequence.
    held: String,
    /// Byte ranges of special tokens in it.
    special: Vec<Range<usize>>,
}

impl<'a> StopSequences<'a> {
    pub fn new(stop: &'a [String]) -> Self {
        Self {
            stop,
            held: String::new(),
            special: Vec::new(),
        }
    }

    /// Appends a text, followed by that of a special token. Returns the text that is final now, and whether
    /// a stop sequence follows it.
    pub fn push(&mut self, text: &str, special: Option<&str>) -> (String, bool) {
        self.held.push_str(text);
        if let Some(special) = special {
            let start = self.held.len();
            self.held.push_str(special);
            self.special.push(start..self.held.len());
        }
        let found = self.stop.iter().filter_map(|stop| self.held.find(stop));
        match found.min() {
            Some(start) => {
                let text = self.release(start);
                self.held.clear();
                self.special.clear();
                (text, true)
            }
            None => (self.release(self.certain()), false),
        }
    }

    /// Returns the held-back text at the end of the generation.
    pub fn finish(mut self) -> String {
        self.release(self.held.len())
    }

    /// Removes the first bytes and returns them without special tokens.
    fn release(&mut self, end: usize) -> String {
        let rest = self.held.split_off(end);
        let given = std::mem::replace(&mut self.held, rest);
        let (mut text, mut from) = (String::new(), 0);
        for range in &self.special {
            let (start, stop) = (range.start.min(end), range.end.min(end));
            text.push_str(&given[from..start]);
            from = stop;
        }
        text.push_str(&given[from..]);
        self.special.retain_mut(|range| {
            *range = range.start.saturating_sub(end)..range.end.saturating_sub(end);
            range.start < range.end
        });
        text
    }

    /// Number of bytes before the first position where a stop sequence may have begun.
    fn certain(&self) -> usize {
        let begins = |&(start, _): &(usize, char)| {
            let rest = &self.held[start..];
            self.stop.iter().any(|stop| stop.starts_with(rest))
        };
        let first = self.held.char_indices().find(begins);
        first.map_or(self.held.len(), |(start, _)| start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop() -> Vec<String> {
        vec!["END".to_string(), "\n\n".to_string()]
    }

    fn push(sequences: &mut StopSequences, text: &str) -> (String, bool) {
        sequences.push(text, None)
    }

    #[test]
    fn a_sequence_is_found_over_its_parts() {
        let stop = stop();
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(push(&mut sequences, "the E"), ("the ".to_string(), false));
        assert_eq!(push(&mut sequences, "N"), (String::new(), false));
        assert_eq!(push(&mut sequences, "Dless"), (String::new(), true));
    }

    #[test]
    fn what_is_no_sequence_in_the_end_comes_late() {
        let stop = stop();
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(push(&mut sequences, "EN\n"), ("EN".to_string(), false));
        assert_eq!(push(&mut sequences, "EEN"), ("\nE".to_string(), false));
        assert_eq!(sequences.clone().finish(), "EN");
        assert_eq!(push(&mut sequences, "X"), ("ENX".to_string(), false));
    }

    #[test]
    fn the_first_of_several_ends_the_text() {
        let stop = stop();
        let (text, stopped) = push(&mut StopSequences::new(&stop), "é\n\nEND");
        assert_eq!((text.as_str(), stopped), ("é", true));
    }

    #[test]
    fn special_tokens_stop_but_are_no_text() {
        let stop = vec!["<|end|>".to_string(), "a<|x|>b".to_string()];
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(
            sequences.push("hi", Some("<|y|>")),
            ("hi".to_string(), false)
        );
        assert_eq!(
            sequences.push("ca", Some("<|x|>")),
            ("c".to_string(), false)
        );
        assert_eq!(push(&mut sequences, "c<|e"), ("ac".to_string(), false));
        assert_eq!(sequences.clone().finish(), "<|e");
        assert_eq!(
            sequences.push("", Some("<|end|>")),
            ("<|e".to_string(), true)
        );

        let mut sequences = StopSequences::new(&stop);
        assert_eq!(
            sequences.push("ca", Some("<|x|>")),
            ("c".to_string(), false)
        );
        assert_eq!(push(&mut sequences, "b"), (String::new(), true));

        // Half a sequence at the end, partly special.
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(
            sequences.push("ca", Some("<|x|>")),
            ("c".to_string(), false)
        );
        assert_eq!(sequences.finish(), "a");
    }
}
