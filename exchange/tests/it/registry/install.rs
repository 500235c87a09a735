//! What a model's folder must hold.

use domain::{Digest, InputWeight, InstrumentId, Task, Tier};
use exchange::registry::{Registry, RegistryError};

use super::fixture::{MODEL, copy, folder, registry};

fn mistakes(models: &[&str], dir: &std::path::Path) -> Vec<String> {
    let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
    match Registry::load(dir, &models) {
        Err(RegistryError::Models { mistakes }) => mistakes,
        other => panic!("{other:?}"),
    }
}

/// What is wrong after `change` was made to a file of the model.
fn after_change(file: &str, change: impl Fn(String) -> String) -> Vec<String> {
    let copy = copy();
    let path = copy.path().join(MODEL).join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text, "the change must change something");
    std::fs::write(path, changed).unwrap();
    mistakes(&[MODEL], copy.path())
}

#[test]
fn a_manifest_becomes_an_instrument() {
    let registry = registry();
    let id = registry.find(MODEL).unwrap();
    assert_eq!(id, InstrumentId::new(0));
    let instrument = registry.instrument(id).unwrap();
    assert_eq!(instrument.task, Task::Chat);
    assert_eq!(instrument.input_weight, InputWeight::DEFAULT);
    assert_eq!(instrument.context_max.get(), 512);
    assert_eq!(
        instrument.digest,
        Digest::from_hex(&format!("{:064x}", 1)).unwrap()
    );
    assert_eq!(instrument.floors.of(Tier::Desktop).prefill_per_second, 160);
    assert_eq!(registry.stop_ids(id)[..], [2, 0]);
    assert!(
        registry.is_token(id, 270) && !registry.is_token(id, 100_000) && !registry.is_token(id, u32::MAX)
    );
    let unknown = InstrumentId::new(9);
    assert!(registry.instrument(unknown).is_none() && registry.canary(unknown).is_none());
    assert!(registry.stop_ids(unknown).is_empty() && registry.find("other").is_none());
}

#[test]
fn all_mistakes_of_all_models_are_told_together() {
    let copy = copy();
    let manifest = copy.path().join(MODEL).join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text
        .replace("input_weight = 250", "input_weight = 1001")
        .replace("task = \"chat\"", "taks = \"chat\"")
        .replace("decode_per_second = 15\n", "decode_per_second = 1\n")
        .replace("bytes = 5", "bytes = 0");
    std::fs::write(manifest, text).unwrap();
    std::fs::write(copy.path().join(MODEL).join("tokenizer.json"), "{").unwrap();
    let found = mistakes(&["absent", MODEL, "../etc"], copy.path()).join("\n");
    for expected in [
        "absent: it is not installed",
        "../etc: this is no model's id",
        "task is missing",
        "taks is not a key",
        "input_weight must be a whole number from 0 to 1000",
        "a faster tier promises no less",
        "weights.bytes must be a whole number",
        "tokenizer.json: it does not parse",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
}

#[test]
fn each_broken_file_has_its_error() {
    let only = |found: Vec<String>, expected: &str| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?} instead of {expected}");
    };
    only(
        after_change("manifest.toml", |text| {
            text.replace("id = \"tiny-chat\"", "id = \"tiny\"")
        }),
        "it is the manifest of tiny",
    );
    only(
        after_change("manifest.toml", |text| text.replace("[2, 0]", "[2, 7777]")),
        "7777 is no id of tokenizer.json",
    );
    only(
        after_change("manifest.toml", |text| text.replace("0001\"", "000G\"")),
        "weights.sha256 must be 64",
    );
    only(
        after_change("manifest.toml", |text| format!("{text}\nid ==")),
        "manifest.toml: ",
    );
    only(
        after_change("manifest.toml", |text| text + &"#".repeat(70_000)),
        "is larger than 65536 bytes",
    );
    only(
        after_change("chat_template.jinja", |text| format!("{text}{{% for")),
        "chat_template.jinja: ",
    );
    only(
        after_change("chat_template.jinja", |text| text + "\u{FDD0}"),
        "contains U+FDD0",
    );
    only(
        after_change("tokenizer.json", |text| {
            text.replace("\"lstrip\": false", "\"lstrip\": true")
        }),
        "swallows whitespace",
    );
    only(
        after_change("tokenizer.json", |text| {
            text.replacen("\"type\": \"ByteLevel\"", "\"type\": \"Fuse\"", 1)
        }),
        "not byte-level",
    );
}

