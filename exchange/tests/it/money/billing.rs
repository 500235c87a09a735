//! A billing service at the wire, with books in memory and faults on demand.

mod books;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use domain::{AccountId, Sequence, ShardId};
use exchange::billing_client::{BillingClient, BillingConfig};
use proto::billing::v1 as wire;
use proto::billing::v1::billing_service_server::{BillingService, BillingServiceServer};
use proto::convert::billing::{reserve_from_wire, return_from_wire, settle_from_wire};
use proto::convert::{FieldError, id_from_wire};
use service::secret::Secret;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use books::bad_field;

pub(crate) const TOKEN: &str = "service-token";
pub(crate) const SHARD: ShardId = ShardId::new(3);

/// What happens to the next call of a method.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is refused before anything is done.
    Before(Code),
    /// It is done, and the answer is lost.
    Lost,
    /// It is done, and never answered.
    Silent,
    /// It waits until [`Billing::release`].
    Held,
}

/// What the double has booked.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) available: BTreeMap<AccountId, i64>,
    pub(crate) reserved: BTreeMap<AccountId, i64>,
    /// Into and out of reserved accounts, oldest first.
    pub(crate) reservations: Vec<wire::Reservation>,
    /// Settled leases, by their text.
    pub(crate) settled: BTreeMap<String, wire::Settlement>,
    /// Leases in the order in which they were first booked.
    pub(crate) order: Vec<String>,
    pub(crate) cursor: u64,
    /// Leases that are refused.
    pub(crate) refuse: Vec<String>,
    /// Calls by method, repetitions included.
    pub(crate) calls: BTreeMap<&'static str, usize>,
    /// The sizes of the batches that came.
    pub(crate) batches: Vec<usize>,
    pub(crate) page_size: usize,
    /// What no exchange may do, and this one did. Told to the test at its next look into the books.
    wrong: Vec<String>,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    accounts: BTreeMap<String, u64>,
    grants: BTreeMap<String, i64>,
    keys: u64,
    /// What was spent, by line, day and hash of the end user.
    pub(crate) spending: BTreeMap<(String, u32, Vec<u8>), i64>,
    /// Lines of keys that are not known when somebody tells what they spent.
    pub(crate) unknown_lines: Vec<String>,
}

/// The service. Cheap to clone; its books survive its server.
#[derive(Clone)]
pub(crate) struct Billing {
    books: Arc<Mutex<Books>>,
    gate: Arc<Semaphore>,
    calls: Arc<watch::Sender<usize>>,
}

impl Default for Billing {
    fn default() -> Self {
        Self {
            books: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            calls: Arc::new(watch::channel(0).0),
        }
    }
}

/// A server of it, on a runtime of its own: when that goes, every connection is cut. Dropping it does so.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Stops listening and cuts every connection; returns when the port is free.
    pub(crate) async fn stop(mut self) {
        let runtime = self.runtime.take().unwrap();
        let stopping = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(60)));
        stopping.await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn client_of(address: SocketAddr) -> BillingClient {
    // Far beyond what a busy machine takes, so that only the faults of a test make a call fail.
    client_with(address, TOKEN, Duration::from_secs(60))
}

pub(crate) fn client_with(address: SocketAddr, token: &str, timeout: Duration) -> BillingClient {
    BillingClient::new(&BillingConfig {
        address: format!("http://{address}"),
        token: Secret::new(token),
        timeout,
    })
    .unwrap()
}

impl Billing {
    pub(crate) async fn serve(&self) -> Server {
        self.serve_on("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn serve_on(&self, address: SocketAddr) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let billing = self.clone();
        let (bound, bound_to) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            tonic::transport::Server::builder()
                .add_service(BillingServiceServer::with_interceptor(billing, check_token))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Server {
            address: bound_to.await.unwrap(),
            runtime: Some(runtime),
        }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        let books = self.books.lock().unwrap();
        assert!(books.wrong.is_empty(), "{:?}", books.wrong);
        books
    }

    pub(crate) fn give(&self, account: AccountId, nano: i64) {
        *self.books().available.entry(account).or_default() += nano;
    }

    pub(crate) fn fault(&self, method: &'static str, fault: Fault) {
        self.books().faults.entry(method).or_default().push_back(fault);
    }

    /// Lets `count` held calls go on.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    pub(crate) fn calls(&self, method: &'static str) -> usize {
        self.books().calls.get(method).copied().unwrap_or(0)
    }

