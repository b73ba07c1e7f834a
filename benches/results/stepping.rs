//! Concurrent processes that train in turn.
//!
//! A process takes a step for each line of its input and prints the milliseconds of the step. When
//! its input ends, it prints its memory.

use std::{
    fmt::Display,
    io::{BufRead, BufReader, Lines, Write, stdin, stdout},
    process::{Child, ChildStdout, Command, Stdio},
    str::FromStr,
};

use crate::{fail, peak::Memory};

/// Number of rounds before the timed ones.
const WARM_UP: usize = 1;

/// Results of a process.
pub struct Measured {
    /// Milliseconds of the timed step in each round.
    pub step_ms: Vec<f64>,
    pub memory: Memory,
}

/// Returns this program with other arguments.
pub fn own(arguments: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|e| fail(&e.to_string()));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Starts each program; each process takes its turn in each round.
pub fn measure(commands: Vec<Command>, rounds: usize) -> Vec<Measured> {
    let mut processes: Vec<Process> = commands.into_iter().map(Process::start).collect();
    let mut times = vec![Vec::new(); processes.len()];
    for round in 0..WARM_UP + rounds {
        for i in order(processes.len(), round) {
            let step_ms = processes[i].turn();
            if round >= WARM_UP {
                times[i].push(step_ms);
            }
        }
    }
    let measured = processes.into_iter().zip(times);
    measured
        .map(|(process, step_ms)| Measured {
            step_ms,
            memory: process.end(),
        })
        .collect()
}

/// Returns the order of the processes in a round: forward, backward, then both shifted by one, so
/// that no process always follows the same one or always has two turns in a row.
fn order(processes: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..processes).collect();
    order.rotate_left(round / 2 % processes);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

struct Process {
    name: String,
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| fail(&e.to_string()));
        let output = child.stdout.take().expect("a pipe");
        Self {
            name: format!("{command:?}"),
            child,
            answers: BufReader::new(output).lines(),
        }
    }

    /// Takes two steps and returns the time of the second. The first after a pause has more page
    /// faults and takes up to 30 % longer (small model, virtual machine), but not for every
    /// variant.
    fn turn(&mut self) -> f64 {
        self.step();
        self.step()
    }

    fn step(&mut self) -> f64 {
        let input = self.child.stdin.as_mut().expect("a pipe");
        // A terminated process does not answer.
        let _ = writeln!(input);
        self.answer()
    }

    fn end(mut self) -> Memory {
        drop(self.child.stdin.take());
        let memory = self.answer();
        match self.child.wait() {
            Ok(status) if status.success() => memory,
            _ => self.failed(),
        }
    }

    fn answer<T: FromStr>(&mut self) -> T {
        let answer = self.answers.next().and_then(Result::ok);
        answer
            .and_then(|answer| answer.parse().ok())
            .unwrap_or_else(|| self.failed())
    }

    /// Fails; the process has printed its errors to the shared stream.
    fn failed(&mut self) -> ! {
        match self.child.wait() {
            Ok(status) => fail(&format!("{}: no answer, {status}", self.name)),
            Err(error) => fail(&format!("{}: {error}", self.name)),
        }
    }
}

/// Returns the requested steps of this process.
pub fn turns() -> impl Iterator<Item = ()> {
    stdin().lines().map_while(Result::ok).map(drop)
}

/// Prints an answer of this process. Errors are ignored: without a parent the turns end, too.
pub fn answer(answer: impl Display) {
    let mut output = stdout().lock();
    let _ = writeln!(output, "{answer}").and_then(|()| output.flush());
}
