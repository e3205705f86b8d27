//! What neither the compiler nor clippy sees: files no crate reaches, leftovers, paths of one machine, overlong files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Outcome, root};

/// Directories with code of ours.
const SOURCES: [&str; 6] = ["crates", "kernel", "linux/init", "xtask", "fuzz", "bench"];

/// Directories that hold no code of ours, wherever they are; in a linked work tree `.git` is a file.
const SKIPPED: [&str; 5] = ["target", ".git", "corpus", "artifacts", "golden"];

/// A file that explains one idea rarely needs more lines.
const MAX_LINES: usize = 600;

/// What must not be left behind. In halves, so that this file does not find itself.
const LEFTOVERS: [(&str, &str); 6] =
    [("dbg", "!("), ("todo", "!("), ("unimplemented", "!("), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")];

/// Where somebody's own files lie.
const MACHINE_PATHS: [(&str, &str); 5] =
    [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/"), ("/wo", "rk/"), ("/wor", "kspace/")];

/// Looks through all files.
pub(crate) fn run() -> Outcome {
    let root = root();
    let (files, mut faults) = (collect_files(&root), Vec::new());
    let sources: Vec<&PathBuf> = files
        .iter()
        .filter(|path| SOURCES.iter().any(|source| path.starts_with(source)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();

    let reached = reach(&root, &files);
    for path in &sources {
        if !reached.contains(*path) {
            faults.push(format!("{}: no crate reaches this file", path.display()));
        }
    }
    for path in &files {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        faults.extend(leftovers(path, &text));
        let nr_lines = text.lines().count();
        if nr_lines > MAX_LINES && path.extension().is_some_and(|extension| extension == "rs") {
            eprintln!("    warning: {}: {nr_lines} lines; is it still one idea?", path.display());
        }
    }
    for fault in &faults {
        eprintln!("    {fault}");
    }
    match faults.len() {
        0 => Outcome::Passed,
        nr_faults => Outcome::Failed(format!("{nr_faults} untidy places")),
    }
}

fn leftovers(path: &Path, text: &str) -> Vec<String> {
    let is_code = path.extension().is_some_and(|extension| extension == "rs");
    let mut faults = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let place = format!("{}:{number}", path.display());
        let found = |pair: &(&str, &str)| line.find(&format!("{}{}", pair.0, pair.1));
        if is_code {
            // A word counts, not a part of one.
            for pair in LEFTOVERS.iter().filter(|pair| found(pair).is_some_and(|at| starts_a_word(line, at)))
            {
                faults.push(format!("{place}: `{}{}` was left behind", pair.0, pair.1));
            }
        }
        for pair in MACHINE_PATHS.iter().filter(|pair| found(pair).is_some_and(|at| starts_a_path(line, at)))
        {
            faults.push(format!("{place}: `{}{}` is a path of one machine", pair.0, pair.1));
        }
    }
    faults
}

fn starts_a_word(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn starts_a_path(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/~$}>".contains(c))
}

/// Collects the files that cargo builds from, and all that they name with `mod`.
fn reach(root: &Path, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut pending: Vec<PathBuf> = files.iter().filter(|path| is_crate_root(root, path)).cloned().collect();
    let mut reached = BTreeSet::new();
    while let Some(path) = pending.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        pending.extend(modules_of(&path, &text).into_iter().filter(|path| root.join(path).exists()));
    }
    reached
}

/// Whether cargo builds a crate from this file without being told, or is told so in the manifest.
fn is_crate_root(root: &Path, path: &Path) -> bool {
    let Some(package) = path.ancestors().skip(1).find(|folder| root.join(folder).join("Cargo.toml").exists())
    else {
        return false;
    };
    let Ok(within) = path.strip_prefix(package) else { return false };
    let within = within.to_string_lossy();
    let parts: Vec<&str> = within.split('/').collect();
    let by_convention = match parts[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
        ["src", "bin", _] | ["tests" | "examples" | "benches", _] => true,
        ["src", "bin", _, "main.rs"] | ["tests" | "examples" | "benches", _, "main.rs"] => true,
        // trybuild compiles these one by one.
        ["tests", "ui" | "fail" | "pass" | "compile_fail", _] => true,
        _ => false,
    };
    by_convention
        || fs::read_to_string(root.join(package).join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.contains(&format!("\"{within}\"")))
}

/// The files that `mod name;`, `#[path = ".."]` and `include!("..")` in this one may mean.
fn modules_of(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut modules = Vec::new();
    // A module within a module lies one folder deeper; how deep is not worth a parser.
    let mut inline: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(named) = quoted_after(line, "#[path").or_else(|| quoted_after(line, "include!(")) {
            modules.push(normalized(&folder.join(named)));
        }
        let Some((_, rest)) = line.split_once("mod ").filter(|(before, _)| is_visibility(before)) else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let rest = rest[name.len()..].trim_start();
        if rest.starts_with('{') {
            inline.push(name);
        } else if rest.starts_with(';') {
            let mut folders = vec![folder.to_owned(), folder.join(&*stem)];
            folders.extend(
                inline.iter().flat_map(|inline| [folder.join(inline), folder.join(&*stem).join(inline)]),
            );
            for folder in folders {
                modules.push(folder.join(format!("{name}.rs")));
                modules.push(folder.join(&name).join("mod.rs"));
            }
        }
    }
    modules
}

fn is_visibility(before: &str) -> bool {
    let before = before.rsplit(']').next().unwrap_or_default().trim();
    before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'))
}

fn quoted_after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.split('"').nth(1)
}

/// Takes out `.` and `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                normalized.pop();
            }
            part => normalized.push(part),
        }
    }
    normalized
}

/// Collects every file below the root, relative to it.
fn collect_files(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut pending) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let is_skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !is_skipped {
                pending.push(entry.path());
            } else if let Some(path) =
                entry.path().strip_prefix(root).ok().filter(|_| kind.is_file() && !is_skipped)
            {
                files.push(path.to_owned());
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_looked_for_where_rustc_would() {
        let text = "pub(crate) mod a;\n#[cfg(test)] mod b;\nmod c {\n    mod d;\n}\n// mod e;\n#[path = \"../x.rs\"]\n";
        let modules = modules_of(Path::new("crates/k/src/lib.rs"), text);
        for wanted in ["src/a.rs", "src/a/mod.rs", "src/b.rs", "src/c/d.rs", "x.rs"] {
            assert!(modules.contains(&Path::new("crates/k").join(wanted)), "{wanted} in {modules:?}");
        }
        assert!(!modules.iter().any(|path| path.ends_with("e.rs")));
    }

    #[test]
    fn leftovers_are_found_and_words_that_hold_them_are_not() {
        let text = format!("    {}!(x);\n  my_{}!();\n let p = \"{}me/me/x\";", "dbg", "dbg", "/ho");
        let faults = leftovers(Path::new("a.rs"), &text);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
