//! A billing service for a whole exchange: the double that the money tests use, with keys, on shard 0.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use domain::{AccountId, KeyId};
use proto::billing::v1 as wire;
use proto::billing::v1::billing_service_server::{BillingService, BillingServiceServer};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::money::billing::{Billing, TOKEN};

/// Whose a key is, what it may be used for, and its number.
type Holder = (AccountId, wire::KeyScope, u64);

/// Billing with keys. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Bank {
    pub(crate) billing: Billing,
    keys: Arc<Mutex<BTreeMap<[u8; 32], Holder>>>,
    revoked: Arc<Mutex<BTreeSet<[u8; 32]>>>,
    limits: Arc<Mutex<BTreeMap<[u8; 32], wire::SpendingLimit>>>,
    calls: Arc<AtomicUsize>,
    /// When keys expire, in microseconds since 1970.
    ends: Arc<Mutex<BTreeMap<[u8; 32], u64>>>,
}

impl Bank {
    /// Makes a key; returns its secret.
    pub(crate) fn key(&self, name: &str, account: AccountId, scope: wire::KeyScope) -> String {
        let secret = format!("atoll_sk_{name}");
        let digest = Sha256::digest(secret.as_bytes()).into();
        let mut keys = self.keys.lock().unwrap();
        let number = u64::try_from(keys.len()).unwrap() + 1;
        // A key that is made again, for another start, stays the same.
        keys.entry(digest).or_insert((account, scope, number));
        secret
    }

    /// Makes a key worthless.
    pub(crate) fn revoke(&self, secret: &str) {
        let digest = Sha256::digest(secret.as_bytes()).into();
        self.revoked.lock().unwrap().insert(digest);
    }

    /// Says what may be spent with a key in a day, and by each of its end users; 0 is no limit.
    pub(crate) fn limit(&self, secret: &str, key_nano_per_day: i64, user_nano_per_day: i64) {
        let digest = Sha256::digest(secret.as_bytes()).into();
        let limit = wire::SpendingLimit {
            key_nano_per_day,
            user_nano_per_day,
        };
        self.limits.lock().unwrap().insert(digest, limit);
    }

    /// What a key is called where it is not secret.
    pub(crate) fn id(&self, secret: &str) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        KeyId::new(self.keys.lock().unwrap()[&digest].2)
    }

    /// Lets a key expire at a moment, in microseconds since 1970.
    pub(crate) fn expire(&self, secret: &str, at_us: u64) {
        let digest = Sha256::digest(secret.as_bytes()).into();
        self.ends.lock().unwrap().insert(digest, at_us);
    }

    /// How often it was called, whatever for.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) async fn serve(&self) -> (SocketAddr, tokio::task::AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::clone(&self.calls);
        let check = move |request: Request<()>| {
            calls.fetch_add(1, Ordering::Relaxed);
            match request.metadata().get("authorization") {
                Some(token) if token == &format!("Bearer {TOKEN}") => Ok(request),
                _ => Err(Status::unauthenticated("not the service token")),
            }
        };
        let serving = tonic::transport::Server::builder()
            .add_service(BillingServiceServer::with_interceptor(self.clone(), check))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async { serving.await.unwrap() });
        (address, task.abort_handle())
    }
}

