/// Finds the texts that end a generated text, also where their parts come one after the other.
#[derive(Debug, Clone)]
pub(super) struct StopSequences<'a> {
    stop: &'a [String],
    /// Text that may be the beginning of one.
    held: String,
}

impl<'a> StopSequences<'a> {
    pub fn new(stop: &'a [String]) -> Self {
        Self {
            stop,
            held: String::new(),
        }
    }

    /// The text that is certain now, and whether a stop sequence follows it.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stop.iter().filter_map(|stop| self.held.find(stop));
        if let Some(start) = found.min() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return (text, true);
        }
        let rest = self.held.split_off(self.certain());
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The text that was held back; no more comes.
    pub fn finish(self) -> String {
        self.held
    }

    /// Bytes in front of the first place where a stop sequence may have begun.
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

    #[test]
    fn a_sequence_is_found_over_its_parts() {
        let stop = stop();
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(sequences.push("the E"), ("the ".to_string(), false));
        assert_eq!(sequences.push("N"), (String::new(), false));
        assert_eq!(sequences.push("Dless"), (String::new(), true));
    }

    #[test]
    fn what_is_no_sequence_in_the_end_comes_late() {
        let stop = stop();
        let mut sequences = StopSequences::new(&stop);
        assert_eq!(sequences.push("EN\n"), ("EN".to_string(), false));
        assert_eq!(sequences.push("EEN"), ("\nE".to_string(), false));
        assert_eq!(sequences.clone().finish(), "EN");
        assert_eq!(sequences.push("X"), ("ENX".to_string(), false));
    }

    #[test]
    fn the_first_of_several_ends_the_text() {
        let stop = stop();
        let (text, stopped) = StopSequences::new(&stop).push("é\n\nEND");
        assert_eq!((text.as_str(), stopped), ("é", true));
    }
}
