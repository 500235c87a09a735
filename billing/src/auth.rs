//! Who may call: whoever shows the service token.

use service::secret::Secret;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::error::ApiError;
use crate::keys::{equal, sha256};

/// Lets calls through that carry `authorization: Bearer <service token>`.
#[derive(Clone)]
pub struct TokenCheck {
    expected: [u8; 32],
}

impl TokenCheck {
    /// Expects this token.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self {
            expected: sha256(token.expose().as_bytes()),
        }
    }

    fn allows(&self, header: Option<&str>) -> bool {
        // Hashing first gives both sides one length, and an attacker no influence on where they differ.
        header
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .is_some_and(|(_, token)| equal(&sha256(token.as_bytes()), &self.expected))
    }
}

impl std::fmt::Debug for TokenCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCheck").finish_non_exhaustive()
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        if self.allows(header.and_then(|header| header.to_str().ok())) {
            Ok(request)
        } else {
            Err(ApiError::Unauthenticated.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_let_through() {
        let check = TokenCheck::new(&Secret::new("0123456789abcdef"));
        assert!(check.allows(Some("Bearer 0123456789abcdef")));
        assert!(check.allows(Some("bearer 0123456789abcdef")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef ",
            "Bearer 0123456789abcdeg",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!check.allows(Some(wrong)), "{wrong}");
        }
        assert!(!check.allows(None));
    }
}
