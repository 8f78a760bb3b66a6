//! "May use" points downward only (ARCHITECTURE.md): this reads the `use` lines and paths.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and what it may use of the crate, itself aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("wire", &[]),
    ("memory", &[]),
    ("ring", &["time", "memory"]),
    ("flow_table", &["wire", "memory"]),
    ("timer_wheel", &["time", "memory"]),
    ("tcp", &["time", "wire"]),
    (
        "stack",
        &[
            "time",
            "wire",
            "memory",
            "ring",
            "flow_table",
            "timer_wheel",
            "tcp",
        ],
    ),
    ("services", &["time", "wire", "ring", "tcp", "stack"]),
    ("xdp", &["wire"]),
    ("worker", &["time", "wire", "ring", "tcp", "stack"]),
];

/// What stands above all of those.
const TOP: &[&str] = &["config", "load", "observe", "server"];

#[test]
fn layers_use_only_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all: Vec<&str> = LAYERS
        .iter()
        .map(|(layer, _)| *layer)
        .chain(TOP.iter().copied())
        .collect();
    let mut wrong = Vec::new();
    for &(layer, allowed) in LAYERS {
        let files = files_of(&src, layer);
        assert!(!files.is_empty(), "no such layer: {layer}");
        let forbidden = all
            .iter()
            .filter(|&&module| module != layer && !allowed.contains(&module));
        for (file, module) in files
            .iter()
            .flat_map(|file| forbidden.clone().map(move |m| (file, m)))
        {
            for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
                if names(line.split("//").next().unwrap_or_default(), module) {
                    wrong.push(format!("{}:{}: {module}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "layers that reach upward:\n{}",
        wrong.join("\n")
    );
}

/// Time is CLOCK_MONOTONIC, which nobody can set: whoever steps the wall clock steps nothing of ours.
#[test]
fn nothing_reads_the_wall_clock() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let reads = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"];
            if reads.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `unsafe` is where the design allows it, and nowhere else.
#[test]
fn unsafe_code_is_where_it_may_be() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: Vec<PathBuf> = rust_files(&src)
        .into_iter()
        .filter(|file| {
            fs::read_to_string(file)
                .unwrap()
                .contains("allow(unsafe_code")
        })
        .map(|file| file.strip_prefix(&src).unwrap().to_owned())
        .collect();
    for file in &allowed {
        let place = file.to_str().unwrap();
        assert!(
            place == "memory/huge_pages.rs"
                || place.starts_with("ring/umem")
                || place.starts_with("ring/xsk")
                || place.starts_with("xdp"),
            "{place} allows unsafe code"
        );
    }
}

/// Whether the code names `crate::module` or takes it from a `use crate::{...}`.
fn names(code: &str, module: &str) -> bool {
    ["crate::", "super::super::"].iter().any(|root| {
        code.match_indices(&format!("{root}{module}"))
            .any(|(at, found)| {
                !code[at + found.len()..]
                    .starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
            })
    })
}

fn files_of(src: &Path, layer: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&src.join(layer));
    let file = src.join(format!("{layer}.rs"));
    if file.exists() {
        files.push(file);
    }
    files
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
