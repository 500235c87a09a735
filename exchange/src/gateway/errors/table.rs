//! The table itself. A code that was ever released keeps its meaning.

use tonic::Code;

use super::{Kind, Retry};

/// What a client that may try again is told to wait.
pub const RETRY_AFTER_SECONDS: u64 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $grpc:ident, $http:literal, $retry:ident;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Kind = Kind {
                code: stringify!($name),
                grpc: Code::$grpc,
                http: $http,
                retry: Retry::$retry,
            };
        )*
        /// Every kind there is.
        pub const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    // Who signs up.
    /// Nobody may make an account by himself.
    SIGN_UP_OFF: FailedPrecondition, 403, No;
    /// As many as may have signed up today.
    SIGN_UPS_TODAY: ResourceExhausted, 429, Yes;
    /// Too many sign-ups from an address.
    SIGN_UPS_FROM_ADDRESS: ResourceExhausted, 429, Yes;

    // What may be spent.
    /// The key may spend no more today.
    KEY_SPENDING_LIMIT: ResourceExhausted, 429, Yes;
    /// The end user of the key may spend no more today.
    USER_SPENDING_LIMIT: ResourceExhausted, 429, Yes;

    // Who asks.
    /// No API key came with the request.
    MISSING_API_KEY: Unauthenticated, 401, No;
    /// What came is not of the form of an API key.
    MALFORMED_API_KEY: Unauthenticated, 401, No;
    /// No such key.
    INVALID_API_KEY: Unauthenticated, 401, No;
    /// The key was revoked.
    REVOKED_API_KEY: Unauthenticated, 401, No;
    /// The key has expired.
    EXPIRED_API_KEY: Unauthenticated, 401, No;
    /// The key may not do this.
    WRONG_KEY_SCOPE: PermissionDenied, 403, No;
    /// Only an operator may do this.
    OPERATOR_ONLY: PermissionDenied, 403, No;
    /// Keys cannot be checked at the moment.
    KEY_CHECK_UNAVAILABLE: Unavailable, 503, Yes;

    // What is asked, before the market sees it.
    /// A field is missing, malformed or out of range.
    INVALID_ARGUMENT: InvalidArgument, 400, No;
    /// A feature that this exchange does not have.
    UNSUPPORTED_PARAMETER: InvalidArgument, 400, No;
    /// No such model here.
    MODEL_NOT_FOUND: NotFound, 404, No;
    /// No messages, or none with text.
    EMPTY_PROMPT: InvalidArgument, 400, No;
    /// Prompt and answer do not fit the model's context.
    CONTEXT_LENGTH_EXCEEDED: InvalidArgument, 400, No;
    /// The model's chat template does not take this conversation.
    PROMPT_REFUSED: InvalidArgument, 400, No;

    // HTTP itself.
    /// The body is no JSON object.
    MALFORMED_JSON: InvalidArgument, 400, No;
    /// No such route.
    UNKNOWN_ROUTE: Unimplemented, 404, No;
    /// The route has no such method.
    METHOD_NOT_ALLOWED: Unimplemented, 405, No;
    /// The body took too long to arrive.
    REQUEST_TIMEOUT: DeadlineExceeded, 408, Yes;
    /// The body is too large.
    BODY_TOO_LARGE: ResourceExhausted, 413, No;
    /// The body is not declared to be JSON.
    UNSUPPORTED_MEDIA_TYPE: InvalidArgument, 415, No;

    // Whether there is room.
    /// The account has as many jobs in flight as it may have.
    TOO_MANY_JOBS: ResourceExhausted, 429, Yes;
    /// The exchange has as many jobs in flight as it may have.
    AT_CAPACITY: Unavailable, 503, Yes;
    /// The journal's disk is full.
    STORAGE_FULL: Unavailable, 503, Yes;
    /// The exchange is stopping.
    STOPPING: Unavailable, 503, Yes;
    /// The account has as many order-entry sessions as one may have, or the exchange as many as it holds.
    TOO_MANY_SESSIONS: ResourceExhausted, 429, Yes;
    /// Something of ours broke.
    INTERNAL: Internal, 500, No;

    // Money.
    /// Not enough credits.
    INSUFFICIENT_CREDITS: FailedPrecondition, 402, No;
    /// The account's books disagree: it buys nothing until an operator has looked.
    ACCOUNT_SUSPENDED: PermissionDenied, 403, No;
    /// Billing cannot be asked at the moment.
    BILLING_UNAVAILABLE: Unavailable, 503, Yes;

    // What the market decides.
    /// Nobody who quotes could ever fill it.
    UNSERVABLE: FailedPrecondition, 422, No;
    /// Nobody took it in time.
    EXPIRED: FailedPrecondition, 422, No;
    /// Not filled at once, and it would not wait.
    NOT_FILLED: FailedPrecondition, 422, No;
    /// Cancelled by its owner.
    CANCELLED: Cancelled, 422, No;
    /// It met an order of the same owner.
    SELF_TRADE: FailedPrecondition, 422, No;
    /// The session's dead-man switch fired.
    DEAD_MAN: Cancelled, 422, No;
    /// It may only rest, and would have traded.
    WOULD_TRADE: FailedPrecondition, 422, No;
    /// The deadline has passed already.
    DEADLINE_PASSED: FailedPrecondition, 422, No;
    /// The client order id was used for another order.
    DUPLICATE_CLIENT_ORDER_ID: AlreadyExists, 422, No;
    /// The client order id was used for the same order: it is not run again, and its text was not kept.
    REPEATED_ORDER: AlreadyExists, 422, No;
    /// A bid above the model's price band, or an ask below it.
    OUTSIDE_PRICE_BAND: FailedPrecondition, 422, No;
    /// Trading in the model is halted.
    HALTED: Unavailable, 503, Yes;
    /// The account has as many orders as one may have.
    TOO_MANY_ORDERS: ResourceExhausted, 429, Yes;
    /// The account enters, cancels and amends more for each trade than one may.
    ORDER_TO_TRADE: ResourceExhausted, 429, Yes;
    /// The model has as many kinds of bids resting as it may have.
    TOO_MANY_CLASSES: ResourceExhausted, 422, No;
    /// No region is eligible.
    NO_REGION: InvalidArgument, 400, No;
    /// A region that the table does not have.
    UNKNOWN_REGION: InvalidArgument, 400, No;
    /// No jobs, or too many.
    INVALID_QUANTITY: InvalidArgument, 400, No;
    /// No work, or too much.
    INVALID_UNITS: InvalidArgument, 400, No;
    /// The time in force makes no sense for this order.
    INVALID_TIME_IN_FORCE: InvalidArgument, 400, No;
    /// The reservation does not fit the number of credits.
    OVERFLOW: InvalidArgument, 400, No;
    /// No such order of the caller's.
    UNKNOWN_ORDER: NotFound, 404, No;
    /// An amend must leave less, and not nothing.
    NOT_LESS: FailedPrecondition, 422, No;

    // How a job failed.
    /// Nobody was left to finish it: what was delivered is incomplete, and billed.
    INCOMPLETE: Aborted, 502, No;
    /// It ended before any output, and costs nothing.
    FAILED: Unavailable, 503, Yes;
    /// The exchange lost the session that held the job.
    SESSION_LOST: Unavailable, 503, Yes;
    /// The client did not read his stream.
    STREAM_STALLED: Aborted, 422, No;

    // Long sessions.
    /// No such order-entry session of the caller's, or it has ended.
    SESSION_ENDED: NotFound, 404, No;
    /// The reports from which the session was to go on are not kept any more.
    REPORTS_GONE: OutOfRange, 422, No;
    /// The session was resumed over another connection.
    RESUMED_ELSEWHERE: Aborted, 422, No;

    // What only Islands, operators and the exchange itself meet.
    /// The region table drops or moves a region in use.
    REGIONS_CONFLICT: FailedPrecondition, 422, No;
    /// The instrument's id is not the next one.
    INSTRUMENT_OUT_OF_ORDER: FailedPrecondition, 422, No;
    /// No such instrument.
    UNKNOWN_INSTRUMENT: NotFound, 404, No;
    /// No such session, or it has ended.
    UNKNOWN_SESSION: Unavailable, 503, Yes;
    /// No such Island with a live session.
    UNKNOWN_ISLAND: NotFound, 404, No;
    /// The Island may not quote this model.
    NOT_QUOTABLE: FailedPrecondition, 422, No;
    /// No such lease, or it has ended.
    UNKNOWN_LEASE: NotFound, 404, No;
    /// The slot was given back before.
    NO_SLOT: FailedPrecondition, 422, No;
    /// More work than the lease may bill.
    OVER_BILLED: FailedPrecondition, 422, No;
    /// Failed over as often as a job may be.
    TOO_MANY_FAILOVERS: FailedPrecondition, 422, No;
    /// Not a sum that can be moved.
    INVALID_AMOUNT: InvalidArgument, 400, No;
}
