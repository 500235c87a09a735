//! The wire: messages and services generated from `proto/atoll/`, and their conversion to and from the domain.
//!
//! Wire types stop at [`convert`]: nothing behind a service's edge sees them. Deliberately absent: any decision.

pub mod convert;

/// The descriptors of every service, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub mod $name {
            #[allow(
                missing_docs,
                missing_debug_implementations,
                unreachable_pub,
                clippy::all,
                clippy::as_conversions,
                clippy::wildcard_enum_match_arm,
                clippy::disallowed_methods,
                clippy::disallowed_types,
                clippy::allow_attributes_without_reason,
                reason = "generated code is not written to our lints"
            )]
            pub mod v1 {
                include!(concat!("generated/", $file));
            }
        }
    };
}

package!(
    /// Values that every service speaks about.
    types, "atoll.types.v1.rs"
);
package!(
    /// The billing service.
    billing, "atoll.billing.v1.rs"
);
package!(
    /// The link between an Island's agent and the exchange.
    agent, "atoll.agent.v1.rs"
);
package!(
    /// The consumer's door.
    exchange, "atoll.exchange.v1.rs"
);
package!(
    /// Market data.
    market_data, "atoll.market_data.v1.rs"
);
