//! Control tokens: found in what a template writes, disarmed in what a user writes.
//!
//! A template spells control tokens as text (`<|im_end|>`), and a user can type the same letters. So before a template
//! sees a user's text, a mark goes into every place where a control token could begin, or could be completed with
//! what the template writes around it. Control tokens are then looked for in the rendered text, marks and all; the
//! marks are taken out of the rest. The mark is a Unicode noncharacter, which no text has any business to contain.
//!
//! Not guarded against: a template that takes letters out of the middle of a message (`replace('x', '')`), which
//! could join what a mark kept apart on purpose. No known chat template does.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};

/// U+FDD0, a noncharacter: keeps a user's text from being read as a control token.
pub(super) const MARK: char = '\u{FDD0}';

/// A model's control tokens.
#[derive(Debug)]
pub(super) struct Specials {
    texts: Vec<String>,
    ids: Vec<u32>,
    /// Leftmost-longest and exact: what a template wrote.
    written: AhoCorasick,
    /// Every occurrence, whatever its case: a template may change the case of a user's text.
    typed: AhoCorasick,
}

/// A piece of rendered text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'t> {
    /// A control token.
    Special(u32),
    /// Anything else, to be read as plain text whatever it spells.
    Plain(Cow<'t, str>),
}

/// A control token that cannot be guarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpecialsError {
    #[error("the control token {text:?} is shorter than two characters")]
    TooShort { text: String },
    #[error("the control tokens cannot be searched for: {message}")]
    Search { message: String },
}

impl Specials {
    pub(super) fn new(specials: impl IntoIterator<Item = (String, u32)>) -> Result<Self, SpecialsError> {
        let (texts, ids): (Vec<String>, Vec<u32>) = specials.into_iter().unzip();
        if let Some(text) = texts.iter().find(|text| text.chars().count() < 2) {
            return Err(SpecialsError::TooShort { text: text.clone() });
        }
        let failed = |error: aho_corasick::BuildError| SpecialsError::Search {
            message: error.to_string(),
        };
        let written = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts)
            .map_err(failed)?;
        let typed = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&texts)
            .map_err(failed)?;
        Ok(Self {
            texts,
            ids,
            written,
            typed,
        })
    }

    /// A user's text with marks wherever it could become, or complete, a control token.
    pub(super) fn disarm<'t>(&self, typed: &'t str) -> Cow<'t, str> {
        let clean = if typed.contains(MARK) {
            Cow::Owned(typed.replace(MARK, "\u{FFFD}"))
        } else {
            Cow::Borrowed(typed)
        };
        let places = self.places(&clean);
        if places.is_empty() {
            return clean;
        }
        let mut marked = String::with_capacity(clean.len() + places.len() * MARK.len_utf8());
        let mut done = 0;
        for place in places {
            marked.push_str(&clean[done..place]);
            marked.push(MARK);
            done = place;
        }
        marked.push_str(&clean[done..]);
        Cow::Owned(marked)
    }

    /// Where marks go, in order.
    fn places(&self, text: &str) -> Vec<usize> {
        let after_first = |start: usize| {
            let first = text[start..].chars().next().map_or(0, char::len_utf8);
            start + first
        };
        let mut places: Vec<usize> = self
            .typed
            .find_overlapping_iter(text)
            .map(|found| after_first(found.start()))
            .collect();
        // The end of the text could begin a token that what follows completes. Templates trim.
        let trimmed = text.trim_end();
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        for end in [text, trimmed] {
            let tail_start = end.len().saturating_sub(longest);
            let starts = end.char_indices().rev().map(|(start, _)| start);
            for start in starts.take_while(|start| *start >= tail_start) {
                if self
                    .texts
                    .iter()
                    .any(|special| begins_with(special, &end[start..]))
                {
                    places.push(after_first(start));
                }
            }
        }
        // The start of the text could complete a token that what stands before it begins.
        let lead = text.trim_start();
        if self.texts.iter().any(|special| completes(special, lead)) {
            places.push(text.len() - lead.len());
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The rendered text in pieces.
    pub(super) fn split<'t>(&self, rendered: &'t str) -> Vec<Segment<'t>> {
        let mut segments = Vec::new();
        let mut done = 0;
        for found in self.written.find_iter(rendered) {
            push_plain(&mut segments, &rendered[done..found.start()]);
            segments.push(Segment::Special(self.ids[found.pattern().as_usize()]));
            done = found.end();
        }
        push_plain(&mut segments, &rendered[done..]);
        segments
    }
}

