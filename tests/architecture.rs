//! The shape of the code: who may use whom, and what the functional core must not know. A breach is named by file and line.
//!
//! The layers are those of `src/lib.rs`. Everything here works on the text of the sources with comments, strings and test
//! code blanked out, so that a word in a sentence breaks nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of each layer, lowest first. A module uses its own layer and those below.
const LAYERS: [&[&str]; 8] = [
    &["stats", "sketch"],
    &["event"],
    &["window", "baseline", "join", "rule"],
    &["engine"],
    &["source", "store", "exchange", "notify", "telemetry", "http", "kafka"],
    &["config"],
    &["app"],
    &["cli"],
];
/// The layer of the edges, each for one outside thing: they never use each other.
const EDGES: usize = 4;
/// What the edges that speak to Kafka share. It uses no edge.
const CONNECTION: &str = "kafka";
/// The functional core: all layers up to this one.
const CORE: usize = 3;
/// What the core does not know: runtimes, clients, files, sockets, clocks, the environment, randomness.
const NOT_IN_CORE: [&str; 15] = [
    "tokio",
    "rdkafka",
    "opentelemetry",
    "opentelemetry_sdk",
    "lettre",
    "reqwest",
    "axum",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant",
    "RandomState",
    "println",
];
/// The one file that reads the wall clock.
const CLOCK: &str = "app/clock.rs";
/// Marks a reading of the monotonic clock by an edge that no result depends on; clippy wants it there, too.
const CLOCK_ALLOWED: &str = "clippy::disallowed_methods";
/// A file has fewer lines than this before its tests.
const LINES: usize = 500;

