//! The candle runner on the real model: a stream that is cut and resumed is the same stream.

use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard};

use island_agent::models::manifest::Manifest;
use island_agent::models::progress::Silent;
use island_agent::models::store::{InstalledModel, ModelStore};
use runner::candle::{CandleOptions, CandleRunner, LoadError};
use runner::sampler::Sampling;
use runner::{ChatRequest, ChatRunner, FinishReason, StartError};
use tokenizers::Tokenizer;
use tokio::sync::mpsc;

use crate::checkpoint;
use crate::stream::{collect, request, resumed, run};

const STOP_IDS: [u32; 2] = [0, 2];

static MODEL: LazyLock<InstalledModel> = LazyLock::new(|| {
    let manifest = Manifest::all_built_in().swap_remove(0);
    let store = ModelStore::per_user(|name| std::env::var_os(name)).unwrap();
    store.ensure_installed(&manifest, &mut Silent).unwrap()
});

/// One runner for all tests, used by one at a time: each counts its slots.
static RUNNER: LazyLock<Mutex<CandleRunner>> = LazyLock::new(|| {
    let options = options(&MODEL.weights(), 3);
    Mutex::new(CandleRunner::load(options).unwrap())
});

fn runner() -> MutexGuard<'static, CandleRunner> {
    RUNNER.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn options(weights: &Path, slots: u32) -> CandleOptions {
    CandleOptions {
        model_id: "model".to_owned(),
        model_sha256: "0".repeat(64),
        weights: weights.to_owned(),
        context_length_max: 2_048,
        slots,
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_file(MODEL.tokenizer()).unwrap()
}

fn chat(question: &str, output_tokens_max: u32) -> ChatRequest {
    let text = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
    let prompt = tokenizer().encode(text, false).unwrap();
    ChatRequest {
        stop_ids: STOP_IDS.to_vec(),
        ..request(prompt.get_ids(), output_tokens_max)
    }
}

#[test]
fn the_real_model_knows_the_capital_of_france() {
    let emitted = run(&*runner(), chat("What is the capital of France?", 32));
    let text = tokenizer().decode(&emitted.ids, true).unwrap();
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(emitted.finish, Some(FinishReason::Stop));
}

#[test]
fn a_stream_cut_anywhere_and_resumed_is_the_same_stream() {
    let runner = runner();
    let sampled = Sampling {
        temperature: 0.9,
        top_p: 0.95,
        top_k: Some(50),
        seed: 42,
    };
    let jobs = [
        ("Write a short poem about the sea.", Sampling::GREEDY),
        ("Explain how a bicycle stays upright.", Sampling::GREEDY),
        ("Name three uses of copper.", sampled),
    ];
    for (question, sampling) in jobs {
        let job = ChatRequest {
            sampling,
            ..chat(question, 24)
        };
        let whole = run(&*runner, job.clone());
        for cut in [1, 9, whole.ids.len() - 1] {
            let rest = run(&*runner, resumed(&job, &whole.ids[..cut]));
            assert_eq!(rest.ids, whole.ids[cut..], "{question} cut at {cut}");
            assert_eq!(rest.finish, whole.finish);
        }
    }
}

#[test]
fn jobs_that_run_together_emit_what_they_emit_alone() {
    let runner = runner();
    let jobs = [
        chat("Hello!", 12),
        chat("Count from one to ten, please, and say why.", 16),
        chat("Is water wet?", 8),
    ];
    let alone: Vec<_> = jobs.iter().map(|job| run(&*runner, job.clone())).collect();
    let running: Vec<_> = jobs
        .iter()
        .map(|job| {
            let (sink, events) = mpsc::channel(64);
            runner.start(job.clone(), sink).unwrap();
            events
        })
        .collect();
    let (sink, _events) = mpsc::channel(1);
    let refused = runner.start(jobs[0].clone(), sink);
    assert_eq!(refused, Err(StartError::Busy { slots: 3 }));
    let together: Vec<_> = running.into_iter().map(|events| collect(events, 0)).collect();
    assert_eq!(together, alone);
}

#[test]
fn a_cancelled_job_ends_while_it_reads_and_while_it_writes() {
    let runner = runner();
    let reading = request(&[5; 1_500], 8);
    let (sink, events) = mpsc::channel(4);
    runner.start(reading.clone(), sink).unwrap();
    reading.cancel.cancel();
    let emitted = collect(events, 0);
    assert_eq!(
        (emitted.ids.len(), emitted.finish),
        (0, Some(FinishReason::Cancelled))
    );
    let writing = request(&[5, 6], 1_000);
    let (sink, mut events) = mpsc::channel(1);
    runner.start(writing.clone(), sink).unwrap();
    events.blocking_recv().unwrap();
    writing.cancel.cancel();
    let emitted = collect(events, 1);
    assert_eq!(emitted.finish, Some(FinishReason::Cancelled));
    // A sink that nobody reads any more ends its job too: then all slots can be taken again.
    for _ in 0..3 {
        let (sink, _events) = mpsc::channel(1);
        runner.start(request(&[5, 6], 1_000), sink).unwrap();
    }
    let running: Vec<_> = (0..3)
        .map(|_| {
            loop {
                let (sink, events) = mpsc::channel(4);
                match runner.start(request(&[5, 6], 1), sink) {
                    Ok(()) => return events,
                    Err(error) => assert_eq!(error, StartError::Busy { slots: 3 }),
                }
                std::thread::yield_now();
            }
        })
        .collect();
    for events in running {
        assert_eq!(collect(events, 0).finish, Some(FinishReason::Length));
    }
}

#[test]
fn a_tiny_checkpoint_fills_its_context_and_refuses_foreign_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    checkpoint::write(&path);
    let runner = CandleRunner::load(options(&path, 1)).unwrap();
    assert_eq!(runner.description().context_length, 64);
    let job = request(&[1, 2, 3, 4, 5], 1_000);
    let whole = run(&runner, job.clone());
    assert_eq!((whole.ids.len(), whole.finish), (59, Some(FinishReason::Length)));
    let rest = run(&runner, resumed(&job, &whole.ids[..30]));
    assert_eq!(rest.ids, whole.ids[30..]);
    let (sink, _events) = mpsc::channel(1);
    let unknown = StartError::UnknownToken {
        id: 259,
        vocabulary_size: 259,
    };
    assert_eq!(runner.start(request(&[259], 1), sink), Err(unknown));
    let (sink, _events) = mpsc::channel(1);
    let exceeded = StartError::ContextExceeded {
        token_count: 64,
        context_length: 64,
    };
    assert_eq!(runner.start(request(&[1; 64], 1), sink), Err(exceeded));
}

