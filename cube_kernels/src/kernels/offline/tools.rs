//! Programs that check generated code.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// A program that `scripts/setup-dev.sh` installs.
pub(super) struct Tool {
    name: &'static str,
    path: PathBuf,
}

impl Tool {
    /// Returns the program at the path in `variable`, or called `name` on `PATH` or in the folder of
    /// links of `scripts/setup-dev.sh`.
    ///
    /// # Panics
    ///
    /// If there is none, because unchecked code must not pass.
    pub fn find(name: &'static str, variable: &str) -> Self {
        let path = env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| {
                folders()
                    .map(|folder| folder.join(name))
                    .find(|p| p.is_file())
            })
            .unwrap_or_else(|| {
                panic!("{name} is missing: run scripts/setup-dev.sh, or set {variable} to its path")
            });
        Self { name, path }
    }

    /// Runs the program with `code` as its input, and returns its output if it fails.
    pub fn check(&self, code: &[u8], arguments: &[&str]) -> Result<(), String> {
        let output = self.run(code, arguments).unwrap_or_else(|e| {
            panic!("{} at {} does not run: {e}", self.name, self.path.display())
        });
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&said).into_owned())
    }

    fn run(&self, input: &[u8], arguments: &[&str]) -> io::Result<Output> {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // A program that stops early reports why; the broken pipe adds nothing.
        let _ = child.stdin.take().expect("is piped").write_all(input);
        child.wait_with_output()
    }
}

/// Returns the folders to search for tools.
fn folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
    on_path
        .into_iter()
        .chain(cache.map(|cache| cache.join("bitnet-burn/bin")))
}