    /// Resolves when a method was called so often.
    pub(crate) async fn wait_calls(&self, method: &'static str, count: usize) {
        let mut calls = self.calls.subscribe();
        while self.calls(method) < count {
            calls.changed().await.unwrap();
        }
    }

    /// Everything that all accounts have: changed by grants only.
    pub(crate) fn reserved_of(&self, account: AccountId) -> i64 {
        self.books().reserved.get(&account).copied().unwrap_or(0)
    }

    async fn answer<T>(
        &self,
        method: &'static str,
        act: impl FnOnce(&mut Books) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let fault = {
            let mut books = self.books.lock().unwrap();
            *books.calls.entry(method).or_default() += 1;
            books.faults.get_mut(method).and_then(VecDeque::pop_front)
        };
        self.calls.send_modify(|calls| *calls += 1);
        match &fault {
            Some(Fault::Before(code)) => return Err(Status::new(*code, "as the test wants")),
            Some(Fault::Held) => self.gate.acquire().await.unwrap().forget(),
            Some(Fault::Lost | Fault::Silent) | None => {}
        }
        let answer = act(&mut self.books.lock().unwrap());
        match fault {
            Some(Fault::Lost) => Err(Status::unavailable("the answer is lost")),
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Before(_) | Fault::Held) | None => answer.map(Response::new),
        }
    }
}

fn check_token(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("authorization") {
        Some(token) if token == &format!("Bearer {TOKEN}") => Ok(request),
        _ => Err(Status::unauthenticated("not the service token")),
    }
}

#[tonic::async_trait]
impl BillingService for Billing {
    async fn create_account(
        &self,
        request: Request<wire::CreateAccountRequest>,
    ) -> Result<Response<wire::CreateAccountResponse>, Status> {
        self.answer("create_account", |books| {
            let next = u64::try_from(books.accounts.len()).unwrap() + 1;
            let account = *books
                .accounts
                .entry(request.into_inner().request_id)
                .or_insert(next);
            let account_id = AccountId::new(account).to_string();
            Ok(wire::CreateAccountResponse { account_id })
        })
        .await
    }

    async fn grant_credits(
        &self,
        request: Request<wire::GrantCreditsRequest>,
    ) -> Result<Response<wire::GrantCreditsResponse>, Status> {
        self.answer("grant_credits", |books| {
            let request = request.into_inner();
            let account: AccountId = id_from_wire("account_id", &request.account_id).map_err(bad_field)?;
            if books
                .grants
                .insert(request.request_id, request.amount_nano)
                .is_none()
            {
                *books.available.entry(account).or_default() += request.amount_nano;
            }
            Ok(wire::GrantCreditsResponse {
                transfer_id: "trf_1".to_owned(),
                available_nano: books.available[&account],
            })
        })
        .await
    }

    async fn create_api_key(
        &self,
        _: Request<wire::CreateApiKeyRequest>,
    ) -> Result<Response<wire::CreateApiKeyResponse>, Status> {
        self.answer("create_api_key", |books| {
            books.keys += 1;
            Ok(wire::CreateApiKeyResponse {
                key_id: domain::KeyId::new(books.keys).to_string(),
                secret: format!("atoll_sk_{}", books.keys),
                made_before: false,
            })
        })
        .await
    }

    async fn sign_up(
        &self,
        request: Request<wire::SignUpRequest>,
    ) -> Result<Response<wire::SignUpResponse>, Status> {
        let asked = request.into_inner();
        self.answer("sign_up", |books| {
            let next = u64::try_from(books.accounts.len()).unwrap() + 1;
            let before = books.accounts.len();
            let number = *books.accounts.entry(asked.request_id).or_insert(next);
            let made_before = books.accounts.len() == before;
            Ok(wire::SignUpResponse {
                account_id: AccountId::new(number).to_string(),
                key_id: domain::KeyId::new(number).to_string(),
                secret: if made_before {
                    String::new()
                } else {
                    format!("atoll_sk_{number}")
                },
                made_before,
                granted_nano: 10,
            })
        })
        .await
    }