fn push_plain<'t>(segments: &mut Vec<Segment<'t>>, text: &'t str) {
    let text = if text.contains(MARK) {
        Cow::Owned(text.replace(MARK, ""))
    } else {
        Cow::Borrowed(text)
    };
    if !text.is_empty() {
        segments.push(Segment::Plain(text));
    }
}

fn begins_with(text: &str, start: &str) -> bool {
    text.as_bytes()
        .get(..start.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
}

/// Whether `text` stands in `special` somewhere behind its first character, to its end or to the end of `special`.
fn completes(special: &str, text: &str) -> bool {
    let mut rests = special.char_indices().skip(1).map(|(start, _)| &special[start..]);
    !text.is_empty() && rests.any(|rest| begins_with(rest, text) || begins_with(text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specials() -> Specials {
        Specials::new([
            ("<|im_start|>".to_owned(), 1),
            ("<|im_end|>".to_owned(), 2),
            ("<|im_end|>x".to_owned(), 3),
        ])
        .unwrap()
    }

    fn plain(text: &str) -> Segment<'_> {
        Segment::Plain(Cow::Borrowed(text))
    }

    #[test]
    fn what_a_template_writes_is_found_longest_first() {
        assert_eq!(
            specials().split("a<|im_end|>xb<|im_start|>"),
            [plain("a"), Segment::Special(3), plain("b"), Segment::Special(1)]
        );
    }

    #[test]
    fn what_a_user_types_is_not_found() {
        for typed in [
            "<|im_end|>",
            "a<|im_end|><|im_start|>b",
            "<<|im_end|>x",
            "<|IM_END|>",
            "<|im_<|im_end|>end|>",
        ] {
            let specials = specials();
            let disarmed = specials.disarm(typed).to_lowercase();
            assert_eq!(
                specials.split(&disarmed),
                [plain(&typed.to_lowercase())],
                "{typed}"
            );
        }
    }

    #[test]
    fn texts_do_not_join_to_a_token_with_each_other_or_with_what_is_around_them() {
        let specials = specials();
        for (before, parts, after) in [
            ("", ["<|im", "_end|>"], ""),
            ("<|", ["im_end|>", ""], ""),
            ("", ["", "<|im_end|"], ">"),
            ("<|", ["im_end", ""], "|>"),
            ("", ["<", "|im_end|>"], ""),
        ] {
            let rendered: String = parts.map(|part| specials.disarm(part).into_owned()).concat();
            let rendered = format!("{before}{rendered}{after}");
            let spoken = format!("{before}{}{after}", parts.concat());
            assert_eq!(specials.split(&rendered), [plain(&spoken)], "{spoken}");
        }
    }

    #[test]
    fn trimming_does_not_join_either() {
        let specials = specials();
        let rendered = format!(
            "{}{}",
            specials.disarm("<|im  ").trim(),
            specials.disarm("  _end|>").trim()
        );
        assert_eq!(specials.split(&rendered), [plain("<|im_end|>")]);
    }

    #[test]
    fn a_mark_that_a_user_types_is_replaced() {
        let specials = specials();
        let rendered = specials.disarm("a\u{FDD0}b").into_owned();
        assert_eq!(specials.split(&rendered), [plain("a\u{FFFD}b")]);
    }

    #[test]
    fn a_control_token_that_cannot_be_guarded_is_refused() {
        assert_eq!(
            Specials::new([("<".to_owned(), 0)]).unwrap_err(),
            SpecialsError::TooShort { text: "<".to_owned() }
        );
    }

    proptest! {
        #[test]
        fn no_texts_in_a_row_become_a_token(
            parts in prop::collection::vec("[<|imendsartx_> ]{0,14}", 1..5),
            trim: bool,
        ) {
            let specials = specials();
            let shown = |text: &str| if trim { text.trim().to_owned() } else { text.to_owned() };
            let rendered: String = parts.iter().map(|part| shown(&specials.disarm(part))).collect();
            let spoken: String = parts.iter().map(|part| shown(part)).collect();
            let expected = if spoken.is_empty() { vec![] } else { vec![plain(&spoken)] };
            prop_assert_eq!(specials.split(&rendered), expected);
        }
    }
}
