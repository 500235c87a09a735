//! Who calls: what an API key stands for, and the question that answers it.
//!
//! Every door of the exchange asks through [`Authenticator`], so none of them knows where keys are kept.

use domain::{AccountId, Credits, KeyId, Side};
use futures::future::BoxFuture;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyScope {
    /// Everything that its account may do.
    Full,
    /// Buying only.
    Consumer,
    /// Enrolling Islands and quoting for them only.
    Island,
}

impl KeyScope {
    /// Whether bids may be placed with it.
    #[must_use]
    pub const fn may_buy(self) -> bool {
        match self {
            Self::Full | Self::Consumer => true,
            Self::Island => false,
        }
    }

    /// Whether Islands may be enrolled with it.
    #[must_use]
    pub const fn may_enrol(self) -> bool {
        match self {
            Self::Full | Self::Island => true,
            Self::Consumer => false,
        }
    }

    /// Whether orders of that side are for it to see, to lower and to cancel.
    #[must_use]
    pub const fn may_handle(self, side: Side) -> bool {
        match side {
            Side::Bid => self.may_buy(),
            Side::Ask => self.may_enrol(),
        }
    }
}

/// What may be spent with a key in a day (UTC), together with all that it was rotated into and from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpendingTerms {
    /// The first of those keys.
    pub line: KeyId,
    /// In all; none if there is no limit.
    pub key_per_day: Option<Credits>,
    /// By each end user; none if there is no limit.
    pub user_per_day: Option<Credits>,
}

impl SpendingTerms {
    /// A key that has no limit.
    #[must_use]
    pub const fn unlimited(line: KeyId) -> Self {
        Self {
            line,
            key_per_day: None,
            user_per_day: None,
        }
    }

    /// Whether there is no limit.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.key_per_day.is_none() && self.user_per_day.is_none()
    }
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The key.
    pub key: KeyId,
    /// What it may be used for.
    pub scope: KeyScope,
    /// What may be spent with it.
    pub spending: SpendingTerms,
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No such key.
    #[error("the API key is not known")]
    Unknown,
    /// It was revoked.
    #[error("the API key was revoked")]
    Revoked,
    /// It has expired.
    #[error("the API key has expired")]
    Expired,
    /// Whoever keeps the keys does not answer; the caller may try again.
    #[error("keys cannot be checked at the moment")]
    Unavailable,
}

/// Tells whose key a secret is.
pub trait Authenticator: Send + Sync {
    /// Looks a secret up.
    fn authenticate<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Identity, AuthError>>;
}

#[cfg(test)]
mod tests {
    use super::KeyScope;

    #[test]
    fn a_key_does_what_its_scope_says_and_no_more() {
        let may = |scope: KeyScope| (scope.may_buy(), scope.may_enrol());
        assert_eq!(may(KeyScope::Full), (true, true));
        assert_eq!(may(KeyScope::Consumer), (true, false));
        assert_eq!(may(KeyScope::Island), (false, true));
    }
}
