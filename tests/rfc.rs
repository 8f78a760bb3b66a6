//! `docs/rfc.md` says of each requirement which test shows it, or why none does. This holds it to
//! that: a test that it names exists, a row has a test or a reason, and no RFC is forgotten. Of the
//! attacks in `docs/security.md` the same.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each has a section whose title begins with this.
const RFCS: &[&str] = &[
    "RFC 815",
    "RFC 1122",
    "RFC 1191",
    "RFC 1337",
    "RFC 2018",
    "RFC 2525",
    "RFC 2861",
    "RFC 2883",
    "RFC 3042",
    "RFC 3168",
    "RFC 3465",
    "RFC 3522",
    "RFC 4015",
    "RFC 4821",
    "RFC 4987",
    "RFC 5461",
    "RFC 5482",
    "RFC 5681",
    "RFC 5682",
    "RFC 5722",
    "RFC 5927",
    "RFC 5961",
    "RFC 6056",
    "RFC 6093",
    "RFC 6191",
    "RFC 6298",
    "RFC 6528",
    "RFC 6582",
    "RFC 6675",
    "RFC 6691",
    "RFC 6864",
    "RFC 6928",
    "RFC 6946",
    "RFC 7323",
    "RFC 7413",
    "RFC 7661",
    "RFC 7765",
    "RFC 8200",
    "RFC 8201",
    "RFC 8311",
    "RFC 8985",
    "RFC 9293",
    "RFC 9406",
    "RFC 9438",
    "RFC 9937",
    "draft-ietf-ccwg-bbr",
];

/// RFC 9293 numbers its requirements from 1 to these (its appendix B).
const LABELS: &[(&str, u32)] = &[("MUST", 69), ("SHLD", 31), ("REC", 1)];

/// Whether a row may wait for a part that is being built. `CORELANE_RFC_STRICT` in the environment
/// refuses them as well.
const PENDING_ALLOWED: bool = false;

/// The first cell of docs/security.md's table of limits.
const LIMITS: &str = "what";

/// Where counters have their names.
const SOURCES_OF_COUNTERS: &[&str] = &[
    "src/tcp/context.rs",
    "src/stack/counters.rs",
    "src/observe/snapshot.rs",
    "src/observe/table.rs",
    "src/services/http/limits.rs",
];

/// A row of a table: `| where | what is required | test |`.
#[derive(Debug)]
struct Row {
    line: usize,
    section: String,
    place: String,
    requirement: String,
    proof: String,
}

/// What stands in a row's last cell.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// Paths as `cargo test` prints them.
    Tests(Vec<String>),
    Reason,
    /// Who builds it, and if they are known the tests that will show it.
    Pending(Vec<String>),
}

