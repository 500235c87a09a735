//! Models get into the store whole and verified, or not at all.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

use candle_core::quantized::gguf_file::Value;
use island_agent::models::manifest::{Manifest, ModelId};
use island_agent::models::progress::{Activity, Progress, Silent, Update};
use island_agent::models::store::{Depth, InstallError, InstalledModel, ModelStore};
use runner::gguf::Header;
use tempfile::TempDir;
use tokenizers::Tokenizer;

use crate::checkpoint;
use crate::hub::{Manners, serve};

/// A store in a folder of its own, and a checkpoint to put into it.
struct Room {
    folder: TempDir,
    store: ModelStore,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        checkpoint::write(&folder.path().join("tiny.gguf"));
        let store = ModelStore::at(folder.path().join("models")).with_python("no-such-python".to_owned());
        Self { folder, store }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tiny.gguf")
    }

    fn file_source(&self) -> String {
        format!("file:{}", self.file().display())
    }

    fn manifest(&self, sources: &[String]) -> Manifest {
        Manifest::parse(&checkpoint::manifest_text(&self.file(), sources)).unwrap()
    }

    fn install(&self, manifest: &Manifest) -> Result<InstalledModel, InstallError> {
        self.store.ensure_installed(manifest, &mut Silent)
    }

    /// The reason why an installation fails; asserts that it leaves nothing behind.
    fn refused(&self, manifest: &Manifest) -> String {
        let error = self.install(manifest).unwrap_err();
        let left: Vec<_> = fs::read_dir(self.store.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "nothing is left behind");
        error.to_string()
    }
}

fn assert_complete(model: &InstalledModel) {
    let tokenizer = Tokenizer::from_file(model.tokenizer()).unwrap();
    let encoded = tokenizer.encode("<|im_start|>he<|im_end|>", false).unwrap();
    assert_eq!(encoded.get_ids(), [257, 256, 258]);
    assert_eq!(
        fs::read_to_string(model.chat_template()).unwrap(),
        "{{ messages[0].content }}"
    );
    let header = Header::read(&model.weights());
    assert!(header.is_ok());
}

#[test]
fn a_local_file_is_installed_and_found_again() {
    let room = Room::new();
    let manifest = room.manifest(&[room.file_source()]);
    assert_complete(&room.install(&manifest).unwrap());
    fs::remove_file(room.file()).unwrap();
    assert_complete(&room.install(&manifest).unwrap());
    room.store.check(&manifest, Depth::Full, &mut Silent).unwrap();
}

