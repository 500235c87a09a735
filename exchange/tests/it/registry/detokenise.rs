//! Ids to text, however the ids are cut.

use domain::InstrumentId;
use exchange::registry::{Detokeniser, Piece, Registry, STOP_BYTES_MAX, STOPS_MAX, StopError, StopStrings};
use proptest::prelude::*;
use tokenizers::Tokenizer;

use super::fixture::{END, byte, registry, tokenizer_json};

fn detokeniser(stops: &[&str]) -> Detokeniser {
    static REGISTRY: std::sync::OnceLock<Registry> = std::sync::OnceLock::new();
    let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
    REGISTRY
        .get_or_init(registry)
        .detokeniser(InstrumentId::new(0), StopStrings::new(stops).unwrap())
        .unwrap()
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(byte).collect()
}

/// What comes out for each id, then at the end.
fn one_by_one(stops: &[&str], ids: &[u32]) -> (Vec<String>, String) {
    let mut detokeniser = detokeniser(stops);
    let pieces = ids.iter().map(|id| detokeniser.push(&[*id]).text).collect();
    (pieces, detokeniser.finish())
}

#[test]
fn half_a_character_waits_for_the_other_half() {
    let (pieces, rest) = one_by_one(&[], &bytes("é😀"));
    assert_eq!(pieces, ["", "é", "", "", "", "😀"]);
    assert_eq!(rest, "");
}

#[test]
fn an_answer_cut_inside_a_character_says_so_at_its_end() {
    let (pieces, rest) = one_by_one(&[], &[byte(0xF0), byte(0x9F)]);
    assert_eq!((pieces.concat(), rest), (String::new(), "\u{FFFD}".to_owned()));
}

#[test]
fn control_tokens_and_unknown_ids_write_nothing() {
    let mut detokeniser = detokeniser(&[]);
    assert_eq!(
        detokeniser
            .push(&[byte(b'a'), END, 100_000, u32::MAX, byte(b'b')])
            .text,
        "ab"
    );
}

#[test]
fn what_may_become_a_stop_string_waits() {
    let (pieces, rest) = one_by_one(&["STOP"], &bytes("aSTSTO"));
    assert_eq!(pieces, ["a", "", "", "ST", "", ""]);
    assert_eq!(rest, "STO");
}

#[test]
fn a_stop_string_ends_the_text_before_it_and_tells_the_token() {
    let mut detokeniser = detokeniser(&["END", "\n\n"]);
    let piece = detokeniser.push(&bytes("one\nE\n\nrest"));
    assert_eq!(piece.text, "one\nE");
    assert_eq!(piece.stopped_after.unwrap().get(), 7);
    let after = detokeniser.push(&bytes("more"));
    assert_eq!(after.text, "");
    assert_eq!(after.stopped_after, piece.stopped_after);
    assert_eq!(detokeniser.finish(), "");
}

#[test]
fn a_stop_string_inside_one_token_counts_that_token() {
    // The merge of two line breaks is one token.
    let pair = Tokenizer::from_bytes(tokenizer_json())
        .unwrap()
        .encode("\n\n", false)
        .unwrap();
    assert_eq!(pair.get_ids().len(), 1);
    let mut detokeniser = detokeniser(&["\n"]);
    let piece = detokeniser.push(&[byte(b'a'), pair.get_ids()[0], byte(b'b')]);
    let expected = Piece {
        text: "a".to_owned(),
        stopped_after: Some(domain::TokenCount::new(2)),
    };
    assert_eq!(piece, expected);
}

#[test]
fn the_stop_string_that_begins_first_counts() {
    let mut detokeniser = detokeniser(&["bc", "abcd", "c"]);
    assert_eq!(detokeniser.push(&bytes("xabcd")).text, "xa");
}

#[test]
fn stop_strings_that_make_no_sense_are_refused() {
    assert_eq!(StopStrings::new(vec![String::new()]), Err(StopError::Empty));
    assert_eq!(
        StopStrings::new(vec!["a".to_owned(); STOPS_MAX + 1]),
        Err(StopError::TooMany)
    );
    assert_eq!(
        StopStrings::new(vec!["a".repeat(STOP_BYTES_MAX + 1)]),
        Err(StopError::TooLong)
    );
    assert!(StopStrings::new(vec!["a".repeat(STOP_BYTES_MAX); STOPS_MAX]).is_ok());
}

fn cut(ids: &[u32], lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut rest = ids;
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, left) = rest.split_at((*length).min(rest.len()));
        chunks.push(chunk.to_vec());
        rest = left;
    }
    chunks
}

/// Ids that are likely to make whole characters, halves and stop strings.
fn some_ids() -> impl Strategy<Value = Vec<u32>> {
    let piece = prop_oneof![
        "[a-dST\n é😀字]{1,4}".prop_map(|text| bytes(&text)),
        prop::collection::vec(0u32..280, 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cut_of_any_ids_gives_the_text_of_all_of_them(
        ids in some_ids(),
        lengths in prop::collection::vec(1usize..5, 1..6),
    ) {
        static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
        let tokenizer = TOKENIZER.get_or_init(|| Tokenizer::from_bytes(tokenizer_json()).unwrap());
        let mut detokeniser = detokeniser(&[]);
        let mut text: String = cut(&ids, &lengths).iter().map(|chunk| detokeniser.push(chunk).text).collect();
        text.push_str(&detokeniser.finish());
        prop_assert_eq!(text, tokenizer.decode(&ids, true).unwrap());
    }

    #[test]
    fn any_cut_stops_at_the_same_token_with_the_same_text(
        ids in some_ids(),
        lengths in prop::collection::vec(1usize..5, 1..6),
    ) {
        let stops = ["ST", "ab", "\n\n", "é😀", "b c"];
        let mut whole = detokeniser(&stops);
        let mut expected = whole.push(&ids);
        expected.text.push_str(&whole.finish());

        let mut detokeniser = detokeniser(&stops);
        let mut found = Piece::default();
        for chunk in cut(&ids, &lengths) {
            let piece = detokeniser.push(&chunk);
            found.text.push_str(&piece.text);
            found.stopped_after = piece.stopped_after;
        }
        found.text.push_str(&detokeniser.finish());
        prop_assert_eq!(&found, &expected);
        let shown = &found.text;
        prop_assert!(stops.iter().all(|stop| !shown.contains(stop)), "{}", shown);
    }
}
