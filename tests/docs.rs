//! The documentation and the sources agree: cited sections and hazard codes exist, and so do the files, the diagrams and the log lines
//! of the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PROTOCOL: &str = "docs/protocol.md";
const SOURCES: [&str; 4] = ["src", "sandbox/src", "tests", "migrations"];

#[test]
fn cited_sections_stand_in_the_protocol_reference() {
    let protocol = read(PROTOCOL);
    let sections: BTreeSet<&str> = protocol.lines().filter_map(section_of_heading).collect();
    let mut wrong = Vec::new();
    for path in sources().into_iter().chain(documents()) {
        for (number, line) in read(&path).lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            for cited in cited_sections(line) {
                if !sections.contains(cited) {
                    wrong.push(format!("{place}: there is no §{cited} in {PROTOCOL}"));
                }
            }
            if line.contains("spec §") {
                wrong.push(format!("{place}: cite {PROTOCOL}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cited_hazards_stand_in_the_protocol_reference() {
    let protocol = read(PROTOCOL);
    let entries = protocol.lines().filter_map(hazard_of_row);
    let hazards: BTreeSet<String> = entries.collect();
    let mut wrong = Vec::new();
    for path in sources().into_iter().chain(documents()) {
        for (number, line) in read(&path).lines().enumerate() {
            let text = if path.ends_with(".rs") {
                line.split_once("//").map_or("", |(_, comment)| comment)
            } else {
                line
            };
            for code in cited_hazards(text) {
                if !hazards.contains(&code) {
                    wrong.push(format!(
                        "{path}:{}: {code} is not in {PROTOCOL} §11",
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_the_documentation_names_exist() {
    let files = files_below(Path::new(""));
    let mut wrong = Vec::new();
    for path in documents() {
        for (number, line) in read(&path).lines().enumerate() {
            for name in line.split('`').skip(1).step_by(2) {
                if is_file_name(name) && !exists(name, &files) {
                    wrong.push(format!("{path}:{}: there is no {name}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_operations_guide_explains_the_log_lines() {
    let guide = read("docs/operations.md");
    let (_, table) = guide
        .split_once("## Log lines")
        .expect("the guide has log lines");
    let explained: Vec<&str> = table.lines().filter_map(line_of_row).collect();
    let rust = files_below(Path::new("src"))
        .into_iter()
        .filter(|file| file.ends_with(".rs"));
    let source: String = rust.map(|file| read(&file)).collect();
    let unknown = explained.iter().filter(|line| !source.contains(**line));
    let mut wrong: Vec<String> = unknown
        .map(|line| format!("nothing logs {line:?}"))
        .collect();
    for call in source.split("tracing::error!(").skip(1) {
        let arguments = call
            .split_once(");")
            .map_or(call, |(arguments, _)| arguments);
        let message = arguments.rsplit('"').nth(1).unwrap_or(arguments);
        if !explained.contains(&message) {
            wrong.push(format!("the guide does not explain {message:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_protocol_reference_shows_the_diagrams_of_the_flows() {
    let protocol = read(PROTOCOL);
    for path in files_below(Path::new("src/wallet/flows")) {
        let text = read(&path).replace("//! ", "");
        let diagram = text
            .split_once("```text\n")
            .and_then(|(_, text)| text.split_once("```"));
        if let Some((diagram, _)) = diagram {
            assert!(
                protocol.contains(diagram),
                "{PROTOCOL} lacks the diagram of {path}:\n{diagram}"
            );
        }
    }
}

/// "wallet deleted" of "| `wallet deleted` | …".
fn line_of_row(row: &str) -> Option<&str> {
    row.strip_prefix("| `")?.split('`').next()
}

/// "4.1" of `## 4.1 Board`, "4" of `# 4. Flows`.
fn section_of_heading(line: &str) -> Option<&str> {
    let title = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let number = title.split(' ').next()?.trim_end_matches('.');
    number
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(number)
}

/// "H1" of `| H1 | … |`.
fn hazard_of_row(line: &str) -> Option<String> {
    let cell = line.strip_prefix("| ")?.split(" |").next()?;
    let codes = cited_hazards(cell);
    codes.into_iter().next().filter(|code| code == cell)
}

/// Every number behind a `§`.
fn cited_sections(line: &str) -> Vec<&str> {
    let behind = line.split('§').skip(1);
    let numbers = behind.map(|text| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        text[..end.unwrap_or(text.len())].trim_end_matches('.')
    });
    numbers.filter(|number| !number.is_empty()).collect()
}

/// Every hazard code of a text; `H5-H7` names three.
fn cited_hazards(text: &str) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    let mut previous: Option<(char, u32)> = None;
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let (name, end) =
            word.split_at(word.trim_end_matches(|c: char| !c.is_alphanumeric()).len());
        let code = parse_hazard(name);
        if let Some((letter, number)) = code {
            let first = previous
                .filter(|(begin, _)| *begin == letter)
                .map_or(number, |(_, from)| from + 1);
            codes.extend((first..=number).map(|number| format!("{letter}{number}")));
        }
        previous = code.filter(|_| matches!(end, "-" | "–"));
    }
    codes
}

fn parse_hazard(word: &str) -> Option<(char, u32)> {
    let digits = word.strip_prefix(['H', 'W'])?;
    let number = digits
        .parse()
        .ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some((word.chars().next()?, number))
}

/// Whether a word in backquotes means a file or folder of the repository.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let relative = !name.starts_with(['/', '.', '-']) && name.chars().all(plain);
    let below_us = name
        .split_once('/')
        .is_some_and(|(top, _)| root().join(top).is_dir() && top != "target");
    relative && (below_us || name.ends_with(".rs") || name.ends_with('/'))
}

/// Whether the name is a path of the repository, or the end of one.
fn exists(name: &str, files: &[String]) -> bool {
    let ending = format!("/{}", name.trim_end_matches('/'));
    root().join(name).exists()
        || files.iter().any(|file| {
            file.ends_with(&ending)
                || name.ends_with('/') && format!("/{file}").contains(&format!("{ending}/"))
        })
}

fn sources() -> Vec<String> {
    let of_language = |file: &String| [".rs", ".sql"].iter().any(|ending| file.ends_with(ending));
    let folders = SOURCES.iter();
    folders
        .flat_map(|folder| files_below(Path::new(folder)))
        .filter(of_language)
        .filter(|file| file != "tests/docs.rs")
        .collect()
}

fn documents() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    documents.extend(files_below(Path::new("docs")));
    documents
}

/// The files below a folder of the repository, by their paths in it.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let entries = fs::read_dir(root().join(folder)).expect("the folder is part of the repository");
    for entry in entries.map(|entry| entry.expect("the folder can be listed")) {
        let name = entry.file_name();
        let path = folder.join(&name);
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn citations_are_found() {
    let line = "(docs/protocol.md §4.0, §4.3; hazards H5-H7, W13.) xH1 H_2 SHA256 H12a";
    assert_eq!(cited_sections(line), ["4.0", "4.3"]);
    assert_eq!(cited_hazards(line), ["H5", "H6", "H7", "W13"]);
    assert_eq!(
        hazard_of_row("| H1 | reuse | rule |").as_deref(),
        Some("H1")
    );
    assert_eq!(hazard_of_row("| H1 and H2 | x |"), None);
}
