//! The Markdown pages: command lines that parse, first commands that run, links that lead somewhere.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::CommandFactory;
use cosmogan::commands::Cli;

use crate::support::{cosmogan, run, small_run, succeed, text, write_npy};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Markdown files below `folder`.
fn markdown_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(markdown_below(&path));
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// README.md and the pages of docs/.
fn user_pages() -> Vec<PathBuf> {
    let mut pages = markdown_below(&repository().join("docs"));
    pages.push(repository().join("README.md"));
    assert!(pages.len() > 10, "the pages were not found");
    pages
}

/// A page, split into the lines of its shell listings and its prose.
#[derive(Default)]
struct Page {
    shell: Vec<String>,
    prose: String,
}

impl Page {
    fn parse(page: &str) -> Self {
        let mut parsed = Self::default();
        let mut language: Option<String> = None;
        let mut continued = false;
        for line in page.lines() {
            if let Some(fence) = line.trim_start().strip_prefix("```") {
                language = match language {
                    None => Some(fence.trim().to_owned()),
                    Some(_) => None,
                };
                continue;
            }
            match language.as_deref() {
                None => parsed.prose += &format!("{line}\n"),
                Some("" | "sh" | "bash" | "console") => {
                    let (line, continues) = match line.strip_suffix('\\') {
                        Some(line) => (line, true),
                        None => (line, false),
                    };
                    match parsed.shell.last_mut().filter(|_| continued) {
                        Some(last) => *last += line,
                        None => parsed.shell.push(line.to_owned()),
                    }
                    continued = continues;
                }
                Some(_) => {}
            }
        }
        parsed
    }

    /// Code within the prose, which may be broken over lines.
    fn inline_code(&self) -> Vec<String> {
        let code = self.prose.split('`').skip(1).step_by(2);
        code.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// The prose without its inline code.
    fn plain_prose(&self) -> String {
        self.prose.split('`').step_by(2).collect()
    }
}

/// Splits a line of a shell script into the words of its commands.
fn shell_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for character in line.chars().chain([' ']) {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | ';' | '|' | '&' | '(' | ')') => {
                commands.last_mut().unwrap().extend(word.take());
                if character != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    commands
}

/// The arguments of every call of the program in a line, from `cosmogan` on.
fn calls(line: &str) -> Vec<Vec<String>> {
    let commands = shell_commands(&line.replace("cargo run --release -- ", "cosmogan "));
    let mut calls = Vec::new();
    for words in commands {
        let is_prefix =
            |word: &&String| ["do", "then", "time", "$"].contains(&&word[..]) || word.contains('=');
        let words: Vec<String> = words.iter().skip_while(is_prefix).cloned().collect();
        if words.first().is_none_or(|word| word != "cosmogan") {
            continue;
        }
        let redirected = |word: &&String| !word.starts_with('>') && !word.starts_with("2>");
        let words = words.iter().take_while(redirected);
        // `…` stands for more of the same; a loop's variable for a number.
        let words = words.filter(|word| *word != "…");
        calls.push(words.map(|word| word.replace("$seed", "1")).collect());
    }
    calls
}

/// The problem of a command line, if it does not parse.
fn problem_of(call: &[String]) -> Option<String> {
    let error = Cli::read(call.iter().map(Into::into)).err()?;
    error.use_stderr().then(|| error.to_string())
}

/// The problem of a piece of a command line: an unknown command or flag. Values may be missing.
fn problem_of_piece(call: &[String]) -> Option<String> {
    let mut command = Cli::command();
    command.build();
    let mut current = &command;
    for (index, word) in call.iter().enumerate().skip(1) {
        let is_flag = word.starts_with("--");
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split(['=', ',']).next().unwrap_or_default();
            let mut known = current.get_arguments().flat_map(|argument| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long().into_iter().chain(aliases)
            });
            if !known.any(|known| known == flag) {
                return Some(format!("{} has no --{flag}", current.get_name()));
            }
        } else if let Some(next) = current.find_subcommand(word) {
            current = next;
        } else if index == 1 && !is_flag && word.chars().all(char::is_lowercase) {
            return Some(format!("there is no command `{word}`"));
        }
    }
    None
}