#[test]
fn checkpoints_that_are_not_understood_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.gguf");
    let refused = |change: (&'static str, candle_core::quantized::gguf_file::Value)| {
        checkpoint::write_changed(&path, |metadata| {
            metadata.retain(|(key, _)| *key != change.0);
            metadata.push(change);
        });
        let error = CandleRunner::load(options(&path, 1)).unwrap_err();
        let LoadError::Weights(error) = error else {
            panic!("{error}");
        };
        error.to_string()
    };
    use candle_core::quantized::gguf_file::Value::{String as Text, U32};
    let message = refused(("general.architecture", Text("qwen2".to_owned())));
    assert!(message.contains("architecture \"qwen2\""), "{message}");
    let message = refused(("llama.attention.head_count_kv", U32(3)));
    assert!(message.contains("4 heads (3 for keys)"), "{message}");
    let message = refused(("llama.block_count", U32(1)));
    assert!(message.contains("has no place in this architecture"), "{message}");
    let message = refused(("llama.feed_forward_length", U32(95)));
    assert!(
        message.contains("could not load tensor blk.0.ffn_gate.weight"),
        "{message}"
    );
    let zero_slots = CandleRunner::load(options(&path, 0));
    assert!(matches!(zero_slots, Err(LoadError::Slots { slots: 0 })));
}
