//! The rules of ARCHITECTURE.md that a machine can check.
//!
//! Each rule is one function from files to complaints, and has a test that plants what it must find. A rule
//! reads code without its comments and string contents, so that words there are free.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use harness::source::{code_of, names, without_tests, words};

/// A file above this many lines has to say why, in a header line that starts with `LONG_BECAUSE`.
const FILE_LINES_MAX: usize = 600;
const LONG_BECAUSE: &str = "//! Long because";

/// The folders at the top, and nothing else but single files and folders that start with a dot.
const TOP_FOLDERS: [&str; 6] = ["manager", "worker", "common", "cli", "tests", "deploy"];

/// Where the functions live that decide without doing: pure as a folder, or as one file.
const PURE: [&str; 10] = [
    "manager/src/decide/",
    "manager/src/dispatch/assignments.rs",
    "manager/src/dispatch/mesh.rs",
    "manager/src/dispatch/payloads.rs",
    "worker/src/mesh/table.rs",
    "worker/src/task/next_step.rs",
    "worker/src/mesh/names.rs",
    "worker/src/mesh/dns/given.rs",
    "worker/src/mesh/dns/message.rs",
    "worker/src/mesh/dns/resolv.rs",
];

/// What pure code has no use for: waiting, clocks, chance, the outside world, logging. Ids and times reach it
/// as arguments, reasons leave it as data.
#[rustfmt::skip]
const IMPURE: [&str; 29] = [
    "async", "await", "tokio", "futures_util", "Clock", "SystemClock", "Instant", "SystemTime", "OffsetDateTime",
    "SystemRandom", "rand", "getrandom", "fs", "File", "io", "TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs",
    "env", "process", "thread", "tracing", "println", "eprintln", "info", "warn", "debug", "error",
];
/// Of these only the macro is a log line; the plain word may be a field or a variable.
const IMPURE_AS_MACRO: [&str; 4] = ["info", "warn", "debug", "error"];

/// One owner per outside thing: the crate's name in code, and where it may be named.
const OWNERS: [(&str, &[&str]); 9] = [
    ("openraft", &["manager/src/raft"]),
    ("redb", &["manager/src/raft"]),
    ("foca", &["common/src/gossip"]),
    ("quinn", &["common/src/transport", "common/src/identity"]),
    ("rustls", &["common/src/transport", "common/src/identity", "tests/certificates/"]),
    ("tokio_rustls", &["common/src/transport"]),
    ("hickory_proto", &["worker/src/mesh/dns/"]),
    ("bincode", &["common/src/wire/codec.rs"]),
    ("bollard", &["worker/src/runtime/docker/", "manager/tests/", "tests/"]),
];

/// Which of our own crates each may depend on.
const MAY_KNOW: [(&str, &[&str]); 4] = [
    ("common", &[]),
    ("manager", &["common"]),
    ("worker", &["common"]),
    ("cli", &["common", "manager", "worker"]),
];

struct SourceFile {
    /// From the top of the workspace, with `/`.
    path: String,
    text: String,
}

type Complaints = Vec<String>;