/// Problems of all command lines of a page.
fn problems_of_commands(page: &str) -> Vec<String> {
    let page = Page::parse(page);
    let listed = page.shell.iter().flat_map(|line| calls(line));
    let listed = listed.filter_map(|call| Some((problem_of(&call)?, call)));
    let inline = page.inline_code();
    let inline = inline.iter().flat_map(|code| calls(code));
    let inline = inline.filter_map(|call| Some((problem_of_piece(&call)?, call)));
    listed
        .chain(inline)
        .map(|(problem, call)| format!("{}: {problem}", call.join(" ")))
        .collect()
}

#[test]
fn every_command_line_of_the_pages_parses() {
    let mut found = 0;
    for path in user_pages() {
        let page = fs::read_to_string(&path).unwrap();
        let problems = problems_of_commands(&page);
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        let page = Page::parse(&page);
        found += page.shell.iter().flat_map(|line| calls(line)).count();
    }
    assert!(found > 50, "only {found} command lines were found");
}

#[test]
fn wrong_command_lines_are_found() {
    let listing = |line: &str| problems_of_commands(&format!("```\n{line}\n```\n"));
    for right in [
        "cosmogan generate --count 16 --out maps.npy   # a comment with --unknown",
        "for seed in 1 2; do cosmogan simulate --maps 1 --seed $seed --out $seed.npy; done",
        "cosmogan train --data maps.npy \\\n  --out run",
        "cargo run --release -- demo",
        "cosmogan profile --kernel dgrad --shape \"n=8 h=64\"",
        "cosmogan generate --help",
    ] {
        assert_eq!(listing(right), [""; 0], "{right}");
    }
    for wrong in [
        "cosmogan generate --count 16 --unknown --out maps.npy",
        "for seed in 1 2; do cosmogan simulate --map 1 --seed $seed --out $seed.npy; done",
        "cosmogan train --data maps.npy \\\n  --output run",
        "cargo run --release -- demonstrate",
        "cosmogan generate --count 16",
    ] {
        assert_eq!(listing(wrong).len(), 1, "{wrong}");
    }
    let inline = |code: &str| problems_of_commands(&format!("Use `{code}` here."));
    assert_eq!(inline("cosmogan train --data\nmaps.npy --crops N"), [""; 0]);
    assert_eq!(inline("cosmogan train --data\nmaps.npy --crop N").len(), 1);
    assert_eq!(inline("cosmogan trains").len(), 1);
}

#[test]
fn first_commands_of_the_pages_run() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 12);
    let run = folder.path().join("run");
    let train = ["train", "--config", text(&config), "--data", text(&data)];
    let length = ["--out", text(&run), "--steps", "1", "--average", "0.9"];
    succeed(&[&train[..], &length].concat());
    write_npy(&folder.path().join("z.npy"), "(2, 64)", &[0.5; 128]);
    let mut count = 0;
    for name in ["README.md", "docs/getting-started.md", "docs/generating.md"] {
        let page = fs::read_to_string(repository().join(name)).unwrap();
        for mut call in Page::parse(&page).shell.iter().flat_map(|line| calls(line)) {
            // The demonstration takes minutes; completions go to the home folder.
            if call[1] == "demo" || call[1] == "completions" {
                continue;
            }
            if let Some(position) = call.iter().position(|word| word == "--count") {
                call[position + 1] = "2".to_owned();
            }
            let mut process = cosmogan();
            let output = process.args(&call[1..]).current_dir(&folder);
            let output = output.output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {call:?}: {errors}");
            count += 1;
        }
    }
    assert!(count >= 7, "only {count} commands ran");
}

/// Names of all commands, each with its parents.
fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
        let mut found = vec![path.to_vec()];
        for next in command.get_subcommands() {
            let name = next.get_name().to_owned();
            found.extend(below(next, &[path, &[name]].concat()));
        }
        found
    }
    below(&Cli::command(), &[])
}

