//! Spending limits as a session meets them.

use proto::billing::v1::KeyScope;

use super::client::{ASKED, Session, bid};
use crate::spending::limit_at_the_door;
use crate::support::island::{Island, Quote};
use crate::support::whole::{CONSUMER, Whole};

#[tokio::test]
async fn a_limit_that_is_set_during_a_session_holds_from_its_next_bid_on() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = exchange.bank.key("session", CONSUMER, KeyScope::Full);
    let mut session = Session::open(&exchange, &key).await;
    limit_at_the_door(&exchange, &key, 1).await;
    session.send(vec![bid("a", ASKED, 1)]).await;
    assert_eq!(
        session.lines(1).await,
        ["1: REJECTED REJECTED bid a KEY_SPENDING_LIMIT"]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_key_that_was_forgotten_and_is_revoked_since_buys_nothing_more_in_its_session() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = exchange.bank.key("session", CONSUMER, KeyScope::Full);
    let mut session = Session::open(&exchange, &key).await;
    limit_at_the_door(&exchange, &key, 1).await;
    exchange.bank.revoke(&key);
    session.send(vec![bid("a", ASKED, 1)]).await;
    assert_eq!(
        session.lines(1).await,
        ["1: REJECTED REJECTED bid a REVOKED_API_KEY"]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
