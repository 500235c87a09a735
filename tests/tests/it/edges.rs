//! Who may know whom: `docs/architecture.md` and the manifests say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate to folder and to the crates of ours that it may use; `None` for anything.
type Table = BTreeMap<String, (String, Option<BTreeSet<String>>)>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documented() -> Table {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, section) = text.split_once("## Crates and who may know whom").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| crate "));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, folder, _, may_use] = cells.as_slice() else {
            panic!("a row of four cells, not {row}")
        };
        let may_use = match *may_use {
            "anything" => None,
            "–" => Some(BTreeSet::new()),
            names => Some(names.split(", ").map(str::to_owned).collect()),
        };
        (
            name.to_string(),
            (folder.trim_matches('`').trim_end_matches('/').to_owned(), may_use),
        )
    })
    .collect()
}

/// Crate to folder and to the crates of ours that it uses outside its tests.
fn actual() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let ours: BTreeSet<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let folder = |manifest: &Path| {
        let folder = manifest
            .parent()
            .unwrap()
            .strip_prefix(fs::canonicalize(root()).unwrap())
            .unwrap();
        folder.to_string_lossy().into_owned()
    };
    let edges = |package: &cargo_metadata::Package| {
        let used = package
            .dependencies
            .iter()
            .filter(|used| used.kind != DependencyKind::Development);
        used.map(|used| used.name.clone())
            .filter(|name| ours.contains(name))
            .collect()
    };
    let packages = metadata.packages.iter();
    packages
        .map(|package| {
            let manifest = fs::canonicalize(&package.manifest_path).unwrap();
            (package.name.to_string(), (folder(&manifest), edges(package)))
        })
        .collect()
}

#[test]
fn every_crate_stands_in_the_table_with_its_folder() {
    let documented: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, (folder, _))| (name, folder))
        .collect();
    let actual: BTreeMap<_, _> = actual()
        .into_iter()
        .map(|(name, (folder, _))| (name, folder))
        .collect();
    assert_eq!(documented, actual);
}

#[test]
fn every_edge_stands_in_the_table_and_every_one_there_is_used() {
    let (documented, actual) = (documented(), actual());
    for (name, (_, edges)) in &actual {
        if let Some(may_use) = &documented[name].1 {
            assert_eq!(
                edges, may_use,
                "what `{name}` uses, and what docs/architecture.md lets it use"
            );
        }
    }
}

#[test]
fn nobody_but_they_uses_the_dev_crates() {
    let dev_crates = ["benches", "fuzz", "system-tests", "xtask"];
    for (name, (_, edges)) in actual() {
        if dev_crates.contains(&name.as_str()) {
            continue;
        }
        for dev in dev_crates {
            assert!(!edges.contains(dev), "`{name}` uses `{dev}`");
        }
    }
}

#[test]
fn the_services_never_depend_on_one_another() {
    let actual = actual();
    let services = ["exchange", "billing", "island-agent"];
    for service in services {
        for other in services {
            assert!(!actual[service].1.contains(other), "`{service}` uses `{other}`");
        }
    }
}