#[test]
fn every_row_has_a_test_that_exists_or_a_reason() {
    let strict = !PENDING_ALLOWED || std::env::var_os("CORELANE_RFC_STRICT").is_some();
    let mut wrong = Vec::new();
    let mut pending = 0;
    for row in rows(&document()) {
        let mut complain = |what: &str| {
            wrong.push(format!("docs/rfc.md:{}: {}: {what}", row.line, row.place));
        };
        if row.place.is_empty() || row.requirement.is_empty() {
            complain("says nothing");
        }
        match proof(&row.proof) {
            Ok(Proof::Reason) => {}
            Ok(Proof::Pending(_)) if strict => complain(&row.proof),
            Ok(Proof::Pending(tests)) => {
                pending += 1;
                if !tests.is_empty() && tests.iter().all(|test| exists(test)) {
                    println!("docs/rfc.md:{}: its tests are there", row.line);
                }
            }
            Ok(Proof::Tests(tests)) => {
                for test in tests.iter().filter(|test| !exists(test)) {
                    complain(&format!("there is no test `{test}`"));
                }
            }
            Err(what) => complain(&what),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("{pending} rows are pending");
}

/// What a worker may hold, its limit and what is counted when it is met: the counters exist.
#[test]
fn every_limit_says_what_happens_when_it_is_met() {
    let document = fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    let lines = document.lines().enumerate();
    let table = lines.skip_while(|(_, line)| !line.starts_with(&format!("| {LIMITS} |")));
    let rows = table.skip(2).take_while(|(_, line)| line.starts_with('|'));
    let mut limits = 0;
    for (number, line) in rows {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, what, limit, _, met, ""] = cells[..] else {
            panic!("docs/security.md:{}: not four cells", number + 1);
        };
        limits += 1;
        for cell in [what, limit, met] {
            assert!(!cell.is_empty(), "docs/security.md:{}", number + 1);
        }
        let quoted = met.split('`').skip(1).step_by(2);
        for counter in quoted.filter(|it| it.contains('_') && !it.contains(' ')) {
            let known = SOURCES_OF_COUNTERS.iter().any(|path| {
                let source = fs::read_to_string(root().join(path)).expect(path);
                source.contains(&format!("{counter},"))
                    || source.contains(&format!("\"{counter}\""))
            });
            assert!(known, "docs/security.md:{}: no {counter}", number + 1);
        }
    }
    assert!(limits > 10);
}

/// The last of the cells of each row, of which there are four.
#[test]
fn every_attack_has_a_test_that_exists_or_a_reason() {
    let document = fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    let mut wrong = Vec::new();
    let mut attacks = 0;
    let mut is_of_limits = false;
    for (number, line) in document.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.len() < 2 || cells[1] == "attack" || cells[1].starts_with("---") {
            is_of_limits &= cells.len() >= 2 && cells[1] != "attack";
            continue;
        }
        is_of_limits |= cells[1] == LIMITS;
        if is_of_limits {
            continue;
        }
        attacks += 1;
        let [_, attack, defence, _, tests, ""] = cells[..] else {
            wrong.push(format!("docs/security.md:{}: not four cells", number + 1));
            continue;
        };
        let mut complain = |what: &str| {
            wrong.push(format!("docs/security.md:{}: {attack}: {what}", number + 1));
        };
        if attack.is_empty() || defence.is_empty() {
            complain("says nothing");
        }
        match proof(tests) {
            Ok(Proof::Tests(tests)) => {
                for test in tests.iter().filter(|test| !exists(test)) {
                    complain(&format!("there is no test `{test}`"));
                }
            }
            Ok(Proof::Reason) => {}
            Ok(Proof::Pending(_)) => complain("pending"),
            Err(what) => complain(&what),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(attacks > 0);
}

#[test]
fn every_rfc_has_a_section_with_rows() {
    let document = document();
    let sections: HashSet<String> = rows(&document).into_iter().map(|row| row.section).collect();
    let missing: Vec<_> = RFCS
        .iter()
        .filter(|rfc| {
            !sections.iter().any(|section| {
                section
                    .strip_prefix(**rfc)
                    .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
            })
        })
        .collect();
    assert!(
        missing.is_empty(),
        "no section, or an empty one: {missing:?}"
    );
}

/// Also none is said twice in one section: the second would hide that the first has no test.
#[test]
fn every_label_of_rfc_9293_has_a_row() {
    let document = document();
    let places: Vec<String> = rows(&document)
        .into_iter()
        .filter(|row| row.section.starts_with("RFC 9293"))
        .map(|row| row.place)
        .collect();
    let mut missing = Vec::new();
    for (kind, last) in LABELS {
        for label in (1..=*last).map(|number| format!("{kind}-{number}")) {
            if !places
                .iter()
                .any(|place| place.split([' ', ',']).any(|word| word == label))
            {
                missing.push(label);
            }
        }
    }
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn no_requirement_is_said_twice() {
    let mut seen = HashSet::new();
    let twice: Vec<String> = rows(&document())
        .into_iter()
        .filter(|row| {
            !seen.insert((
                row.section.clone(),
                row.place.clone(),
                row.requirement.clone(),
            ))
        })
        .map(|row| format!("docs/rfc.md:{}: {}", row.line, row.requirement))
        .collect();
    assert!(twice.is_empty(), "\n{}", twice.join("\n"));
}

/// The checks above find what is wrong, rather than nothing at all.
#[test]
fn the_checks_can_fail() {
    for there in [
        "tcp::tests::window::the_peers_window_is_never_exceeded",
        "tcp::seq::tests::before_is_the_sign_of_the_distance",
        "wire::parse::tests::headers::martians",
        "stack: an_echo_over_a_perfect_wire",
        "e2e: streams::nc_and_sha256sum_agree",
        "xdp_program: verdicts::served_flows_are_redirected",
    ] {
        assert!(exists(there), "{there}");
    }
    for not_there in [
        "tcp::tests::window::no_such_test",
        "tcp::tests::no_such_file::the_peers_window_is_never_exceeded",
        // It is in another file.
        "tcp::tests::close::the_peers_window_is_never_exceeded",
        // A function, but no test.
        "tcp::tests::window::peer_window",
        "stack: no_such_test",
        "no_such_crate: an_echo_over_a_perfect_wire",
        "the_peers_window_is_never_exceeded",
        "",
    ] {
        assert!(!exists(not_there), "{not_there}");
    }
    assert_eq!(
        proof("`a::b`, `stack: c`"),
        Ok(Proof::Tests(vec!["a::b".into(), "stack: c".into()]))
    );
    assert_eq!(
        proof("`a::b`; only without SACK"),
        Ok(Proof::Tests(vec!["a::b".into()]))
    );
    assert_eq!(proof("reason: it is obsolete"), Ok(Proof::Reason));
    assert_eq!(proof("pending: loss"), Ok(Proof::Pending(vec![])));
    assert_eq!(
        proof("pending: loss: `a::b`"),
        Ok(Proof::Pending(vec!["a::b".into()]))
    );
    for nothing in [
        "",
        "reason:",
        "pending:",
        "pending: loss: a::b",
        "a::b",
        "`a::b` and more",
        "``",
    ] {
        assert!(proof(nothing).is_err(), "{nothing}");
    }
    let table = "## RFC 1\n\n| where | what | test |\n|---|---|---|\n| 3.1 | Yes | `a::b` |\n";
    let found = rows(table);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].section.as_str()), (5, "RFC 1"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/rfc.md")).expect("docs/rfc.md")
}

/// The rows of all tables; the first two lines of each are its head.
fn rows(document: &str) -> Vec<Row> {
    let mut section = String::new();
    let mut in_table = 0;
    let mut rows = Vec::new();
    for (number, line) in document.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let Some(cells) = line.strip_prefix('|') else {
            in_table = 0;
            continue;
        };
        in_table += 1;
        if in_table <= 2 {
            continue;
        }
        let cells: Vec<&str> = cells
            .trim_end()
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let cell = |i: usize| cells.get(i).copied().unwrap_or_default().to_owned();
        let is_whole = cells.len() == 3;
        rows.push(Row {
            line: number + 1,
            section: section.clone(),
            place: cell(0),
            requirement: cell(1),
            proof: if is_whole { cell(2) } else { String::new() },
        });
    }
    rows
}

/// Tests in backquotes, separated by commas, and if need be a remark behind a semicolon; or
/// `reason: ...`; or `pending: name`, with the tests to come behind another colon.
fn proof(cell: &str) -> Result<Proof, String> {
    if let Some(reason) = cell.strip_prefix("reason:") {
        let is_empty = reason.trim().is_empty();
        return if is_empty {
            Err("an empty reason".into())
        } else {
            Ok(Proof::Reason)
        };
    }
    let Some(pending) = cell.strip_prefix("pending:") else {
        return tests_of(cell).map(Proof::Tests);
    };
    match pending.trim().split_once(": ") {
        Some((_, tests)) => tests_of(tests).map(Proof::Pending),
        None if pending.trim().is_empty() => Err("pending for whom?".into()),
        None => Ok(Proof::Pending(Vec::new())),
    }
}

fn tests_of(cell: &str) -> Result<Vec<String>, String> {
    let tests = cell.split(';').next().unwrap_or_default();
    tests
        .split(',')
        .map(|test| {
            test.trim()
                .strip_prefix('`')
                .and_then(|test| test.strip_suffix('`'))
                .filter(|test| !test.is_empty() && !test.contains('`'))
                .map(str::to_owned)
                .ok_or_else(|| format!("neither test nor reason: \"{cell}\""))
        })
        .collect()
}

/// Whether there is such a test: `module::tests::name` of the library, or `file: name` and
/// `directory: module::name` below `tests/`.
fn exists(test: &str) -> bool {
    let (directory, path) = match test.split_once(": ") {
        Some((target, path)) => (root().join("tests"), format!("{target}::{path}")),
        None => (root().join("src"), test.to_owned()),
    };
    let mut modules: Vec<&str> = path.split("::").collect();
    let Some(name) = modules.pop() else {
        return false;
    };
    if modules.is_empty() {
        return false;
    }
    source(&directory, &modules).is_some_and(|source| has_test(&source, name))
}

/// The file of a module; the last one may be inside the file of the one before it.
fn source(directory: &Path, modules: &[&str]) -> Option<String> {
    let path = directory.join(modules.join("/"));
    [
        path.with_extension("rs"),
        path.join("mod.rs"),
        path.join("main.rs"),
    ]
    .iter()
    .find_map(|file| fs::read_to_string(file).ok())
    .or_else(|| {
        let (last, outer) = modules.split_last()?;
        let outer = source(directory, outer)?;
        let (_, inner) = outer.split_once(&format!("mod {last} {{"))?;
        Some(inner.to_owned())
    })
}

/// Whether `source` has a function `name` with the attribute `#[test]` and without `#[ignore]`;
/// `proptest!` has them as well.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_it = |line: &str| {
        line.strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().any(|(at, line)| {
        let above: Vec<&str> = lines[..at]
            .iter()
            .rev()
            .copied()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
            .collect();
        is_it(line)
            && above.contains(&"#[test]")
            && !above.iter().any(|line| line.starts_with("#[ignore"))
    })
}