    async fn rotate_api_key(
        &self,
        _: Request<wire::RotateApiKeyRequest>,
    ) -> Result<Response<wire::RotateApiKeyResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn revoke_api_key(
        &self,
        _: Request<wire::RevokeApiKeyRequest>,
    ) -> Result<Response<wire::RevokeApiKeyResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list_api_keys(
        &self,
        _: Request<wire::ListApiKeysRequest>,
    ) -> Result<Response<wire::ListApiKeysResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn set_spending_limit(
        &self,
        _: Request<wire::SetSpendingLimitRequest>,
    ) -> Result<Response<wire::SetSpendingLimitResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn report_spending(
        &self,
        request: Request<wire::ReportSpendingRequest>,
    ) -> Result<Response<wire::ReportSpendingResponse>, Status> {
        self.answer("report_spending", |books| {
            let totals = request.into_inner().totals;
            let is_unknown = |total: &wire::Spending| books.unknown_lines.contains(&total.line_key_id);
            if totals.iter().any(is_unknown) {
                let code = Code::NotFound;
                return Err(service::errors::status(
                    code,
                    "UNKNOWN_KEY",
                    "atoll.billing",
                    "no such key",
                ));
            }
            for total in totals {
                let place = (total.line_key_id, total.day, total.user_sha256);
                let known = books.spending.entry(place).or_default();
                *known = total.spent_nano.max(*known);
            }
            Ok(wire::ReportSpendingResponse {})
        })
        .await
    }

    async fn list_spending(
        &self,
        request: Request<wire::ListSpendingRequest>,
    ) -> Result<Response<wire::ListSpendingResponse>, Status> {
        let asked = request.into_inner();
        self.answer("list_spending", |books| {
            let of_line = books
                .spending
                .iter()
                .filter(|((line, day, _), _)| (line, *day) == (&asked.key_id, asked.day));
            let totals = of_line.map(|((line, day, user), spent)| wire::Spending {
                line_key_id: line.clone(),
                user_sha256: user.clone(),
                day: *day,
                spent_nano: *spent,
            });
            Ok(wire::ListSpendingResponse {
                totals: totals.collect(),
                next_page_token: String::new(),
            })
        })
        .await
    }

    async fn authenticate_api_key(
        &self,
        request: Request<wire::AuthenticateApiKeyRequest>,
    ) -> Result<Response<wire::AuthenticateApiKeyResponse>, Status> {
        self.answer("authenticate_api_key", |_| {
            match request.into_inner().secret_sha256[..] {
                [1, ..] => Ok(wire::AuthenticateApiKeyResponse {
                    line_key_id: "key_7".to_owned(),
                    account_id: AccountId::new(5).to_string(),
                    key_id: "key_7".to_owned(),
                    scope: wire::KeyScope::Consumer.into(),
                    ..Default::default()
                }),
                [2, ..] => Ok(wire::AuthenticateApiKeyResponse {
                    account_id: "not an account".to_owned(),
                    key_id: "key_7".to_owned(),
                    ..Default::default()
                }),
                _ => Err(service::errors::status(
                    Code::NotFound,
                    "UNKNOWN_KEY",
                    "atoll.billing",
                    "no such key",
                )),
            }
        })
        .await
    }

    async fn reserve(
        &self,
        request: Request<wire::ReserveRequest>,
    ) -> Result<Response<wire::ReserveResponse>, Status> {
        self.answer("reserve", |books| books.reserve(&request.into_inner()))
            .await
    }

    async fn return_reserved(
        &self,
        request: Request<wire::ReturnReservedRequest>,
    ) -> Result<Response<wire::ReturnReservedResponse>, Status> {
        self.answer("return_reserved", |books| books.give_back(&request.into_inner()))
            .await
    }