#[test]
fn every_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 100, "only {} files are found under {}", files.len(), root.display());
    let sources: Vec<(String, String)> = files
        .iter()
        .map(|path| (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let tests: BTreeSet<String> = sources.iter().flat_map(|(name, text)| test_files(name, text)).collect();
    let breaches: Vec<String> = sources.iter().flat_map(|(name, text)| breaches(name, text, tests.contains(name))).collect();
    assert!(breaches.is_empty(), "{} breaches of the architecture:\n{}", breaches.len(), breaches.join("\n"));
}

/// Every rule is broken once, so that none of them is asleep.
#[test]
fn each_breach_is_seen() {
    let breach = |name: &str, text: &str, wanted: &[&str]| {
        let found = breaches(name, &format!("//! Doc.\n{text}"), false);
        assert_eq!(found.len(), wanted.len(), "{name}: {text}: {found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{name}: {text}: {found} does not say {wanted}");
        }
    };
    breach("engine/plan.rs", "use crate::config::Config;", &["src/engine/plan.rs:2: engine (layer 3) uses config (layer 5)"]);
    breach("engine/plan.rs", "\nuse crate::{\n    event::Metric,\n    app,\n};", &["src/engine/plan.rs:5: engine (layer 3) uses app"]);
    breach("stats/ks.rs", "fn f() { crate::event::x() }", &["src/stats/ks.rs:2: stats (layer 0) uses event"]);
    breach("stats/ks.rs", "fn f() { super::super::event::x() }", &["src/stats/ks.rs:2: stats (layer 0) uses event"]);
    breach("stats/mod.rs", "use super::event;", &["stats (layer 0) uses event"]);
    breach("http/serve.rs", "use crate::notify::Outbox;", &["http and notify are edges"]);
    breach("kafka/token.rs", "use crate::source::Batch;", &["kafka and source are edges"]);
    breach("source/kafka/poll.rs", "use crate::kafka::Connection;", &[]);
    breach("event/time.rs", "use crate::kafka::Connection;", &["event (layer 1) uses kafka (layer 4)"]);
    breach("window/pane.rs", "use crate::baseline::Layout;\nuse super::spec;", &[]);
    breach("window/pane.rs", "// use crate::app;\nconst A: &str = \"crate::app\"; const B: char = '\"'; /* tokio */", &[]);
    breach(
        "window/pane.rs",
        "#[cfg(test)]\nmod tests {\n use crate::app; { std::fs::x }\n}\nuse std::fs;",
        &["pane.rs:6: std::fs in the core"],
    );
    breach("rule/set.rs", "use std::time::Instant;", &["Instant in the core"]);
    breach("rule/set.rs", "use std::{collections::BTreeMap, fs};", &["std::fs in the core"]);
    breach("join/ledger.rs", "fn f() { tracing::info!(\"x\") }", &["tracing in the core"]);
    breach("join/ledger.rs", "struct Instantaneous { tracing_id: u8 }", &[]);
    breach("cli/run.rs", "fn f() { std::time::SystemTime::now() }", &["only src/app/clock.rs reads the wall clock"]);
    breach("notify/mail.rs", "fn f() { SystemTime::UNIX_EPOCH }", &[]);
    breach("http/serve.rs", "fn f() { Instant::now() }", &["reads the monotonic clock without"]);
    breach("http/serve.rs", "#[allow(clippy::disallowed_methods)]\nfn f() { Instant::now() }", &[]);
    breach("http/serve.rs", "use tokio::time::Instant;\nfn f() { Instant::now() }", &[]);
    breach("app/clock.rs", "fn f() { SystemTime::now() }", &[]);
    breach("cli/run.rs", "fn f() { todo!() }", &["todo! is left"]);
    breach("cli/run.rs", &format!("fn f() {{{}}}", "\n".repeat(LINES)), &["502 lines before its tests"]);
    breach("cli/run.rs", &format!("#[cfg(test)]\nmod tests {{{}}}", "\n".repeat(LINES)), &[]);
    breach("utils/x.rs", "", &["no layer"]);
    assert_eq!(breaches("cli/run.rs", "fn f() {}", false), ["src/cli/run.rs:1: no //! that says what the file is"]);
    assert_eq!(test_files("rule/judge.rs", "#[cfg(test)]\nmod tests;"), ["rule/judge/tests.rs"]);
    assert_eq!(test_files("rule/mod.rs", "#[cfg(test)]\nmod fixture;\nmod other;"), ["rule/fixture.rs"]);
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// All breaches of one file, each with its place. `is_test` where the whole file is compiled for tests only.
fn breaches(name: &str, text: &str, is_test: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut breach = |line: usize, message: String| found.push(format!("src/{name}:{line}: {message}"));
    if !text.starts_with("//! ") {
        breach(1, "no //! that says what the file is".to_owned());
    }
    let modules = module_path(name);
    let Some(own) = modules.first() else { return found };
    let Some(layer) = layer(own) else {
        breach(1, format!("{own} has no layer"));
        return found;
    };
    if is_test {
        return found;
    }
    let code = without_tests(&blank(text));
    let lines = code.trim_end().lines().count();
    if lines >= LINES {
        breach(lines, format!("{lines} lines before its tests; a file has fewer than {LINES}"));
    }
    for (at, used) in used_modules(&code, modules.len()) {
        let line = line_of(&code, at);
        match self::layer(&used) {
            Some(theirs) if theirs > layer => breach(line, format!("{own} (layer {layer}) uses {used} (layer {theirs})")),
            Some(EDGES) if layer == EDGES && used != *own && used != CONNECTION => {
                breach(line, format!("{own} and {used} are edges, which never use each other"));
            }
            Some(_) => {}
            None => breach(line, format!("{used} has no layer")),
        }
    }
    for (at, path) in words(&code) {
        let mut breach = |message: String| breach(line_of(&code, at), message);
        if layer <= CORE
            && let Some(word) = NOT_IN_CORE.iter().find(|word| holds(&path, word))
        {
            breach(format!("{word} in the core"));
        }
        if holds(&path, "SystemTime::now") && name != CLOCK && layer > CORE {
            breach(format!("only src/{CLOCK} reads the wall clock"));
        }
        if holds(&path, "Instant::now") && name != CLOCK && layer > CORE && !tells_time_for_itself(&path, &code) {
            breach(format!("reads the monotonic clock without #[allow({CLOCK_ALLOWED})] and its reason"));
        }
        if (path == "todo" || path == "unimplemented") && code[at + path.len()..].starts_with('!') {
            breach(format!("{path}! is left"));
        }
    }
    found
}

/// Whether a file may wait and measure ages: by the timers of the runtime, or where it says that no result depends on it.
fn tells_time_for_itself(path: &str, code: &str) -> bool {
    let of_runtime = path.starts_with("tokio::") || code.contains("use tokio::time::Instant") || code.contains("use tokio::time::{");
    of_runtime || code.contains(CLOCK_ALLOWED)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// `engine/measure/mod.rs` is `engine::measure`; `lib.rs` and `main.rs` are the root.
fn module_path(name: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" || path == "main" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The files that `#[cfg(test)] mod name;` pulls in.
fn test_files(name: &str, text: &str) -> Vec<String> {
    let directory = module_path(name).join("/");
    let code = blank(text);
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, mark)| {
            let rest = code[at + mark.len()..].trim_start();
            let module = rest.trim_start_matches("pub ").strip_prefix("mod ")?.split_once(';')?.0;
            module.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| format!("{directory}/{module}.rs"))
        })
        .collect()
}

