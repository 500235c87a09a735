//! A refusal on its way to its event, and whom it is told.

use domain::{AccountId, ClientOrderId, Credits, OrderId};

use crate::{Alternative, Command, RejectReason};

/// Why a command is refused, with what belongs to the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: RejectReason,
    pub(crate) alternative: Option<Alternative>,
    pub(crate) shortfall: Credits,
}

impl From<RejectReason> for Refusal {
    fn from(reason: RejectReason) -> Self {
        Self {
            reason,
            alternative: None,
            shortfall: Credits::ZERO,
        }
    }
}

impl Refusal {
    pub(crate) fn unservable(alternative: Option<Alternative>) -> Self {
        Self {
            alternative,
            ..RejectReason::Unservable.into()
        }
    }

    pub(crate) fn insufficient(shortfall: Credits) -> Self {
        Self {
            shortfall,
            ..RejectReason::InsufficientBuyingPower.into()
        }
    }
}

/// `Err` with the reason unless the condition holds.
pub(crate) fn require(holds: bool, reason: RejectReason) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(reason.into()) }
}

/// What a refusal says about the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) account: Option<AccountId>,
    pub(crate) client_order_id: Option<ClientOrderId>,
    pub(crate) order: Option<OrderId>,
}

impl Subject {
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::PlaceBid(bid) => Self::of_new(Some(bid.account), bid.client_order_id),
            Command::PlaceAsk(ask) => Self::of_new(None, ask.client_order_id),
            Command::Cancel(cancel) => Self::of_order(cancel.account, cancel.order),
            Command::Amend(amend) => Self::of_order(amend.account, amend.order),
            Command::CancelAll(cancel) => Self::of_account(cancel.account),
            Command::Fund(fund) => Self::of_account(fund.account),
            Command::Defund(defund) => Self::of_account(defund.account),
            Command::JoinIsland(join) => Self::of_account(join.owner),
            Command::SetRegions(_)
            | Command::ListInstrument(_)
            | Command::OpenSession
            | Command::LoseSessions(_)
            | Command::SetTier(_)
            | Command::SetBand(_)
            | Command::SetSlots(_)
            | Command::SetDeadMan(_)
            | Command::ReleaseSlot(_)
            | Command::Checkpoint(_)
            | Command::CloseLease(_)
            | Command::FailOver(_)
            | Command::Halt(_)
            | Command::Resume(_)
            | Command::Tick
            | Command::SetPriceBand(_) => Self::default(),
        }
    }

    fn of_new(account: Option<AccountId>, client_order_id: ClientOrderId) -> Self {
        Self {
            account,
            client_order_id: Some(client_order_id),
            order: None,
        }
    }

    fn of_order(account: AccountId, order: OrderId) -> Self {
        Self {
            account: Some(account),
            client_order_id: None,
            order: Some(order),
        }
    }

    fn of_account(account: AccountId) -> Self {
        Self {
            account: Some(account),
            ..Self::default()
        }
    }
}