#[test]
fn the_workspace_is_tidy() {
    let top = top_folder();
    let files = tracked_files(&top);
    let paths: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let rules = [
        pure_code_is_pure(&files),
        each_outside_thing_has_one_owner(&files),
        crates_depend_downwards(&files),
        commands_talk_to_the_api(&files),
        long_files_say_why(&files),
        sources_open_with_a_header(&files),
        links_lead_somewhere(&files, &paths),
        nothing_is_unsafe(&files),
        text_is_about_the_product(&files),
        top_level_is_fixed(&paths),
        ci_runs_the_test_command_of_the_readme(&files),
    ];
    let complaints = rules.concat();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn pure_code_is_pure(files: &[SourceFile]) -> Complaints {
    let mut complaints = Vec::new();
    let is_test =
        |path: &str| path.ends_with("_test.rs") || path.contains("/tests/") || path.ends_with("/tests.rs");
    for file in rust(files).filter(|file| is_within(&file.path, &PURE) && !is_test(&file.path)) {
        let code = code_of(&file.text);
        for (number, line) in without_tests(&code).lines().enumerate() {
            for word in IMPURE {
                let found = if IMPURE_AS_MACRO.contains(&word) {
                    words(line).any(|(at, found)| found == word && line[at + word.len()..].starts_with('!'))
                } else {
                    names(line, word)
                };
                if found {
                    complaints.push(format!("{}:{}: pure code names `{word}`", file.path, number + 1));
                }
            }
        }
    }
    complaints
}

fn each_outside_thing_has_one_owner(files: &[SourceFile]) -> Complaints {
    let mut complaints = Vec::new();
    for file in rust(files).filter(|file| file.path != "tests/tidy.rs") {
        for (number, line) in code_of(&file.text).lines().enumerate() {
            for (thing, owners) in OWNERS {
                if names(line, thing) && !is_within(&file.path, owners) {
                    complaints.push(format!(
                        "{}:{}: names `{thing}`, which belongs to {}",
                        file.path,
                        number + 1,
                        owners.join(" and ")
                    ));
                }
            }
        }
    }
    complaints
}

fn crates_depend_downwards(files: &[SourceFile]) -> Complaints {
    let ours = MAY_KNOW.map(|(name, _)| name);
    let mut complaints = Vec::new();
    for (name, allowed) in MAY_KNOW {
        let manifest = format!("{name}/Cargo.toml");
        let Some(file) = files.iter().find(|file| file.path == manifest) else {
            complaints.push(format!("{manifest} is missing"));
            continue;
        };
        for dependency in dependencies(&file.text) {
            let known = if dependency == "swarm" { "cli" } else { dependency };
            if ours.contains(&known) && !allowed.contains(&known) {
                complaints.push(format!("{manifest}: `{name}` may not depend on `{dependency}`"));
            }
        }
    }
    complaints
}

/// In the program only `daemon/` links the parts of a node; commands are clients like any other.
fn commands_talk_to_the_api(files: &[SourceFile]) -> Complaints {
    let mut complaints = Vec::new();
    for file in rust(files).filter(|file| file.path.starts_with("cli/src/")) {
        if is_within(&file.path, &["cli/src/daemon/", "cli/src/daemon.rs"]) {
            continue;
        }
        for (number, line) in code_of(&file.text).lines().enumerate() {
            for name in ["manager", "worker"] {
                let named = words(line).any(|(at, word)| {
                    let (before, after) = (&line[..at], &line[at + word.len()..]);
                    let as_path = after.starts_with("::") && !before.ends_with("::");
                    let as_use = before.trim_start() == "use " && after.starts_with(';');
                    word == name && (as_path || as_use)
                });
                if named {
                    complaints.push(format!("{}:{}: a command names `{name}`", file.path, number + 1));
                }
            }
        }
    }
    complaints
}

fn long_files_say_why(files: &[SourceFile]) -> Complaints {
    rust(files)
        .filter(|file| file.text.lines().count() > FILE_LINES_MAX)
        .filter(|file| !file.text.lines().any(|line| line.starts_with(LONG_BECAUSE)))
        .map(|file| {
            let lines = file.text.lines().count();
            format!("{}: {lines} lines: split it, or say why in a line `{LONG_BECAUSE} …`", file.path)
        })
        .collect()
}

fn sources_open_with_a_header(files: &[SourceFile]) -> Complaints {
    rust(files)
        .filter(|file| !file.text.trim().is_empty() && !file.text.starts_with("//!"))
        .map(|file| format!("{}: no `//!` header that says which question it answers", file.path))
        .collect()
}

fn links_lead_somewhere(files: &[SourceFile], paths: &BTreeSet<String>) -> Complaints {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = Path::new(&file.path).parent().expect("a file lies in a folder");
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if target.is_empty() { file.path.clone() } else { normal(&folder.join(target)) };
            let below = format!("{}/", target.trim_end_matches('/'));
            if !paths.contains(&target) && !paths.iter().any(|path| path.starts_with(&below)) {
                complaints.push(format!("{}: the link to `{link}` leads nowhere", file.path));
            } else if !anchor.is_empty() && !has_heading(files, &target, anchor) {
                complaints.push(format!("{}: no heading for the link to `{link}`", file.path));
            }
        }
    }
    complaints
}