#[test]
fn help_fits_a_screen_and_ends_with_examples() {
    for path in commands() {
        let help = |flag: &str| {
            let mut process: Process = cosmogan();
            let output = process.args(&path).arg(flag).env_remove("COLUMNS");
            String::from_utf8(output.output().unwrap().stdout).unwrap()
        };
        let (long, short) = (help("--help"), help("-h"));
        let lines = long.lines().count();
        assert!(lines <= 40, "{path:?}: {lines} lines\n{long}");
        assert!(!short.contains("Advanced:"), "{short}");
        if path == ["explore"] {
            continue;
        }
        for text in [&long, &short] {
            let (_, examples) = text.split_once("\nExamples:\n").unwrap();
            let examples: Vec<_> = examples.lines().flat_map(calls).collect();
            assert!(!examples.is_empty(), "{path:?}");
            for call in examples {
                assert_eq!(problem_of(&call), None, "{call:?}");
            }
        }
    }
    assert!(succeed(&["train", "--help"]).stdout.len() > succeed(&["train", "-h"]).stdout.len());
    assert_eq!(run(&["train", "-h", "--unknown"]).status.code(), Some(0));
}

/// Anchors that GitHub gives to the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else {
            continue;
        };
        let heading = without_link_targets(heading.trim_start_matches('#').trim());
        let kept = |&character: &char| {
            character.is_alphabetic() || character.is_ascii_digit() || " -_".contains(character)
        };
        let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let number = seen.entry(anchor.clone()).or_default();
        found.push(match number {
            0 => anchor,
            _ => format!("{anchor}-{number}"),
        });
        *number += 1;
    }
    found
}

/// `[text](target)` as `[text]`.
fn without_link_targets(heading: &str) -> String {
    let mut pieces = heading.split("](");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text += piece.split_once(')').map_or("", |(_, rest)| rest);
    }
    text
}

/// Targets of the links and pictures of a page.
fn link_targets(page: &str) -> Vec<String> {
    let prose = Page::parse(page).plain_prose();
    let inline = prose.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let listed = prose.lines().filter_map(|line| {
        let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some(target)
    });
    inline
        .chain(listed)
        .filter_map(|target| target.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Problems of the relative links of the page at `path`.
fn problems_of_links(path: &Path) -> Vec<String> {
    let page = fs::read_to_string(path).unwrap();
    let mut problems = Vec::new();
    for link in link_targets(&page) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = match link.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (&link[..], None),
        };
        let target = match file {
            "" => path.to_owned(),
            file => path.parent().unwrap().join(file),
        };
        if !target.exists() {
            problems.push(format!("{link}: no such file"));
        } else if let Some(anchor) =
            anchor.filter(|_| target.extension().is_some_and(|e| e == "md"))
        {
            let known = anchors(&fs::read_to_string(&target).unwrap());
            if !known.iter().any(|known| known == anchor) {
                problems.push(format!("{link}: no such heading; there are {known:?}"));
            }
        }
    }
    problems
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = markdown_below(&repository());
    let mut links = 0;
    for path in &pages {
        let problems = problems_of_links(path);
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        links += link_targets(&fs::read_to_string(path).unwrap()).len();
    }
    assert!(links > 100, "only {links} links in {} pages", pages.len());
}

#[test]
fn broken_links_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let other = folder.path().join("other.md");
    fs::write(
        &other,
        "# A `code` and [link](page.md), σ8\n## Twice\n## Twice\n",
    )
    .unwrap();
    let problems = |line: &str| {
        fs::write(&page, line).unwrap();
        problems_of_links(&page).len()
    };
    for right in [
        "[a](other.md) and ![b](other.md#a-code-and-link-σ8)",
        "[a](other.md#twice-1)",
        "[a](https://example.org/none)",
        "# Here\n[a](#here)",
        "`[a](none.md)`",
        "```\n[a](none.md)\n```",
    ] {
        assert_eq!(problems(right), 0, "{right}");
    }
    for wrong in [
        "[a](none.md)",
        "[a](other.md#thrice)",
        "[a](other.md#twice-2)",
        "[a](#here)",
        "[a]\n\n[a]: none.md",
    ] {
        assert_eq!(problems(wrong), 1, "{wrong}");
    }
}