#[test]
fn a_file_that_is_missing_is_named() {
    for file in ["manifest.toml", "tokenizer.json", "chat_template.jinja"] {
        let copy = copy();
        std::fs::remove_file(copy.path().join(MODEL).join(file)).unwrap();
        let found = mistakes(&[MODEL], copy.path());
        assert!(found.len() == 1 && found[0].contains(file), "{found:?}");
    }
}

#[test]
fn weights_need_not_be_there_but_half_of_them_are_a_mistake() {
    let copy = copy();
    let weights = copy.path().join(MODEL).join("weights.gguf");
    std::fs::write(&weights, "1234").unwrap();
    assert!(mistakes(&[MODEL], copy.path())[0].contains("has 4 bytes, the manifest says 5"));
    std::fs::write(&weights, "12345").unwrap();
    assert!(Registry::load(copy.path(), &[MODEL.to_owned()]).is_ok());
}

#[test]
fn a_tokenizer_that_is_no_tokenizer_is_refused_and_panics_nowhere() {
    for json in [
        "",
        "null",
        "[]",
        "{}",
        "{\"version\":\"1.0\",\"model\":{}}",
        "\u{0}",
        &"[".repeat(100_000),
    ] {
        let copy = copy();
        std::fs::write(copy.path().join(MODEL).join("tokenizer.json"), json).unwrap();
        assert!(!mistakes(&[MODEL], copy.path()).is_empty());
    }
}

#[test]
fn nothing_to_serve_is_a_mistake() {
    assert_eq!(
        Registry::load(&folder(), &[]).unwrap_err(),
        RegistryError::NoModels
    );
}

#[test]
fn a_journaled_id_stays_and_new_models_get_the_next() {
    let mut registry = registry();
    let tiny = registry.instrument(InstrumentId::new(0)).unwrap().clone();
    let mut gone = tiny.clone();
    gone.model = "gone".to_owned();

    let listed = [(InstrumentId::new(0), &gone), (InstrumentId::new(1), &tiny)];
    assert_eq!(registry.align(listed).unwrap(), []);
    assert_eq!(registry.find(MODEL), Some(InstrumentId::new(1)));
    assert!(registry.find("gone").is_none() && registry.instrument(InstrumentId::new(0)).is_none());

    let to_list = registry.align([(InstrumentId::new(0), &gone)]).unwrap();
    assert_eq!(to_list.len(), 1);
    assert_eq!(to_list[0].instrument, InstrumentId::new(1));
    assert_eq!(to_list[0].specification, tiny);

    let to_list = registry.align([]).unwrap();
    assert_eq!(to_list[0].instrument, InstrumentId::new(0));
}

#[test]
fn another_model_under_a_listed_name_is_refused() {
    let registry = registry();
    let listed = registry.instrument(InstrumentId::new(0)).unwrap();
    let mut other = listed.clone();
    other.digest = Digest::of(b"other weights");
    let error = registry
        .clone()
        .align([(InstrumentId::new(0), &other)])
        .unwrap_err();
    assert!(
        matches!(&error, RegistryError::Changed { what, .. } if what.contains("sha256")),
        "{error}"
    );

    let mut retuned = listed.clone();
    retuned.floors = domain::SpeedFloors::new(
        [domain::TierFloor {
            decode_per_second: 1,
            prefill_per_second: 1,
        }; 5],
    );
    assert_eq!(
        registry
            .clone()
            .align([(InstrumentId::new(0), &retuned)])
            .unwrap(),
        []
    );
}

#[test]
fn the_canary_is_the_same_job_every_time() {
    let (one, two) = (registry(), registry());
    let id = InstrumentId::new(0);
    let canary = one.canary(id).unwrap();
    assert_eq!(Some(&canary), two.canary(id).as_ref());
    assert_eq!(canary.prompt_ids[0], super::fixture::START);
    assert_eq!(canary.max_tokens, 32);
}