fn nothing_is_unsafe(files: &[SourceFile]) -> Complaints {
    let mut complaints = Vec::new();
    for file in rust(files) {
        for (number, line) in code_of(&file.text).lines().enumerate() {
            if names(line, "unsafe") {
                complaints.push(format!("{}:{}: `unsafe` is forbidden", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Nobody's own folders and no private package host: the text has to be true on every machine.
fn text_is_about_the_product(files: &[SourceFile]) -> Complaints {
    let folders = ["work", "home", "Users", "root"].map(|folder| format!("/{folder}/"));
    let hosts = [concat!("arti", "factory"), concat!("jf", "rog"), concat!("index.", "crates.io")];
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            for folder in &folders {
                let absolute = line.match_indices(folder.as_str()).any(|(at, _)| {
                    let within = |before: char| before.is_alphanumeric() || "_-.~}>*".contains(before);
                    let name = words(&line[at + folder.len()..]).next().map_or("", |(_, name)| name);
                    // One letter is nobody's name: an example in a test.
                    !line[..at].ends_with(within) && name.len() > 1
                });
                if absolute {
                    complaints.push(format!("{}:{}: a machine's own folder", file.path, number + 1));
                }
            }
            if hosts.iter().any(|host| line.contains(host)) {
                complaints.push(format!("{}:{}: a private package host", file.path, number + 1));
            }
        }
    }
    complaints
}

fn top_level_is_fixed(paths: &BTreeSet<String>) -> Complaints {
    let folders: BTreeSet<&str> = paths.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
    folders
        .into_iter()
        .filter(|folder| !folder.starts_with('.') && !TOP_FOLDERS.contains(folder))
        .map(|folder| format!("{folder}/: not one of the folders at the top: {}", TOP_FOLDERS.join(" ")))
        .collect()
}

fn ci_runs_the_test_command_of_the_readme(files: &[SourceFile]) -> Complaints {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let Some(command) = text("README.md").lines().map(str::trim).find(|line| line.starts_with("cargo test"))
    else {
        return vec!["README.md: no line that starts with `cargo test`".into()];
    };
    let command = command.split('#').next().unwrap_or_default().trim();
    let runs = text(".ci/run").lines().any(|line| line.starts_with("step ") && line.ends_with(command));
    if runs { Vec::new() } else { vec![format!(".ci/run: no step runs `{command}`, as README.md says")] }
}

// Reading.

fn top_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the workspace").to_path_buf()
}

/// Every text file that git knows or would add.
fn tracked_files(top: &Path) -> Vec<SourceFile> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top)
        .output()
        .expect("git is installed");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let files: Vec<SourceFile> = String::from_utf8(listed.stdout)
        .expect("our file names are UTF-8")
        .split_terminator('\0')
        .filter_map(|path| {
            let bytes = std::fs::read(top.join(path)).ok()?; // listed, and removed from the working folder
            Some(SourceFile { path: path.into(), text: String::from_utf8(bytes).unwrap_or_default() })
        })
        .collect();
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the list of files is whole");
    files
}

fn rust(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Whether a path is one of these files, or lies in one of these folders.
fn is_within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        path.strip_prefix(place.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The keys of every `[dependencies]`-like table of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut within = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            within = table.ends_with("dependencies");
            found.extend(table.rsplit_once("dependencies.").map(|(_, name)| name));
        } else if let Some((key, _)) = line.split_once(['=', '.']).filter(|_| within) {
            found.push(key.trim());
        }
    }
    found
}

/// The targets of `[text](target)` outside code blocks.
fn links(markdown: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if !in_block {
            let targets = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
            found.extend(targets);
        }
    }
    found
}

