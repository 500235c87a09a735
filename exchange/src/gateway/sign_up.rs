//! Sign-up: whoever comes gets an account, so many times in an hour from one address. How many may in a day, and whether
//! anybody may, is billing's to say.
//!
//! Invariant: addresses are remembered up to a bound. No header is believed about where a request came from.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use domain::Credits;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use proto::convert::billing::{CreateAccount, DISPLAY_NAME_LENGTH_MAX, REQUEST_ID_LENGTH_MAX};
use proto::convert::text_from_wire;
use proto::exchange::v1 as wire;
use proto::exchange::v1::sign_up_service_server::SignUpService;
use tonic::{Request, Response, Status};

use super::errors::{
    AT_CAPACITY, BILLING_UNAVAILABLE, INTERNAL, INVALID_ARGUMENT, Refusal, SIGN_UP_OFF,
    SIGN_UPS_FROM_ADDRESS, SIGN_UPS_TODAY, STOPPING,
};
use super::order::random_u64;
use super::{Gateway, now};
use crate::billing_client::{BillingError, SignedUp};
use crate::spending::until_midnight;

/// Addresses that are remembered: some megabytes. When there are more, those that may ask again are forgotten; if that is
/// not enough, nobody new is let in for a while.
const ADDRESSES_MAX: usize = 65_536;

/// What an account is called whose owner gave no name.
const NAMELESS: &str = "anonymous";

/// Where a request came from: the other end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Whose sign-ups are counted together: an IPv4 address, or the part of an IPv6 one that its network is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Self {
        let IpAddr::V6(v6) = address.to_canonical() else {
            return Self(address.to_canonical());
        };
        let [a, b, c, d, ..] = v6.segments();
        Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
    }
}

/// Counts sign-ups by where they come from.
#[derive(Debug)]
pub(super) struct SignUpLimiter {
    limiter: DefaultKeyedRateLimiter<Origin>,
    clock: DefaultClock,
}

impl SignUpLimiter {
    /// So many in an hour from one address.
    pub(super) fn new(per_hour: NonZeroU32) -> Self {
        Self {
            limiter: DefaultKeyedRateLimiter::keyed(Quota::per_hour(per_hour)),
            clock: DefaultClock::default(),
        }
    }

    fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.limiter.len() >= ADDRESSES_MAX {
            self.limiter.retain_recent();
        }
        if self.limiter.len() >= ADDRESSES_MAX {
            return Err(AT_CAPACITY.because("too many addresses sign up at once; try again"));
        }
        self.limiter.check_key(&Origin::of(address)).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            let minutes = wait.as_secs().div_ceil(60);
            let message = format!("too many sign-ups came from your address; the next may in {minutes} min");
            SIGN_UPS_FROM_ADDRESS.because(message).again_in(wait)
        })
    }
}

impl Gateway {
    /// Makes an account for whoever asks.
    pub(super) async fn sign_up(
        &self,
        from: Option<ClientAddress>,
        request: wire::SignUpRequest,
    ) -> Result<SignedUp, Refusal> {
        let asked = read(request)?;
        if !self.admission().is_open() {
            return Err(STOPPING.because("the exchange is stopping and makes no new accounts"));
        }
        let ClientAddress(address) =
            from.ok_or_else(|| INTERNAL.because("it is not known where the request came from"))?;
        self.0.sign_ups.check(address)?;
        self.billing.sign_up(asked).await.map_err(of_billing)
    }
}

fn read(request: wire::SignUpRequest) -> Result<CreateAccount, Refusal> {
    let request_id = match request.request_id {
        text if text.is_empty() => random_request()?,
        text => text_from_wire("request_id", text, REQUEST_ID_LENGTH_MAX)?,
    };
    let display_name = match request.display_name {
        text if text.is_empty() => NAMELESS.to_owned(),
        text => text_from_wire("display_name", text, DISPLAY_NAME_LENGTH_MAX)?,
    };
    Ok(CreateAccount {
        request_id,
        display_name,
    })
}

fn random_request() -> Result<String, Refusal> {
    let half = || random_u64().map_err(|_| INTERNAL.because("the machine gave no randomness"));
    Ok(format!("{:016x}{:016x}", half()?, half()?))
}

fn of_billing(error: BillingError) -> Refusal {
    match error {
        BillingError::Refused { code, message, .. } => match code.as_str() {
            "SIGN_UP_OFF" => SIGN_UP_OFF.because(message),
            "SIGN_UPS_TODAY" => SIGN_UPS_TODAY.because(message).again_in(until_midnight(now())),
            "REQUEST_DIFFERS" => INVALID_ARGUMENT
                .because("was used before, with another name")
                .at("request_id"),
            _ => {
                tracing::error!(code, message, "billing refused a sign-up");
                INTERNAL.because("billing refused the sign-up")
            }
        },
        BillingError::Unavailable { .. } | BillingError::Malformed { .. } => {
            tracing::warn!(%error, "billing could not be asked for an account");
            // The same id again would give the account without its key, which is shown once.
            BILLING_UNAVAILABLE.because(
                "it is not known whether an account was made, and its key could not be shown again; try again as somebody \
                 new, with another request id or none",
            )
        }
    }
}

/// What a client is told.
pub(super) fn signed_up_to_wire(made: SignedUp) -> wire::SignUpResponse {
    wire::SignUpResponse {
        account_id: made.account.to_string(),
        key_id: made.key.to_string(),
        api_key: made
            .secret
            .map(|secret| secret.expose().to_owned())
            .unwrap_or_default(),
        made_before: made.made_before,
        granted_nano: made.granted.max(Credits::ZERO).as_nano(),
    }
}

#[tonic::async_trait]
impl SignUpService for Gateway {
    async fn sign_up(
        &self,
        request: Request<wire::SignUpRequest>,
    ) -> Result<Response<wire::SignUpResponse>, Status> {
        let from = request.extensions().get::<ClientAddress>().copied();
        let made = Gateway::sign_up(self, from, request.into_inner()).await?;
        Ok(Response::new(signed_up_to_wire(made)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_signs_up_so_often_and_does_not_keep_others_from_it() {
        let limiter = SignUpLimiter::new(NonZeroU32::new(2).unwrap());
        let home = address("192.0.2.1");
        assert!(limiter.check(home).is_ok() && limiter.check(home).is_ok());
        let refused = limiter.check(home).unwrap_err();
        assert_eq!(refused.kind, SIGN_UPS_FROM_ADDRESS);
        let wait = refused.again_in.unwrap().as_secs();
        assert!((1..=3_600).contains(&wait), "{wait}");
        assert!(limiter.check(address("192.0.2.2")).is_ok());
        // The same address, written as IPv6 does.
        assert!(limiter.check(address("::ffff:192.0.2.1")).is_err());
        // A home's whole IPv6 network is one.
        assert!(limiter.check(address("2001:db8:1:2::1")).is_ok());
        assert!(limiter.check(address("2001:db8:1:2:ffff::9")).is_ok());
        assert!(limiter.check(address("2001:db8:1:2:3:4:5:6")).is_err());
        assert!(limiter.check(address("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn a_flood_from_everywhere_does_not_grow_the_memory() {
        let limiter = SignUpLimiter::new(NonZeroU32::new(1).unwrap());
        let everywhere =
            (0..u32::try_from(ADDRESSES_MAX).unwrap() + 10).map(|bits| IpAddr::from(bits.to_be_bytes()));
        let refused = everywhere
            .filter(|address| limiter.check(*address).is_err())
            .count();
        assert_eq!(refused, 10);
        assert_eq!(limiter.limiter.len(), ADDRESSES_MAX);
    }
}
