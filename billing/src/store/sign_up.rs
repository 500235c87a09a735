//! People who make their account themselves.

use domain::{AccountId, Credits, KeyId};

use super::key::KeptSecret;
use super::merkle::Day;

/// An account with a first key and a starter grant, asked for by a stranger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignUp {
    /// What it is asked for under.
    pub request_id: String,
    /// A name for people.
    pub display_name: String,
    /// The first key's secret.
    pub secret: KeptSecret,
    /// The starter grant.
    pub grant: Credits,
    /// How many may sign up in a day.
    pub per_day_max: u32,
}

/// Somebody who signed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignUp {
    /// What it was asked for under.
    pub request_id: String,
    /// The account.
    pub owner: AccountId,
    /// Its first key.
    pub key: KeyId,
    /// The day.
    pub day: Day,
    /// What was granted.
    pub granted: Credits,
}

/// What the request of a sign-up is called among those that make owners. A stranger's words are never an operator's.
#[must_use]
pub fn owner_request(request_id: &str) -> String {
    format!("{PREFIX}{request_id}")
}

/// No request id that comes over the wire has a control character in it.
const PREFIX: &str = "\u{1}sign-up ";