fn has_heading(files: &[SourceFile], path: &str, anchor: &str) -> bool {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    files.iter().filter(|file| file.path == path).any(|file| {
        file.text
            .lines()
            .filter(|line| line.starts_with('#'))
            .any(|line| slug(line.trim_start_matches('#')) == anchor)
    })
}

/// `a/../b` as `b`.
fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part.to_str().expect("our file names are UTF-8")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

mod planted {
    //! Every rule finds what is planted for it, and leaves its neighbour alone.

    use super::*;

    fn file(path: &str, text: &str) -> Vec<SourceFile> {
        vec![SourceFile { path: path.into(), text: text.into() }]
    }

    fn tree(files: &[(&str, &str)]) -> Vec<SourceFile> {
        files.iter().flat_map(|(path, text)| file(path, text)).collect()
    }

    #[test]
    fn impure_decisions() {
        let bad = [
            "//! H\nasync fn decide() {}",
            "//! H\nlet now = Instant::now();",
            "//! H\nuse std::fs;",
            "//! H\nwarn!(node, \"late\");",
            "//! H\nlet x = rand::random();",
        ];
        for text in bad {
            for path in ["manager/src/decide/roles.rs", "worker/src/task/next_step.rs"] {
                assert_eq!(pure_code_is_pure(&file(path, text)).len(), 1, "{path}: {text}");
            }
            assert!(pure_code_is_pure(&file("manager/src/control/leader.rs", text)).is_empty());
        }
        let good =
            "//! No async here.\nlet error = \"tokio\"; // Instant\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert!(pure_code_is_pure(&file("manager/src/decide/roles.rs", good)).is_empty());
        assert!(pure_code_is_pure(&file("manager/src/decide/roles_test.rs", bad[0])).is_empty());
    }

    #[test]
    fn things_outside_their_owner() {
        for (thing, owners) in OWNERS {
            let text = format!("use {thing}::Something;");
            assert_eq!(each_outside_thing_has_one_owner(&file("cli/src/main.rs", &text)).len(), 1, "{thing}");
            let home = format!("{}{}", owners[0], if owners[0].ends_with(".rs") { "" } else { "/log.rs" });
            assert!(each_outside_thing_has_one_owner(&file(&home, &text)).is_empty(), "{home}");
        }
        let beside = "use bincode::config; // as in codec.rs";
        assert_eq!(each_outside_thing_has_one_owner(&file("common/src/wire/codec_old.rs", beside)).len(), 1);
        assert!(each_outside_thing_has_one_owner(&file("cli/src/main.rs", "// openraft decides")).is_empty());
    }

    #[test]
    fn crates_that_know_too_much() {
        let with = |worker: &str| {
            let empty = "[dependencies]\nserde = \"1\"\n";
            tree(&[
                ("common/Cargo.toml", empty),
                ("manager/Cargo.toml", "[dependencies]\ncommon = { workspace = true }\n"),
                ("worker/Cargo.toml", worker),
                ("cli/Cargo.toml", "[dependencies]\nmanager.workspace = true\nworker.workspace = true\n"),
            ])
        };
        assert!(crates_depend_downwards(&with("[dependencies]\ncommon.workspace = true\n")).is_empty());
        for bad in [
            "[dependencies]\nmanager = { path = \"../manager\" }\n",
            "[dev-dependencies]\nmanager.workspace = true\n",
            "[target.'cfg(unix)'.dependencies.manager]\npath = \"../manager\"\n",
            "[dependencies]\nswarm = { path = \"../cli\" }\n",
        ] {
            assert_eq!(crates_depend_downwards(&with(bad)).len(), 1, "{bad}");
        }
        assert_eq!(crates_depend_downwards(&[]).len(), 4, "a manifest that is gone is noticed");
    }

    #[test]
    fn commands_that_reach_around_the_api() {
        for bad in ["use manager::store;", "let role = worker::agent();", "use worker;"] {
            assert_eq!(commands_talk_to_the_api(&file("cli/src/command/node.rs", bad)).len(), 1, "{bad}");
            assert!(commands_talk_to_the_api(&file("cli/src/daemon/mod.rs", bad)).is_empty(), "{bad}");
        }
        let good = "let manager = node.manager; let x = Role::worker(); use crate::output::manager::Row;";
        assert!(commands_talk_to_the_api(&file("cli/src/command/node.rs", good)).is_empty());
    }

