//! Rich gRPC errors: a stable reason that programs match on, beside the sentence that people read.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A status with `ErrorInfo { reason, domain }`.
#[must_use]
pub fn status(code: Code, reason: &str, domain: &str, message: impl Into<String>) -> Status {
    status_with(code, reason, domain, message, HashMap::new())
}

/// A status with `ErrorInfo { reason, domain, metadata }`.
#[must_use]
pub fn status_with(
    code: Code,
    reason: &str,
    domain: &str,
    message: impl Into<String>,
    metadata: HashMap<String, String>,
) -> Status {
    let details = ErrorDetails::with_error_info(reason, domain, metadata);
    Status::with_error_details(code, message, details)
}

/// `INVALID_ARGUMENT` with the field that is wrong.
#[must_use]
pub fn bad_field(domain: &str, field: &str, problem: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, problem);
    details.set_error_info("INVALID_ARGUMENT", domain, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
}

/// The stable reason of a status, if it carries one.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_and_field() {
        let status = bad_field("atoll.exchange", "terms.limit", "a price is never zero");
        assert_eq!(reason_of(&status).as_deref(), Some("INVALID_ARGUMENT"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "terms.limit");
    }

    #[test]
    fn a_bare_status_has_no_reason() {
        assert_eq!(reason_of(&Status::internal("x")), None);
    }
}
