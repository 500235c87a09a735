//! One installed model: its folder read, its files checked against each other.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use domain::{Instrument, TokenCount};

use super::manifest::{MANIFEST_BYTES_MAX, Manifest, is_model_id};
use super::template::{ChatTemplate, NamedTokens, TEMPLATE_BYTES_MAX};
use super::tokenizer::{Encoded, TOKENIZER_BYTES_MAX, TextTokenizer};
use super::{CanaryJob, ChatMessage, Detokeniser, Prompt, PromptError, Role, StopStrings};

/// What a canary job asks for. It is also what encoding is tried out on.
const CANARY_TEXT: &str = "You are about to be measured. Write down the numbers from one to one hundred in words, \
    each on a line of its own, and say nothing else: no greeting, no explanation, no closing remark. Begin with the \
    word one. If you reach one hundred, begin again with one and go on in the same manner until you are stopped.";

/// How much of it is read: so little that its time hardly counts, for a tier promises how fast a machine writes.
const CANARY_PROMPT_TOKENS: usize = 8;

/// Eight seconds' work at a phone's usual floor.
const CANARY_TOKENS: u32 = 32;

/// One installed model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) instrument: Instrument,
    pub(super) licence: String,
    pub(super) stop_ids: Arc<[u32]>,
    pub(super) canary: CanaryJob,
    reader: Reader,
}

/// What turns conversations into ids.
#[derive(Debug)]
struct Reader {
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    context_max: TokenCount,
}

impl Model {
    /// Reads and checks the model's folder in `dir`.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub(super) fn load(dir: &Path, id: &str) -> Result<Self, Vec<String>> {
        if !is_model_id(id) {
            return Err(vec!["this is no model's id".to_owned()]);
        }
        let folder = dir.join(id);
        if !folder.is_dir() {
            return Err(vec![format!(
                "it is not installed: there is no folder {}",
                folder.display()
            )]);
        }
        let mut mistakes = Vec::new();
        let manifest = keep(&mut mistakes, read_manifest(&folder, id));
        let tokenizer = keep(&mut mistakes, read_tokenizer(&folder));
        let source = keep(
            &mut mistakes,
            read_text(&folder.join("chat_template.jinja"), TEMPLATE_BYTES_MAX),
        );
        if let Some(manifest) = &manifest {
            mistakes.extend(check_weights(&folder, manifest.weights_bytes));
        }
        let (Some(manifest), Some(tokenizer), Some(source)) = (manifest, tokenizer, source) else {
            return Err(mistakes);
        };
        mistakes.extend(check_ids(&manifest, &tokenizer));
        let named = NamedTokens {
            bos: manifest.bos.and_then(|id| tokenizer.text_of(id)),
            eos: manifest.eos.first().and_then(|id| tokenizer.text_of(*id)),
        };
        let template = keep(
            &mut mistakes,
            ChatTemplate::parse(source, named).map_err(|error| vec![format!("chat_template.jinja: {error}")]),
        );
        let Some(template) = template else {
            return Err(mistakes);
        };
        let mut reader = Reader {
            tokenizer,
            template,
            context_max: manifest.instrument.context_max,
        };
        let canary = keep(&mut mistakes, reader.canary());
        match canary {
            Some(canary) if mistakes.is_empty() => Ok(Self {
                instrument: manifest.instrument,
                licence: manifest.licence,
                stop_ids: manifest.eos.into(),
                canary,
                reader,
            }),
            Some(_) | None => Err(mistakes),
        }
    }

    pub(super) fn prompt(&self, messages: &[ChatMessage]) -> Result<Prompt, PromptError> {
        self.reader.prompt(messages)
    }

    pub(super) fn is_token(&self, id: u32) -> bool {
        self.reader.tokenizer.is_token(id)
    }

    pub(super) fn detokeniser(&self, stops: StopStrings) -> Detokeniser {
        Detokeniser::new(Arc::clone(self.reader.tokenizer.vocabulary()), stops)
    }
}

