//! The structure of the sources: files do not import each other in a circle, and imports between layers point down only.
//!
//! An arrow is a `use`, from the file that has it to the file that defines the name; `crate::` and `super::` paths inside code count
//! too. Who imports a re-exported name imports the file behind it. No arrows are `mod child;`, re-exports, and a parent's
//! `child::step()`, because a flow's table may name its steps. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each layer may import besides itself.
const LAYERS: [(&str, &str); 12] = [
    ("http", "wallet config datadir"),
    ("background", "wallet"),
    (
        "wallet",
        "ark chain lnurl webhook onchain store model config datadir",
    ),
    ("onchain", "chain store"),
    ("store", "model"),
    ("ark", ""),
    ("chain", ""),
    ("lnurl", ""),
    ("webhook", ""),
    ("model", ""),
    ("config", ""),
    ("datadir", ""),
];

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let mut circles = Crate::read("src").circles();
    circles.extend(Crate::read("sandbox/src").circles());
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for ((from, to), names) in Crate::read("src").arrows(false) {
        let (layer, below) = (top(&from), top(&to));
        let allowed = LAYERS.iter().find(|(name, _)| *name == layer);
        let up = allowed.is_some_and(|(_, allowed)| {
            below != layer && allowed.split(' ').all(|name| name != below)
        });
        if up || from.starts_with("wallet::engine") && to.starts_with("wallet::flows") {
            wrong.push(format!("{from} -> {to}: {names:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The imports of each file of a crate, by the file's module, such as `wallet::engine`.
struct Crate(BTreeMap<String, Vec<Import>>);

struct Import {
    /// As it is written, such as `super::engine::Step`.
    path: String,
    name: String,
    public: bool,
}

impl Crate {
    fn read(folder: &str) -> Crate {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut this = Crate(BTreeMap::new());
        this.enter(&folder.join("lib.rs"), &folder, String::new());
        this
    }

    /// Reads a file, and the modules that it declares from `folder`.
    fn enter(&mut self, file: &Path, folder: &Path, module: String) {
        let text = fs::read_to_string(file).expect("a declared module has a file");
        let (modules, imports) = declarations(&text);
        for name in modules {
            let places = [format!("{name}.rs"), format!("{name}/mod.rs")];
            let places = places.map(|place| folder.join(place));
            let file = places.iter().find(|file| file.exists());
            let file = file.expect("a declared module has a file");
            self.enter(file, &folder.join(&name), child(&module, &name));
        }
        self.0.insert(module, imports);
    }

    /// The module that a path leads to: the longest part of it that is a file, or the file behind a re-export if `follow`.
    /// `None` for other crates.
    fn resolve(&self, module: &str, path: &str, follow: bool) -> Option<String> {
        let mut here = module.to_owned();
        for (position, name) in path.split("::").enumerate() {
            let re_export = |import: &&Import| import.public && import.name == name;
            if name == "crate" {
                here.clear();
            } else if name == "super" {
                here.truncate(here.rfind("::").unwrap_or(0));
            } else if self.0.contains_key(&child(&here, name)) {
                here = child(&here, name);
            } else if position == 0 && name != "self" {
                return None;
            } else if let Some(import) = self.0[&here].iter().find(re_export).filter(|_| follow) {
                return self.resolve(&here, &import.path, follow);
            } else if name != "self" {
                break;
            }
        }
        Some(here)
    }

    /// Who imports whom, and which names.
    fn arrows(&self, follow: bool) -> BTreeMap<(String, String), BTreeSet<&str>> {
        let mut arrows: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for (module, imports) in &self.0 {
            for import in imports.iter().filter(|import| !import.public) {
                let target = self.resolve(module, &import.path, follow);
                if let Some(target) = target.filter(|target| target != module) {
                    let names = arrows.entry((module.clone(), target)).or_default();
                    names.insert(&import.name);
                }
            }
        }
        arrows
    }

    /// The arrows that are part of a circle.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows(true);
        let leads_back = |(from, to): &(String, String)| {
            let (mut open, mut known) = (vec![to], BTreeSet::new());
            while let Some(module) = open.pop() {
                let next = arrows.keys().filter(|(from, _)| from == module);
                open.extend(next.map(|(_, to)| to).filter(|to| known.insert(*to)));
            }
            known.contains(from)
        };
        let circle = arrows.iter().filter(|(arrow, _)| leads_back(arrow));
        let lines = circle.map(|((from, to), names)| format!("{from} -> {to}: {names:?}"));
        lines.collect()
    }
}

/// The modules that a file declares, and its imports.
fn declarations(text: &str) -> (Vec<String>, Vec<Import>) {
    let (mut modules, mut imports, mut of_test) = (Vec::new(), Vec::new(), false);
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let public = line.starts_with("pub");
        let bare = line.trim_start_matches("pub").trim_start();
        let mut item = match bare.split_once(") ") {
            Some((scope, item)) if scope.starts_with('(') => item.to_owned(),
            _ => bare.to_owned(),
        };
        if of_test && item.starts_with("mod ") && item.ends_with('{') {
            break; // Unit tests are the end of a file.
        }
        if item.starts_with("use ") {
            while !item.ends_with(';') {
                item.push_str(lines.next().unwrap_or(";"));
            }
        }
        let skipped = std::mem::replace(&mut of_test, item.starts_with("#[cfg(test)]"));
        let statement = item.strip_suffix(';').filter(|_| !skipped);
        if let Some(tree) = statement.and_then(|item| item.strip_prefix("use ")) {
            expand("", tree, public, &mut imports);
        } else if let Some(name) = statement.and_then(|item| item.strip_prefix("mod ")) {
            modules.push(name.to_owned());
        } else {
            let code = item.split("//").next().unwrap_or_default();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let own = |word: &&str| word.starts_with("crate::") || word.starts_with("super::");
            let paths = words.filter(own);
            paths.for_each(|path| expand("", path, false, &mut imports));
        }
    }
    (modules, imports)
}

/// Writes `a::{b, c as d}` out: `a::b`, and `a::c` under the name `d`.
fn expand(before: &str, tree: &str, public: bool, imports: &mut Vec<Import>) {
    if let Some((head, inner)) = tree.split_once('{') {
        let mut depth = 0;
        let branches = inner.strip_suffix('}').unwrap_or(inner);
        let branches = branches.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        for branch in branches.map(str::trim).filter(|branch| !branch.is_empty()) {
            expand(&format!("{before}{head}"), branch, public, imports);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path = format!("{before}{path}").trim_end_matches("::").to_owned();
    let last = path.rsplit("::").find(|part| *part != "self");
    let name = if alias.is_empty() { last } else { Some(alias) };
    let name = name.unwrap_or_default().to_owned();
    imports.push(Import { path, name, public });
}

fn child(module: &str, name: &str) -> String {
    let path = format!("{module}::{name}");
    path.trim_start_matches("::").to_owned()
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}