    #[test]
    fn long_files() {
        let long = "//! H\n".to_owned() + &"x\n".repeat(FILE_LINES_MAX);
        assert_eq!(long_files_say_why(&file("common/src/a.rs", &long)).len(), 1);
        let excused = format!("{LONG_BECAUSE} the table is one.\n{long}");
        assert!(long_files_say_why(&file("common/src/a.rs", &excused)).is_empty());
        assert!(long_files_say_why(&file("common/src/a.rs", &"x\n".repeat(FILE_LINES_MAX))).is_empty());
    }

    #[test]
    fn missing_headers() {
        assert_eq!(sources_open_with_a_header(&file("cli/src/main.rs", "fn main() {}")).len(), 1);
        assert!(
            sources_open_with_a_header(&file("cli/src/main.rs", "//! The program.\nfn main() {}")).is_empty()
        );
    }

    #[test]
    fn dead_links() {
        let files = tree(&[
            (
                "README.md",
                "[map](ARCHITECTURE.md) [part](ARCHITECTURE.md#where-things-are) [d](deploy) [w](https://a.b)",
            ),
            ("ARCHITECTURE.md", "## Where things are\n[self](#where-things-are)\n```\n[no](link)\n```"),
            ("deploy/README.md", "[up](../README.md)"),
        ]);
        let paths =
            |files: &[SourceFile]| files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
        assert_eq!(links_lead_somewhere(&files, &paths(&files)), Complaints::new());
        for bad in ["[x](gone.md)", "[x](#no-such-heading)", "[x](deploy/gone.md)"] {
            let files = tree(&[("README.md", bad), ("deploy/a.md", "")]);
            assert_eq!(links_lead_somewhere(&files, &paths(&files)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn unsafe_code() {
        assert_eq!(nothing_is_unsafe(&file("common/src/a.rs", "let x = unsafe { *p };")).len(), 1);
        assert!(
            nothing_is_unsafe(&file("common/src/a.rs", "// unsafe\nlet x = \"unsafe\"; let unsafely = 1;"))
                .is_empty()
        );
    }

    #[test]
    fn somebodys_machine() {
        let folder = format!("cd /{}/me/swarm", "home");
        assert_eq!(text_is_about_the_product(&file("README.md", &folder)).len(), 1);
        let example = format!("(user(7), \"/{}/a\")", "home");
        assert!(text_is_about_the_product(&file("cli/src/paths.rs", &example)).is_empty());
        let host = format!("https://{}.example.com", concat!("arti", "factory"));
        assert_eq!(text_is_about_the_product(&file(".cargo/config.toml", &host)).len(), 1);
        assert!(
            text_is_about_the_product(&file("README.md", "/var/lib/swarm, net/work/a, ~/home")).is_empty()
        );
    }

    #[test]
    fn folders_at_the_top() {
        let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
        assert!(
            top_level_is_fixed(&paths(&["Cargo.toml", ".ci/run", "cli/src/main.rs", "deploy/a"])).is_empty()
        );
        assert_eq!(top_level_is_fixed(&paths(&["scripts/build.sh", "scripts/b", "docs/a.md"])).len(), 2);
    }

    #[test]
    fn a_test_command_that_ci_does_not_run() {
        let with = |readme: &str, ci: &str| {
            ci_runs_the_test_command_of_the_readme(&tree(&[("README.md", readme), (".ci/run", ci)])).len()
        };
        let readme = "```sh\ncargo test --workspace  # all of them\n```";
        assert_eq!(with(readme, "step 'test' cargo test --workspace\n"), 0);
        assert_eq!(with(readme, "step 'test' cargo test --workspace --lib\n"), 1);
        assert_eq!(with(readme, "# cargo test --workspace\n"), 1);
        assert_eq!(with("", "step 'test' cargo test --workspace\n"), 1);
    }
}