macro_rules! delegate {
    ($($method:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl BillingService for Bank {
            $(
                async fn $method(
                    &self,
                    request: Request<wire::$request>,
                ) -> Result<Response<wire::$response>, Status> {
                    self.billing.$method(request).await
                }
            )*

            async fn list_api_keys(
                &self,
                request: Request<wire::ListApiKeysRequest>,
            ) -> Result<Response<wire::ListApiKeysResponse>, Status> {
                let account = request.into_inner().account_id;
                let keys = self.keys.lock().unwrap();
                let own = keys.values().filter(|(holder, ..)| holder.to_string() == account);
                let keys = own.map(|(_, scope, number)| wire::ApiKey {
                    key_id: KeyId::new(*number).to_string(),
                    scope: (*scope).into(),
                    ..wire::ApiKey::default()
                });
                Ok(Response::new(wire::ListApiKeysResponse { keys: keys.collect() }))
            }

            async fn set_spending_limit(
                &self,
                request: Request<wire::SetSpendingLimitRequest>,
            ) -> Result<Response<wire::SetSpendingLimitResponse>, Status> {
                let asked = request.into_inner();
                let keys = self.keys.lock().unwrap();
                let is_meant = |(_, (_, _, number)): &(_, &Holder)| KeyId::new(*number).to_string() == asked.key_id;
                let (digest, _) = keys.iter().find(is_meant).unwrap();
                self.limits.lock().unwrap().insert(*digest, asked.spending_limit.unwrap_or_default());
                Ok(Response::new(wire::SetSpendingLimitResponse {}))
            }

            async fn authenticate_api_key(
                &self,
                request: Request<wire::AuthenticateApiKeyRequest>,
            ) -> Result<Response<wire::AuthenticateApiKeyResponse>, Status> {
                let digest: [u8; 32] = request.into_inner().secret_sha256.try_into().unwrap();
                if self.revoked.lock().unwrap().contains(&digest) {
                    let code = Code::PermissionDenied;
                    return Err(service::errors::status(code, "REVOKED_API_KEY", "atoll.billing", "it was revoked"));
                }
                let ends = self.ends.lock().unwrap().get(&digest).copied();
                if ends.is_some_and(|ends| ends <= service::clock::unix_micros()) {
                    let code = Code::PermissionDenied;
                    return Err(service::errors::status(code, "EXPIRED_API_KEY", "atoll.billing", "it has expired"));
                }
                let found = self.keys.lock().unwrap().get(&digest).copied();
                let (account, scope, number) = found.ok_or_else(|| {
                    service::errors::status(Code::NotFound, "UNKNOWN_KEY", "atoll.billing", "no such key")
                })?;
                Ok(Response::new(wire::AuthenticateApiKeyResponse {
                    account_id: account.to_string(),
                    key_id: KeyId::new(number).to_string(),
                    line_key_id: KeyId::new(number).to_string(),
                    spending_limit: self.limits.lock().unwrap().get(&digest).copied(),
                    scope: scope.into(),
                    expire_time_us: self.ends.lock().unwrap().get(&digest).copied().unwrap_or_default(),
                }))
            }
        }
    };
}

delegate! {
    create_account: CreateAccountRequest => CreateAccountResponse;
    grant_credits: GrantCreditsRequest => GrantCreditsResponse;
    create_api_key: CreateApiKeyRequest => CreateApiKeyResponse;
    sign_up: SignUpRequest => SignUpResponse;
    rotate_api_key: RotateApiKeyRequest => RotateApiKeyResponse;
    report_spending: ReportSpendingRequest => ReportSpendingResponse;
    list_spending: ListSpendingRequest => ListSpendingResponse;
    revoke_api_key: RevokeApiKeyRequest => RevokeApiKeyResponse;
    reserve: ReserveRequest => ReserveResponse;
    return_reserved: ReturnReservedRequest => ReturnReservedResponse;
    list_reservations: ListReservationsRequest => ListReservationsResponse;
    settle: SettleRequest => SettleResponse;
    get_settlement_cursor: GetSettlementCursorRequest => GetSettlementCursorResponse;
    get_balance: GetBalanceRequest => GetBalanceResponse;
    list_transfers: ListTransfersRequest => ListTransfersResponse;
    list_reserved_balances: ListReservedBalancesRequest => ListReservedBalancesResponse;
    list_usage: ListUsageRequest => ListUsageResponse;
    refund_job: RefundJobRequest => RefundJobResponse;
    correct_balance: CorrectBalanceRequest => CorrectBalanceResponse;
    book_refused_settlement: BookRefusedSettlementRequest => BookRefusedSettlementResponse;
    get_statement: GetStatementRequest => GetStatementResponse;
    request_payout: RequestPayoutRequest => RequestPayoutResponse;
    set_payout_destination: SetPayoutDestinationRequest => SetPayoutDestinationResponse;
    list_payouts: ListPayoutsRequest => ListPayoutsResponse;
    approve_payout: ApprovePayoutRequest => ApprovePayoutResponse;
    reject_payout: RejectPayoutRequest => RejectPayoutResponse;
    announce_reset: AnnounceResetRequest => AnnounceResetResponse;
    audit: AuditRequest => AuditResponse;
}