#[test]
fn a_damaged_or_half_written_model_is_installed_again() {
    let room = Room::new();
    let manifest = room.manifest(&[room.file_source()]);
    let model = room.install(&manifest).unwrap();
    // One flipped byte, with the size unchanged.
    let mut bytes = fs::read(model.weights()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(model.weights(), bytes).unwrap();
    let error = room.store.check(&manifest, Depth::Full, &mut Silent);
    assert!(error.unwrap_err().to_string().contains("installed weights"));
    assert_complete(&room.install(&manifest).unwrap());
    // Files that are missing, with good weights: these are kept, the source is not needed.
    fs::remove_file(room.file()).unwrap();
    fs::remove_file(model.tokenizer()).unwrap();
    assert_complete(&room.install(&manifest).unwrap());
    // What a killed installation leaves behind goes with the next one.
    let leftover = room.store.root().join(".tiny.new-dead");
    fs::create_dir(&leftover).unwrap();
    fs::remove_file(model.chat_template()).unwrap();
    assert_complete(&room.install(&manifest).unwrap());
    assert!(!leftover.exists());
}

#[test]
fn weights_that_are_not_the_manifests_are_refused() {
    let room = Room::new();
    let good = room.manifest(&[room.file_source()]);
    let mut wrong = good.clone();
    wrong.weights_sha256 = "ab".repeat(32);
    let message = room.refused(&wrong);
    assert!(message.contains("the manifest says abab"), "{message}");
    assert!(message.contains("copy the file with SHA-256 abab"), "{message}");
    let whole = fs::read(room.file()).unwrap();
    fs::write(room.file(), &whole[..whole.len() >> 1]).unwrap();
    let message = room.refused(&good);
    assert!(message.contains("the weights have"), "{message}");
    let mut flipped = whole;
    flipped[100] ^= 0x40;
    fs::write(room.file(), flipped).unwrap();
    let message = room.refused(&good);
    assert!(message.contains("the weights have the digest"), "{message}");
}

#[test]
fn a_file_that_the_owner_drops_in_is_used() {
    let room = Room::new();
    let manifest = room.manifest(&["pip:nothing==1#x/y.gguf".to_owned()]);
    let message = room.refused(&manifest);
    assert!(message.contains("could not start no-such-python"), "{message}");
    fs::copy(room.file(), room.store.root().join("tiny.gguf")).unwrap();
    assert_complete(&room.install(&manifest).unwrap());
}

#[test]
fn a_wheel_is_unpacked_and_never_executed() {
    let room = Room::new();
    let wheel = room.folder.path().join("tiny-1-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive
        .start_file("tiny/tiny.gguf", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(&fs::read(room.file()).unwrap()).unwrap();
    archive.finish().unwrap();
    // Stands in for python: copies the wheel to where `--dest` says, if it is asked as pip is.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--no-deps*--only-binary=:all:*tiny==1) ;; *) exit 9 ;; esac\n\
         while [ \"$1\" != --dest ]; do shift; done\ncp '{}' \"$2\"\n",
        wheel.display()
    );
    let python = room.folder.path().join("python");
    write_program(&python, &script);
    let store = room.store.clone().with_python(python.display().to_string());
    let manifest = room.manifest(&["pip:tiny==1#tiny/tiny.gguf".to_owned()]);
    assert_complete(&store.ensure_installed(&manifest, &mut Silent).unwrap());
    let absent = Manifest::parse(
        &manifest
            .text()
            .replace("id = \"tiny\"", "id = \"other\"")
            .replace("tiny/tiny.gguf", "tiny/none.gguf"),
    );
    let error = store.ensure_installed(&absent.unwrap(), &mut Silent).unwrap_err();
    assert!(
        error.to_string().contains("could not read tiny/none.gguf"),
        "{error}"
    );
}

fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_hub_delivers_and_its_tricks_are_seen_through() {
    let hub_source = "hf:someone/tiny#tiny.gguf".to_owned();
    let room = Room::new();
    let file = fs::read(room.file()).unwrap();
    let manifest = room.manifest(&[hub_source]);
    let expectations = [
        (Manners::Cut, "could not download tiny.gguf"),
        (Manners::OtherBytes, "the weights have the digest"),
        (Manners::OtherSize, "the manifest says"),
    ];
    for (manners, expected) in expectations {
        let room = Room {
            store: room.store.clone().with_hub(serve(file.clone(), manners)),
            folder: tempfile::tempdir().unwrap(),
        };
        let message = room.refused(&manifest);
        assert!(message.contains(expected), "{manners:?}: {message}");
    }
    let endpoint = serve(file, Manners::Good);
    let store = room
        .store
        .clone()
        .with_environment(|name| (name == "HF_ENDPOINT").then(|| endpoint.clone().into()));
    let mut seen = Seen::default();
    assert_complete(&store.ensure_installed(&manifest, &mut seen).unwrap());
    assert!(seen.fetching > 0 && seen.done, "{seen:?}");
}

/// Counts what is reported.
#[derive(Debug, Default)]
struct Seen {
    fetching: u32,
    done: bool,
}

impl Progress for Seen {
    fn report(&mut self, update: &Update<'_>) {
        match update.activity {
            Activity::Fetching(_) => self.fetching += 1,
            Activity::Done => self.done = true,
            Activity::Waiting | Activity::Unpacking | Activity::Verifying => {}
        }
    }
}

#[test]
fn installations_at_the_same_time_end_with_one_model() {
    let room = Room::new();
    let manifest = room.manifest(&[room.file_source()]);
    thread::scope(|scope| {
        let installs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| room.install(&manifest).map(|_| ())))
            .collect();
        for install in installs {
            install.join().unwrap().unwrap();
        }
    });
    assert_complete(&room.install(&manifest).unwrap());
}

#[test]
fn names_never_become_paths() {
    for text in [
        "../x",
        "a/b",
        "",
        ".hidden",
        "-flag",
        "A",
        "a\0",
        "é",
        &"a".repeat(65),
    ] {
        assert!(ModelId::parse(text).is_err(), "{text:?}");
    }
    let room = Room::new();
    for id in ["../evil", "a/../../b"] {
        let text = checkpoint::manifest_text(&room.file(), &[room.file_source()]);
        let error = Manifest::parse(&text.replace("\"tiny\"", &format!("{id:?}"))).unwrap_err();
        assert!(error.to_string().contains("is not a model id"), "{error}");
    }
    for source in [
        "pip:--index-url==1#x",
        "pip:a#x",
        "pip:a==1#../x",
        "hf:../a#x",
        "hf:a/b#/etc/x",
        "ftp:a#b",
        "file:",
    ] {
        let text = checkpoint::manifest_text(&room.file(), &[source.to_owned()]);
        let error = Manifest::parse(&text).unwrap_err();
        assert!(error.to_string().contains("is not a source"), "{source}: {error}");
    }
}

#[test]
fn all_mistakes_of_a_manifest_are_reported_together() {
    let room = Room::new();
    let text = checkpoint::manifest_text(&room.file(), &[room.file_source()])
        .replace("task = \"chat\"", "task = \"dance\"\ncolour = \"blue\"")
        .replace("input_weight = 250", "input_weight = 2500")
        .replace(
            "[tiers.laptop]\ndecode_per_second = 1",
            "[tiers.laptop]\ndecode_per_second = 0\nextra = 1",
        )
        .replace("context_length = 64\n", "");
    let mistakes = Manifest::parse(&text).unwrap_err().mistakes;
    expect_test::expect![[r#"
        [
            "task must be \"chat\"",
            "context_length is missing",
            "input_weight must be a whole number from 0 to 1000",
            "tiers.laptop.decode_per_second must be a whole number from 1 to 1000000",
            "tiers.laptop.extra is not a key of a manifest",
            "colour is not a key of a manifest",
        ]
    "#]]
    .assert_debug_eq(&mistakes);
}

#[test]
fn hostile_headers_are_refused() {
    let room = Room::new();
    let path = room.folder.path().join("hostile.gguf");
    let good = fs::read(room.file()).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Header::read(&path).unwrap_err().to_string()
    };
    let patched = |at: usize, patch: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    assert!(refused(b"").contains("is not a GGUF file"));
    assert!(refused(b"GGUF").contains("is not a GGUF file"));
    assert!(refused(&patched(0, b"PK")).contains("is not a GGUF file"));
    assert!(refused(&patched(4, &9_u32.to_le_bytes())).contains("has GGUF version 9"));
    let huge = u64::MAX.to_le_bytes();
    assert!(refused(&patched(8, &huge)).contains("declares 18446744073709551615 tensors"));
    assert!(refused(&patched(16, &huge)).contains("metadata entries"));
    for size in [24, 100, 1_000, good.len() >> 1, good.len() - 1] {
        let message = refused(&good[..size]);
        assert!(
            message.contains("is malformed or the file is truncated"),
            "{size}: {message}"
        );
    }
    // A tensor whose first dimension is beyond all bounds.
    let name = b"token_embd.weight";
    let at = good
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len()
        + 4;
    assert!(refused(&patched(at, &huge)).contains("ends beyond the file"));
    // An alignment of zero, by which the parser divides.
    checkpoint::write_changed(&path, |metadata| {
        metadata.push(("general.alignment", Value::U32(0)))
    });
    let message = Header::read(&path).unwrap_err().to_string();
    assert!(message.contains("is malformed"), "{message}");
}

#[test]
fn a_tokenizer_that_is_not_understood_is_refused() {
    let room = Room::new();
    let check = |key: &'static str, value: Value, expected: &str| {
        checkpoint::write_changed(&room.file(), |metadata| {
            metadata.retain(|(name, _)| *name != key);
            metadata.push((key, value));
        });
        let error = room.install(&room.manifest(&[room.file_source()])).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(expected), "{cause}");
    };
    check("tokenizer.ggml.pre", Value::String("new".to_owned()), "gpt2/new");
    check(
        "tokenizer.ggml.token_type",
        Value::Array(vec![Value::I32(1)]),
        "as many token types",
    );
    check(
        "tokenizer.ggml.merges",
        Value::Array(vec![Value::String("x".to_owned())]),
        "not a pair",
    );
}

#[test]
fn the_manifests_that_the_program_carries_are_good() {
    for manifest in Manifest::all_built_in() {
        assert_eq!(Manifest::built_in(&manifest.id), Some(manifest.clone()));
    }
}
