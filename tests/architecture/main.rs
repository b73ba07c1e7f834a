//! The layering of the crate, read off its source: imports go down only, and never in a circle.

mod imports;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use imports::{Sources, circles};

/// Floors of the modules of `src/`; those on one floor do not know each other.
const FLOORS: [(&str, u8); 14] = [
    ("base", 1),
    ("ops", 2),
    ("functions", 3),
    ("quant", 4),
    ("qat", 5),
    ("nn", 6),
    ("optim", 7),
    ("peft", 7),
    ("loss", 7),
    ("monitor", 8),
    ("interop", 8),
    ("text", 8),
    ("train", 9),
    ("prelude", 10),
];

/// Crates whose names only `src/ops/` may say: one file there for each backend, and the kernels.
const BACKENDS: [&str; 7] = [
    "bitnet_burn_kernels",
    "cubecl",
    "burn_cubecl",
    "burn_flex",
    "burn_ndarray",
    "burn_autodiff",
    "burn_fusion",
];

fn floor(module: &str) -> u8 {
    let floor = FLOORS.iter().find(|(name, _)| *name == module);
    floor
        .unwrap_or_else(|| panic!("module `{module}` has no floor: add it to FLOORS"))
        .1
}

/// A line of code, without comments.
struct Line {
    path: PathBuf,
    number: usize,
    code: String,
}

impl Line {
    /// The identifiers of the line; `bitnet-burn` in a string is one word.
    fn words(&self) -> impl Iterator<Item = &str> {
        let apart = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
        self.code.split(apart).filter(|word| !word.is_empty())
    }

    fn place(&self) -> String {
        let code = self.code.trim();
        format!("{}:{}: {code}", self.path.display(), self.number)
    }

    /// First folder or file below `root`, without its extension.
    fn module(&self, root: &Path) -> String {
        let path = self.path.strip_prefix(root).unwrap();
        let first = path.iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_string()
    }
}

/// Lines of all Rust files below a folder of the repository.
fn lines(folder: &str) -> (PathBuf, Vec<Line>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut lines = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                lines.extend(text.lines().enumerate().map(|(i, line)| Line {
                    path: path.clone(),
                    number: i + 1,
                    code: line.split("//").next().unwrap_or_default().to_string(),
                }));
            }
        }
    }
    assert!(lines.len() > 100, "no source below {}", root.display());
    (root, lines)
}

