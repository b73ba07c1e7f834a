//! `RESULTS.md` and its charts.

use std::{fs, io, path::Path};

use crate::{chart, date, machine, table::Table};

const HEAD: &str = "# Results\n\nWritten by `cargo bench --bench results`; do not edit. Medians of \
                    alternating samples. Compare only\nnumbers of one section.\n";

/// Replaces a section of the file, or appends it, and draws its chart.
pub fn write(folder: &Path, name: &str, about: &str, table: &Table) -> io::Result<()> {
    let picture = format!("results_{name}.svg");
    replace(&folder.join(&picture), &chart::bars(name, table))?;

    let path = folder.join("RESULTS.md");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_string(),
        Err(error) => return Err(error),
    };
    let (begin, end) = (
        format!("<!-- section: {name} -->"),
        format!("<!-- end: {name} -->"),
    );
    let section = format!(
        "{begin}\n## {name}\n\n{about}\n\n{}, bitnet-burn {}: {}.\n\n{table}\n![{name}]({picture})\n{end}\n",
        date::today(),
        env!("CARGO_PKG_VERSION"),
        machine::describe(),
    );
    let older = text.find(&begin).zip(text.find(&end));
    let text = match older {
        Some((from, to)) => {
            let rest = text[to + end.len()..].trim_start_matches('\n');
            format!(
                "{}{section}{}{rest}",
                &text[..from],
                if rest.is_empty() { "" } else { "\n" }
            )
        }
        None => format!("{text}\n{section}"),
    };
    replace(&path, &text)
}

/// Writes to a temporary file and renames it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    fs::write(&aside, text)?;
    fs::rename(aside, path)
}