impl Reader {
    fn prompt(&self, messages: &[ChatMessage]) -> Result<Prompt, PromptError> {
        if messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err(PromptError::Empty);
        }
        // Before any work: what cannot fit is not rendered. Every message takes a token at least.
        let bytes = messages.iter().map(|message| message.content.len()).sum();
        self.check_fits(self.tokenizer.tokens_at_least(bytes).max(messages.len()))?;
        let rendered = self.template.render(messages, self.tokenizer.specials())?;
        let tokens_max = usize::try_from(self.context_max.get()).unwrap_or(usize::MAX);
        let encoded = self.tokenizer.encode(&rendered, tokens_max);
        let encoded = encoded.map_err(|error| PromptError::Broken {
            message: error.to_string(),
        })?;
        let ids = match encoded {
            Encoded::Fits(ids) => ids,
            Encoded::TooLong(tokens) => return Err(self.too_long(tokens)),
        };
        if ids.is_empty() {
            return Err(PromptError::Empty);
        }
        let room = self.check_fits(ids.len())?;
        Ok(Prompt {
            ids: ids.into(),
            room,
        })
    }

    /// What a prompt of so many tokens leaves of the context.
    fn check_fits(&self, tokens: usize) -> Result<TokenCount, PromptError> {
        let count = u32::try_from(tokens).ok();
        match count.and_then(|count| self.context_max.get().checked_sub(count)) {
            Some(room) if room > 0 => Ok(TokenCount::new(room)),
            Some(_) | None => Err(self.too_long(tokens)),
        }
    }

    fn too_long(&self, tokens: usize) -> PromptError {
        PromptError::TooLong {
            tokens: u64::try_from(tokens).unwrap_or(u64::MAX),
            context_max: self.context_max,
        }
    }

    /// Renders and encodes the canary, and checks on it that encoding between control tokens is what the tokenizer
    /// would do by itself.
    fn canary(&mut self) -> Result<CanaryJob, Vec<String>> {
        let message = ChatMessage {
            role: Role::User,
            content: CANARY_TEXT.to_owned(),
        };
        let messages = [message];
        let prompt = self.prompt(&messages).map_err(|error| vec![error.to_string()])?;
        let rendered = self.template.render(&messages, self.tokenizer.specials());
        let rendered = rendered.map_err(|error| vec![error.to_string()])?;
        let whole = self.tokenizer.encode_whole(&rendered);
        let whole = whole.map_err(|error| vec![format!("tokenizer.json: {error}")])?;
        if prompt.ids[..] != whole[..] {
            return Err(vec![
                "tokenizer.json: text between control tokens is not encoded on its own".to_owned(),
            ]);
        }
        Ok(CanaryJob {
            prompt_ids: prompt.ids.iter().copied().take(CANARY_PROMPT_TOKENS).collect(),
            max_tokens: CANARY_TOKENS.min(prompt.room.get()),
        })
    }
}

fn keep<T>(mistakes: &mut Vec<String>, result: Result<T, Vec<String>>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(mut found) => {
            mistakes.append(&mut found);
            None
        }
    }
}

fn read_manifest(folder: &Path, id: &str) -> Result<Manifest, Vec<String>> {
    let text = read_text(&folder.join("manifest.toml"), MANIFEST_BYTES_MAX)?;
    let manifest = Manifest::parse(&text).map_err(|error| {
        let named = |mistake| format!("manifest.toml: {mistake}");
        error.mistakes.into_iter().map(named).collect::<Vec<_>>()
    })?;
    if manifest.instrument.model != id {
        return Err(vec![format!(
            "manifest.toml: it is the manifest of {}",
            manifest.instrument.model
        )]);
    }
    Ok(manifest)
}

fn read_tokenizer(folder: &Path) -> Result<TextTokenizer, Vec<String>> {
    let bytes = read_bytes(&folder.join("tokenizer.json"), TOKENIZER_BYTES_MAX)?;
    TextTokenizer::parse(&bytes).map_err(|error| vec![format!("tokenizer.json: {error}")])
}

/// Weights need not be here, but if they are, they are all here.
fn check_weights(folder: &Path, bytes: u64) -> Option<String> {
    let found = folder.join("weights.gguf").metadata().ok()?.len();
    (found != bytes).then(|| format!("weights.gguf has {found} bytes, the manifest says {bytes}"))
}

fn check_ids(manifest: &Manifest, tokenizer: &TextTokenizer) -> Vec<String> {
    let ids = manifest.bos.iter().chain(&manifest.eos);
    ids.filter(|id| !tokenizer.is_token(**id))
        .map(|id| format!("manifest.toml: {id} is no id of tokenizer.json"))
        .collect()
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, Vec<String>> {
    let bytes = read_bytes(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| vec![format!("{} is not text", path.display())])
}

fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Vec<String>> {
    let failed = |error: std::io::Error| vec![format!("could not read {}: {error}", path.display())];
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > bytes_max) {
        return Err(vec![format!(
            "{} is larger than {bytes_max} bytes",
            path.display()
        )]);
    }
    Ok(bytes)
}