/// The modules that the code from `start` on names: that of `a::b`, or those of `{a::b, c}`.
fn named(code: &str) -> Vec<String> {
    let name = |code: &str| {
        let word = |c: &char| c.is_alphanumeric() || *c == '_';
        code.chars().take_while(word).collect()
    };
    let Some(list) = code.strip_prefix('{') else {
        return vec![name(code)];
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, true);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                names.push(name(&list[i..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// Every `crate::module` in the lines, with the line where it starts.
fn imports(lines: &[Line]) -> Vec<(&Line, String)> {
    let mut imports = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        for (position, path) in line.code.match_indices("crate::") {
            // A list in braces may go on below.
            let below = lines[i + 1..]
                .iter()
                .take(20)
                .map(|line| line.code.as_str());
            let start = &line.code[position + path.len()..];
            let code: String = [start].into_iter().chain(below).collect();
            imports.extend(named(&code).into_iter().map(|name| (line, name)));
        }
    }
    imports
}

#[test]
fn lists_of_imports_are_read() {
    assert_eq!(named("ops::Groups;"), ["ops"]);
    let list = "{functions::{a, b}, ops::Groups,} rest, of";
    assert_eq!(named(list), ["functions", "ops"]);
}

#[test]
fn imports_go_down() {
    let (root, lines) = lines("src");
    let mut wrong = Vec::new();
    for (line, import) in imports(&lines) {
        let module = line.module(&root);
        // The root of the library and programs see everything.
        if module == "lib" || module == "bin" {
            continue;
        }
        let down = floor(&import) < floor(&module);
        if import != module && !down {
            wrong.push(line.place());
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that go up or sideways:\n{}",
        wrong.join("\n")
    );
}

/// The files below `src`, without those of the program.
fn sources() -> Sources {
    let (root, lines) = lines("src");
    let mut files = BTreeMap::<String, String>::new();
    for line in &lines {
        let file = line.path.strip_prefix(&root).unwrap();
        let text = files.entry(file.to_str().unwrap().to_string()).or_default();
        text.push_str(&line.code);
        text.push('\n');
    }
    files.retain(|file, _| !file.starts_with("bin/"));
    Sources::new(files)
}

#[test]
fn imports_make_no_circle() {
    let imports = sources().imports();
    let known = imports.values().flatten().count();
    assert!(known > 500, "{known} imports were read");
    let circles = circles(&imports);
    let arrows = (circles.iter())
        .flat_map(|(from, to)| to.iter().map(move |to| (from.join("::"), to.join("::"))))
        .map(|(from, to)| format!("{from} -> {to}"));
    let arrows: Vec<String> = arrows.collect();
    assert!(
        arrows.is_empty(),
        "files that import each other:\n{}",
        arrows.join("\n")
    );
}

#[test]
fn circles_are_found() {
    let files = [
        ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\n"),
        (
            "a/b.rs",
            "use super::{\n    c::{C, D},\n};\npub struct B;\n",
        ),
        ("a/c.rs", "fn f(b: crate::a::B) {}\n"),
        (
            "e.rs",
            "use crate::a::B;\n#[cfg(test)]\nmod tests {\n    use crate::f::F;\n}\n",
        ),
        ("f.rs", "use crate::e::E;\n"),
    ];
    let imports = |files: &[(&str, &str)]| {
        let files = files.iter();
        Sources::new(files.map(|(file, text)| (file.to_string(), text.to_string()))).imports()
    };
    let found: Vec<String> = circles(&imports(&files))
        .keys()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(found, ["a::b", "a::c"]);
    assert!(circles(&imports(&files[..2])).is_empty());
}

#[test]
fn only_the_operations_name_backends() {
    let (root, lines) = lines("src");
    let names_backend = |line: &&Line| line.words().any(|word| BACKENDS.contains(&word));
    let wrong: Vec<String> = (lines.iter().filter(names_backend))
        .filter(|line| line.module(&root) != "ops")
        .map(Line::place)
        .collect();
    assert!(
        wrong.is_empty(),
        "backends outside of src/ops:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_functions_call_dispatch() {
    let (root, lines) = lines("src");
    let wrong: Vec<String> = (lines.iter().filter(|line| line.code.contains("Dispatch::")))
        .filter(|line| line.module(&root) != "functions")
        .map(Line::place)
        .collect();
    assert!(
        wrong.is_empty(),
        "calls outside of src/functions:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_autodiff_has_backward_steps() {
    let (root, lines) = lines("src");
    let implements = |line: &&Line| {
        let mut words = line.words();
        words.next() == Some("impl") && words.any(|word| word == "Backward")
    };
    let files: Vec<&Path> = (lines.iter().filter(implements))
        .map(|line| line.path.strip_prefix(&root).unwrap())
        .collect();
    assert!(!files.is_empty());
    let of_autodiff =
        |file: &Path| file == Path::new("ops/autodiff.rs") || file.starts_with("ops/autodiff");
    assert!(files.iter().all(|file| of_autodiff(file)), "{files:?}");
}

#[test]
fn the_kernels_know_no_burn() {
    let (_, lines) = lines("cube_kernels/src");
    let names_burn = |word: &str| word == "burn" || word.starts_with("burn_");
    let wrong: Vec<String> = (lines.iter().filter(|line| line.words().any(names_burn)))
        .map(Line::place)
        .collect();
    assert!(
        wrong.is_empty(),
        "Burn in cube_kernels:\n{}",
        wrong.join("\n")
    );
}
