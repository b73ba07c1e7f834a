//! What is wrong with the tensors of a file, told once for all that it is true of.

use super::GgufError;

/// Tensors that are named for a problem; models have hundreds.
const NAMED: usize = 3;

/// Problems, and the tensors that have each.
#[derive(Default)]
pub(super) struct TensorProblems {
    problems: Vec<(String, Vec<String>)>,
    tensors: usize,
}

impl TensorProblems {
    pub fn add(&mut self, tensor: &str, reason: String) {
        self.tensors += 1;
        let tensor = tensor.to_string();
        let known = self.problems.iter_mut().find(|(known, _)| *known == reason);
        match known {
            Some((_, tensors)) => tensors.push(tensor),
            None => self.problems.push((reason, vec![tensor])),
        }
    }

    /// An error that lists them, if there are any.
    pub fn into_result(self) -> Result<(), GgufError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = self.problems.iter().map(line).collect();
        Err(GgufError::model(format!(
            "{} tensors are not as the metadata say:\n  {}",
            self.tensors,
            lines.join("\n  ")
        )))
    }
}

fn line((reason, tensors): &(String, Vec<String>)) -> String {
    let named = tensors[..tensors.len().min(NAMED)].join(", ");
    match tensors.len().checked_sub(NAMED) {
        None | Some(0) => format!("{named}: {reason}"),
        Some(more) => format!("{named} and {more} more: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_many_tensors_is_one_line() {
        let mut problems = TensorProblems::default();
        for layer in 0..210 {
            problems.add(&format!("blk.{layer}.a"), "the type is wrong".to_string());
        }
        problems.add("b", "missing".to_string());
        assert_eq!(
            problems.into_result().unwrap_err().to_string(),
            "211 tensors are not as the metadata say:\n  blk.0.a, blk.1.a, blk.2.a and 207 more: the \
             type is wrong\n  b: missing"
        );
        assert!(TensorProblems::default().into_result().is_ok());
    }
}