    async fn list_reservations(
        &self,
        request: Request<wire::ListReservationsRequest>,
    ) -> Result<Response<wire::ListReservationsResponse>, Status> {
        self.answer("list_reservations", |books| Ok(books.list(&request.into_inner())))
            .await
    }

    async fn settle(
        &self,
        request: Request<wire::SettleRequest>,
    ) -> Result<Response<wire::SettleResponse>, Status> {
        let request = request.into_inner();
        // A batch that only moves the cursor comes when the clock wants it, so faults do not meet it by accident.
        let method = if request.settlements.is_empty() {
            "settle_nothing"
        } else {
            "settle"
        };
        self.answer(method, |books| books.settle(request)).await
    }

    async fn get_settlement_cursor(
        &self,
        _: Request<wire::GetSettlementCursorRequest>,
    ) -> Result<Response<wire::GetSettlementCursorResponse>, Status> {
        self.answer("get_settlement_cursor", |books| {
            let through_sequence = books.cursor;
            Ok(wire::GetSettlementCursorResponse { through_sequence })
        })
        .await
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        self.answer("get_balance", |books| {
            let account: AccountId =
                id_from_wire("account_id", &request.into_inner().account_id).map_err(bad_field)?;
            Ok(wire::GetBalanceResponse {
                available_nano: books.available.get(&account).copied().unwrap_or(0),
                reserved_nano: books.reserved.get(&account).copied().unwrap_or(0),
                pending_nano: 0,
                announced_reset: None,
            })
        })
        .await
    }

    async fn list_transfers(
        &self,
        _: Request<wire::ListTransfersRequest>,
    ) -> Result<Response<wire::ListTransfersResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list_usage(
        &self,
        _: Request<wire::ListUsageRequest>,
    ) -> Result<Response<wire::ListUsageResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn refund_job(
        &self,
        _: Request<wire::RefundJobRequest>,
    ) -> Result<Response<wire::RefundJobResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn correct_balance(
        &self,
        _: Request<wire::CorrectBalanceRequest>,
    ) -> Result<Response<wire::CorrectBalanceResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn book_refused_settlement(
        &self,
        _: Request<wire::BookRefusedSettlementRequest>,
    ) -> Result<Response<wire::BookRefusedSettlementResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn get_statement(
        &self,
        _: Request<wire::GetStatementRequest>,
    ) -> Result<Response<wire::GetStatementResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn request_payout(
        &self,
        _: Request<wire::RequestPayoutRequest>,
    ) -> Result<Response<wire::RequestPayoutResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn set_payout_destination(
        &self,
        _: Request<wire::SetPayoutDestinationRequest>,
    ) -> Result<Response<wire::SetPayoutDestinationResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list_payouts(
        &self,
        _: Request<wire::ListPayoutsRequest>,
    ) -> Result<Response<wire::ListPayoutsResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn approve_payout(
        &self,
        _: Request<wire::ApprovePayoutRequest>,
    ) -> Result<Response<wire::ApprovePayoutResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn reject_payout(
        &self,
        _: Request<wire::RejectPayoutRequest>,
    ) -> Result<Response<wire::RejectPayoutResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn announce_reset(
        &self,
        _: Request<wire::AnnounceResetRequest>,
    ) -> Result<Response<wire::AnnounceResetResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list_reserved_balances(
        &self,
        request: Request<wire::ListReservedBalancesRequest>,
    ) -> Result<Response<wire::ListReservedBalancesResponse>, Status> {
        let request = request.into_inner();
        self.answer(
            "list_reserved_balances",
            |books| Ok(books.list_balances(&request)),
        )
        .await
    }

    async fn audit(&self, _: Request<wire::AuditRequest>) -> Result<Response<wire::AuditResponse>, Status> {
        // An exchange has no business with it.
        self.answer("audit", |_| {
            Err(Status::unimplemented("the exchange asks for no audit"))
        })
        .await
    }
}