/// The top-level modules that a file names, with their places. `depth` is that of the file's own module.
fn used_modules(code: &str, depth: usize) -> Vec<(usize, String)> {
    let to_root = format!("{}::", vec!["super"; depth].join("::"));
    let mut used = Vec::new();
    for root in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
                continue;
            }
            heads(code, at + root.len(), &mut used);
        }
    }
    used
}

/// The first names of a path, or of each path in braces.
fn heads(code: &str, at: usize, used: &mut Vec<(usize, String)>) {
    let rest = &code[at..];
    if !rest.starts_with('{') {
        let name = identifier(rest);
        if !name.is_empty() {
            used.push((at, name.to_owned()));
        }
        return;
    }
    let (mut level, mut fresh) = (0, false);
    for (offset, c) in rest.char_indices() {
        match c {
            '{' => (level, fresh) = (level + 1, level == 0),
            '}' => level -= 1,
            ',' => fresh = level == 1,
            c if c.is_whitespace() => {}
            _ if fresh => {
                fresh = false;
                used.push((at + offset, identifier(&rest[offset..]).to_owned()));
            }
            _ => {}
        }
        if level == 0 {
            return;
        }
    }
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Every path of the code, `std::time::Instant`, with its place; `use std::{fs, io}` gives `std::fs` and `std::io` as well.
fn words(code: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        if length == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let path = rest[..length].trim_end_matches(':');
        if rest[length..].starts_with('{') && path == "std" {
            let mut inner = Vec::new();
            heads(code, at + length, &mut inner);
            words.extend(inner.into_iter().map(|(at, name)| (at, format!("std::{name}"))));
        }
        words.push((at, path.to_owned()));
        at += length;
    }
    words
}

/// Whether a path has these segments in a row.
fn holds(path: &str, wanted: &str) -> bool {
    if !path.contains(wanted) {
        return false;
    }
    let (path, wanted): (Vec<&str>, Vec<&str>) = (path.split("::").collect(), wanted.split("::").collect());
    path.windows(wanted.len()).any(|segments| segments == wanted)
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The text with comments and the insides of strings and characters as spaces; line breaks stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep_lines = |out: &mut String, skipped: &[char]| out.extend(skipped.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"' | '#', ..] if at == 0 || !chars[at - 1].is_alphanumeric() && chars[at - 1] != '_' => raw_string(rest),
            ['"', ..] => quoted(rest, '"'),
            ['\'', '\\', ..] => quoted(rest, '\''),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            out.push(chars[at]);
            at += 1;
        } else {
            keep_lines(&mut out, &rest[..length]);
            at += length;
        }
    }
    out
}

fn block_comment(rest: &[char]) -> usize {
    let (mut level, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (level, at) = (level + 1, at + 2),
            ['*', '/', ..] => (level, at) = (level - 1, at + 2),
            _ => at += 1,
        }
        if level == 0 {
            break;
        }
    }
    at
}

/// Length of `r"..."` or `r#"..."#`; 0 for a raw identifier.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = 2 + hashes;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

fn quoted(rest: &[char], end: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != end {
        at += 1 + usize::from(rest[at] == '\\');
    }
    (at + 1).min(rest.len())
}

/// Code with the items under `#[cfg(test)]` as spaces.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let rest = &out[at..];
        let end = match rest.find(['{', ';']) {
            Some(start) if rest[start..].starts_with('{') => {
                let mut level = 0;
                let close = rest[start..].char_indices().find(|(_, c)| {
                    level += i32::from(*c == '{') - i32::from(*c == '}');
                    level == 0
                });
                close.map_or(rest.len(), |(offset, _)| start + offset + 1)
            }
            Some(semicolon) => semicolon + 1,
            None => rest.len(),
        };
        let blanked: String = rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out = format!("{}{blanked}{}", &out[..at], &out[at + end..]);
    }
    out
}
