//! The scripted runner keeps the contract, and breaks it only where told to.

use std::time::Duration;

use runner::sampler::{Sampling, SamplingError};
use runner::scripted::{Fault, Script, ScriptedRunner};
use runner::{ChatRequest, ChatRunner, FinishReason, StartError};
use tokio::sync::mpsc;

use crate::stream::{collect, request, resumed, run};

const PROMPT: [u32; 3] = [1, 2, 3];

fn runner(fault: Fault) -> ScriptedRunner {
    ScriptedRunner::new(Script {
        fault,
        ..Script::default()
    })
}

#[test]
fn a_resumed_stream_goes_on_where_it_stopped() {
    let runner = runner(Fault::None);
    let request = request(&PROMPT, 40);
    let whole = run(&runner, request.clone());
    assert_eq!(whole.finish, Some(FinishReason::Length));
    assert_eq!(whole.ids.len(), 40);
    for cut in [1, 17, 39] {
        let rest = run(&runner, resumed(&request, &whole.ids[..cut]));
        assert_eq!(rest.ids, whole.ids[cut..], "cut at {cut}");
    }
    let seed = request.sampling.seed;
    assert_eq!(whole.ids[7], runner.token_at(&PROMPT, seed, 7));
}

#[test]
fn faults_happen_where_they_are_asked_for() {
    let honest = run(&runner(Fault::None), request(&PROMPT, 10));
    let failed = run(&runner(Fault::FailAt(4)), request(&PROMPT, 10));
    assert_eq!(failed.ids, honest.ids[..4]);
    assert!(matches!(failed.finish, Some(FinishReason::Failed { .. })));
    let vanished = run(&runner(Fault::VanishAt(4)), request(&PROMPT, 10));
    assert_eq!(
        (vanished.ids.as_slice(), vanished.finish),
        (&honest.ids[..4], None)
    );
    let wrong = run(&runner(Fault::WrongFrom(4)), request(&PROMPT, 10));
    assert_eq!(wrong.ids[..4], honest.ids[..4]);
    assert!(
        wrong.ids[4..]
            .iter()
            .zip(&honest.ids[4..])
            .all(|(left, right)| left != right)
    );
}

#[test]
fn a_stalled_job_ends_when_cancelled_and_frees_its_slot() {
    let runner = ScriptedRunner::new(Script {
        fault: Fault::StallAt(2),
        slots: 1,
        ..Script::default()
    });
    let job = request(&PROMPT, 10);
    let (sink, mut events) = mpsc::channel(4);
    runner.start(job.clone(), sink).unwrap();
    events.blocking_recv().unwrap();
    let (other, _events) = mpsc::channel(4);
    let refused = runner.start(request(&PROMPT, 1), other);
    assert_eq!(refused, Err(StartError::Busy { slots: 1 }));
    job.cancel.cancel();
    let rest = collect(events, 1);
    assert_eq!(rest.finish, Some(FinishReason::Cancelled));
    run(&runner, request(&PROMPT, 1));
}

#[test]
fn a_full_sink_loses_nothing() {
    let runner = runner(Fault::None);
    let (sink, events) = mpsc::channel(1);
    runner.start(request(&PROMPT, 50), sink).unwrap();
    let emitted = collect(events, 0);
    assert_eq!(emitted.ids.len(), 50);
}

#[test]
fn requests_that_can_never_run_are_refused() {
    let runner = ScriptedRunner::new(Script {
        context_length: 8,
        vocabulary_size: 100,
        token_interval: Duration::ZERO,
        ..Script::default()
    });
    let check = |request: ChatRequest, expected: StartError| {
        let (sink, mut events) = mpsc::channel(1);
        assert_eq!(runner.start(request, sink), Err(expected));
        assert_eq!(events.blocking_recv(), None);
    };
    check(request(&[], 1), StartError::EmptyPrompt);
    check(request(&[1], 0), StartError::NoOutput);
    let unknown = StartError::UnknownToken {
        id: 100,
        vocabulary_size: 100,
    };
    check(request(&[1, 100], 1), unknown);
    let exceeded = StartError::ContextExceeded {
        token_count: 8,
        context_length: 8,
    };
    check(request(&[1; 8], 1), exceeded);
    let many = ChatRequest {
        stop_ids: vec![1; 17],
        ..request(&[1], 1)
    };
    check(many, StartError::TooManyStopIds { count: 17 });
    let cold = ChatRequest {
        sampling: Sampling {
            temperature: -1.0,
            ..Sampling::GREEDY
        },
        ..request(&[1], 1)
    };
    check(cold, StartError::Sampling(SamplingError::Temperature));
    assert_eq!(run(&runner, request(&[1; 5], 100)).ids.len(), 3);
}
