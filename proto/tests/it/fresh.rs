//! Compiles every `.proto` file with protox (no protoc) and compares the outcome with `src/generated/`.
//!
//! `cargo xtask codegen` runs this test with `ATOLL_CODEGEN=write`, which writes instead of comparing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            proto_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
}

fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |path: PathBuf| {
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            fs::read(&path).unwrap(),
        )
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(entry.unwrap().path()))
        .collect()
}

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut protos = Vec::new();
    proto_files(&root.join("atoll"), &mut protos);
    let descriptors = protox::compile(&protos, [root]).unwrap();
    // Reflection serves these bytes; spans of source are of no use there.
    let mut served = descriptors.clone();
    for file in &mut served.file {
        file.source_code_info = None;
    }
    fs::write(into.join("descriptors.bin"), served.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(into)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
}

#[test]
fn generated_code_is_what_the_protos_compile_to() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    if std::env::var("ATOLL_CODEGEN").is_ok_and(|mode| mode == "write") {
        fs::create_dir_all(&committed).unwrap();
        for (name, bytes) in files_in(fresh.path()) {
            fs::write(committed.join(name), bytes).unwrap();
        }
        return;
    }
    let (committed, fresh) = (files_in(&committed), files_in(fresh.path()));
    assert!(
        committed.keys().eq(fresh.keys()),
        "src/generated/ has other files than the protos make; run `cargo xtask codegen`"
    );
    for (name, bytes) in fresh {
        assert!(
            committed[&name] == bytes,
            "src/generated/{name} is stale; run `cargo xtask codegen`"
        );
    }
}
