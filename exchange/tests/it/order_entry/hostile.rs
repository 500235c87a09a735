//! Clients that break the protocol.

use proto::exchange::v1 as wire;
use proto::exchange::v1::session_request::Start;

use super::client::{LOW, Session, bid, cancel, connect};
use crate::grpc::complaint;
use crate::support::whole::Whole;

#[tokio::test]
async fn a_session_begins_with_a_key_and_a_first_message_that_opens_it() {
    let exchange = Whole::start().await;
    for (key, refused) in [
        ("atoll_sk_nobody", "Unauthenticated INVALID_API_KEY"),
        ("sk-123", "Unauthenticated MALFORMED_API_KEY"),
    ] {
        let status = connect(&exchange, key).await.unwrap_err();
        assert_eq!(complaint(&status), refused);
    }
    let (say, mut hear) = connect(&exchange, &exchange.key).await.unwrap();
    say.send(wire::SessionRequest {
        commands: vec![wire::OrderCommand {
            reference: 1,
            command: Some(bid("a", LOW, 1)),
        }],
        ..wire::SessionRequest::default()
    })
    .await
    .unwrap();
    let status = hear.message().await.unwrap_err();
    assert_eq!(complaint(&status), "InvalidArgument INVALID_ARGUMENT@start");

    let (say, mut hear) = connect(&exchange, &exchange.key).await.unwrap();
    drop(say);
    let status = hear.message().await.unwrap_err();
    assert_eq!(complaint(&status), "InvalidArgument INVALID_ARGUMENT");
    exchange.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let brief = std::time::Duration::from_millis(50);
    let exchange = Whole::start_with(|config| config.limits.request_read_timeout = brief).await;
    let (_say, mut hear) = connect(&exchange, &exchange.key).await.unwrap();
    let status = hear.message().await.unwrap_err();
    assert_eq!(complaint(&status), "DeadlineExceeded REQUEST_TIMEOUT");
    exchange.stop().await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_a_reason_and_the_session_can_go_on() {
    let exchange = Whole::start_with(|config| config.limits.body_bytes_max = 100_000).await;
    let open = Some(Start::Open(wire::OpenSession::default()));
    let command = wire::OrderCommand {
        reference: 1,
        command: Some(cancel("nobody")),
    };
    let huge = wire::OrderCommand {
        reference: 1,
        command: Some(cancel(&"x".repeat(100_001))),
    };
    let breaches = [
        (
            wire::SessionRequest {
                start: open,
                ..wire::SessionRequest::default()
            },
            "INVALID_ARGUMENT",
        ),
        (
            wire::SessionRequest {
                commands: vec![command; 1_025],
                ..wire::SessionRequest::default()
            },
            "INVALID_ARGUMENT",
        ),
        (
            wire::SessionRequest {
                received_through: 1,
                ..wire::SessionRequest::default()
            },
            "INVALID_ARGUMENT",
        ),
        (
            wire::SessionRequest {
                commands: vec![huge],
                ..wire::SessionRequest::default()
            },
            "BODY_TOO_LARGE",
        ),
    ];
    let mut session = Session::open(&exchange, &exchange.key).await;
    for (breach, code) in breaches {
        session.send_message(breach).await;
        let goodbye = session.goodbye().await;
        assert_eq!(goodbye.code, code, "{}", goodbye.message);
        assert_eq!(session.seen, 0, "nothing was done");
        session = Session::resume(&exchange, &exchange.key, goodbye.resume.unwrap())
            .await
            .unwrap();
    }
    session.send(vec![cancel("nobody")]).await;
    assert_eq!(session.lines(1).await, ["1: REFUSED UNKNOWN_ORDER"]);
    exchange.stop().await;
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_sessions() {
    let exchange = Whole::start().await;
    let mut sessions = Vec::new();
    for _ in 0..exchange::order_entry::SESSIONS_PER_ACCOUNT_MAX {
        sessions.push(Session::open(&exchange, &exchange.key).await);
    }
    let open = wire::OpenSession::default();
    let Err(refused) = Session::open_with(&exchange, &exchange.key, open).await else {
        panic!("one too many was opened")
    };
    assert_eq!(complaint(&refused), "ResourceExhausted TOO_MANY_SESSIONS");
    // Others are not shut out.
    Session::open(&exchange, &exchange.poor_key).await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_session_has_no_more_jobs_than_its_account_may() {
    let exchange = Whole::start_with(|config| config.limits.jobs_per_account_max = 2).await;
    let _island =
        crate::support::island::Island::quoting(&exchange, 1, crate::support::island::Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", LOW, 2)]).await;
    session.lines(1).await;
    session.send(vec![bid("b", LOW, 1), cancel("a")]).await;
    assert_eq!(
        session.lines(2).await,
        [
            "1: REJECTED REJECTED bid b TOO_MANY_JOBS",
            "2: CANCELED CANCELED bid a 0+0=0 CANCELLED"
        ]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
