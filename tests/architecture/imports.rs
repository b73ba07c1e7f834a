//! The graph of imports: which file names an item of which other file.

use std::collections::{BTreeMap, BTreeSet};

/// Source files by the path of their module: `["qat", "prepare"]`.
pub struct Sources(BTreeMap<Vec<String>, String>);

/// Module paths by the modules whose items they name.
pub type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

impl Sources {
    /// Modules by the path of their file below `src`, with its text.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let module = |(file, text): (String, String)| {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path = path.split('/').map(str::to_string).collect();
            (path, without_comments_and_tests(&text))
        };
        Self(files.into_iter().map(module).collect())
    }

    /// Imports of each module; a re-export is not one, and what it hands on is of its own module.
    pub fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for (module, text) in &self.0 {
            let named = uses(text).into_iter().filter(|(public, _)| !public);
            let named = named.map(|(_, path)| path).chain(inline_paths(text));
            let found = named
                .filter_map(|path| self.absolute(module, &path))
                .filter_map(|path| self.owner(&path))
                .filter(|owner| owner != module);
            imports.insert(module.clone(), found.collect());
        }
        imports
    }

    /// The path from the root of the crate, if it is one of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                Some([&module[..module.len() - up], &path[up..]].concat())
            }
            first
                if self
                    .0
                    .contains_key(&[module, &[first.to_string()]].concat()) =>
            {
                Some([module, path].concat())
            }
            _ => None,
        }
    }

    /// The module that defines what a path names.
    fn owner(&self, path: &[String]) -> Option<Vec<String>> {
        let length = (1..=path.len()).rev();
        let length = { length }.find(|n| self.0.contains_key(&path[..*n]))?;
        let (module, rest) = path.split_at(length);
        let Some(item) = rest.first() else {
            return Some(module.to_vec());
        };
        let handed_on = uses(&self.0[module])
            .into_iter()
            .filter(|(public, named)| *public && named.last() == Some(item))
            .find_map(|(_, named)| self.absolute(module, &named));
        match handed_on {
            Some(path) if path[..] != [module, &rest[..1]].concat() => self.owner(&path),
            _ => Some(module.to_vec()),
        }
    }
}

/// The imports that are part of a circle: those from whose end their beginning is reached again.
pub fn circles(imports: &Imports) -> Imports {
    let in_circle = |from: &Vec<String>| {
        let of = imports[from].iter();
        let of = of.filter(|to| reached(imports, to).contains(from)).cloned();
        (from.clone(), of.collect::<BTreeSet<_>>())
    };
    let circles = imports.keys().map(in_circle);
    circles.filter(|(_, of)| !of.is_empty()).collect()
}

/// A module and all that it imports, directly or not.
fn reached(imports: &Imports, start: &[String]) -> BTreeSet<Vec<String>> {
    let mut reached = BTreeSet::from([start.to_vec()]);
    let mut open = vec![start.to_vec()];
    while let Some(module) = open.pop() {
        for of in imports.get(&module).into_iter().flatten() {
            if reached.insert(of.clone()) {
                open.push(of.clone());
            }
        }
    }
    reached
}

/// The text up to its tests, without comments.
fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Paths of the `use` declarations of a module, and whether they are re-exports.
fn uses(text: &str) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(line) = text.get(start..).and_then(|rest| rest.lines().next()) {
        let declared = line
            .strip_prefix("pub")
            .map(|rest| match rest.strip_prefix('(') {
                Some(rest) => rest
                    .split_once(')')
                    .map_or("", |(_, rest)| rest)
                    .trim_start(),
                None => rest.trim_start(),
            });
        let public = declared.is_some();
        if let Some(tree) = declared.unwrap_or(line).strip_prefix("use ") {
            let offset = start + line.len() - tree.len();
            let tree = text[offset..].split(';').next().unwrap();
            leaves(&[], tree, &mut |path| found.push((public, path)));
        }
        start += line.len() + 1;
    }
    found
}

/// The paths of a tree of imports, `a::{b, c::d}`.
fn leaves(prefix: &[String], tree: &str, found: &mut impl FnMut(Vec<String>)) {
    let tree = tree.trim();
    let (path, list) = match tree.split_once('{') {
        Some((path, list)) => (path, list.strip_suffix('}')),
        None => (tree.split(" as ").next().unwrap(), None),
    };
    let parts = path
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let path: Vec<String> = prefix
        .iter()
        .cloned()
        .chain(parts.map(str::to_string))
        .collect();
    let Some(list) = list else {
        let is_self = path.last().is_some_and(|last| last == "self") && path.len() > 1;
        return found(path[..path.len() - usize::from(is_self)].to_vec());
    };
    let (mut depth, mut start) = (0, 0);
    for (i, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !list[start..i].trim().is_empty() {
                    leaves(&path, &list[start..i], found);
                }
                start = i + 1;
            }
            _ => {}
        }
    }
}

/// Paths in code that begin with `crate::` or `super::`.
fn inline_paths(text: &str) -> impl Iterator<Item = Vec<String>> {
    ["crate::", "super::"].into_iter().flat_map(move |root| {
        let lines = text.lines().filter(|line| !line.contains("use "));
        lines.flat_map(move |line| {
            line.match_indices(root).filter_map(move |(at, _)| {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c == ':' || c.is_alphanumeric()) {
                    return None;
                }
                let is_path = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
                let path: String = line[at..].chars().take_while(is_path).collect();
                Some(path.split("::").map(str::to_string).collect::<Vec<_>>())
            })
        })
    })
}
