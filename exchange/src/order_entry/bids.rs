//! From a bid's acceptance to its last job: what leasing tells becomes reports, after the trades that it follows from.

use std::sync::Arc;

use domain::Sequence;
use proto::exchange::v1::report::Report as Body;
use proto::exchange::v1::submit_job_response::Event;
use tokio::sync::watch::error::RecvError;

use super::desk::Desk;
use super::now;
use super::orders::{PlacingId, Then};
use super::session::Session;
use crate::gateway::Gateway;
use crate::gateway::errors::Refusal;
use crate::gateway::grpc::to_wire;
use crate::gateway::order::{PreparedBid, Submitted};
use crate::gateway::reports::{Report, Reports};
use crate::leasing::JobEvents;

/// A bid on its way.
pub(super) struct Entered {
    pub(super) bid: PreparedBid,
    pub(super) events: JobEvents,
    pub(super) placing: PlacingId,
}

/// Carries a bid from its entry to its end. When the session ends, what is left of it is let go, which cancels it.
pub(super) async fn carry(gateway: Gateway, desk: Arc<Desk>, session: Arc<Session>, entered: Entered) {
    tokio::select! {
        () = follow(&gateway, &desk, &session, entered) => {}
        () = session.is_over() => {}
    }
}

async fn follow(gateway: &Gateway, desk: &Arc<Desk>, session: &Arc<Session>, entered: Entered) {
    let Entered { bid, events, placing } = entered;
    let reports = match gateway.placed(bid, events).await {
        // That it is on the book is told where the engine's events are followed, in their order.
        Ok(Submitted::Placed(placed)) => placed.reports,
        Ok(Submitted::Repeated { order, reports, .. }) => {
            // The answer may be here before the order's own acceptance, which this session may have to tell first.
            let entered = Sequence::new(order.get());
            if has_followed(desk, entered).await.is_err() {
                return;
            }
            // What the order's own session tells already is not told twice.
            let is_told = session.lock().orders.contains(order);
            let answer = session.lock().orders.repeated(placing, order);
            if let Some(answer) = answer {
                let then = session.answer(&mut session.lock(), now(), answer);
                desk.follow_up(session, order, then);
            }
            if is_told {
                return;
            }
            reports
        }
        Err(refusal) => return refuse(desk, session, placing, &refusal),
    };
    tell(gateway, desk, session, reports).await;
}

/// Reports that a bid was refused.
pub(super) fn refuse(desk: &Arc<Desk>, session: &Arc<Session>, placing: PlacingId, refusal: &Refusal) {
    let state = &mut session.lock();
    let Some(answer) = state.orders.refused(placing, refusal) else {
        return;
    };
    let then = session.answer(state, now(), answer);
    session.refuse_too_late(state, now(), then.into_iter().filter_map(Then::reference));
    if session.take_end(state) {
        desk.lose(session.id);
    }
}

/// Waits until the events of that command were told; `Err` if they never will be.
async fn has_followed(desk: &Desk, wanted: Sequence) -> Result<(), RecvError> {
    let mut followed = desk.followed.subscribe();
    followed.wait_for(|sequence| *sequence >= wanted).await.map(drop)
}

async fn tell(gateway: &Gateway, desk: &Desk, session: &Session, mut reports: Reports) {
    loop {
        // What is not read here waits in leasing, where it is joined and bounded.
        session.has_room_for_output().await;
        let Some(report) = reports.next().await else {
            return;
        };
        if let Report::Matched(matched) = &report
            && has_followed(desk, matched.sequence).await.is_err()
        {
            return;
        }
        let body = match to_wire::report(gateway, report).event {
            Some(Event::Matched(matched)) => Body::Matched(matched),
            Some(Event::Output(output)) => Body::Output(output),
            Some(Event::FailedOver(failed_over)) => Body::FailedOver(failed_over),
            Some(Event::Completed(completed)) => Body::Completed(completed),
            // What ends without an Island is told as an execution.
            Some(Event::Accepted(_) | Event::Ended(_)) | None => continue,
        };
        session.report(&mut session.lock(), now(), 0, body);
    }
}
