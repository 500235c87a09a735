//! Books and services to test on, and short names for what is asked of them.

mod asks;
mod postgres;
mod pure;

use std::sync::Arc;

use billing::store::key::{KeptSecret, NewKey};
use billing::store::postgres::PostgresStore;
use billing::store::sqlite::SqliteStore;
use billing::store::{Change, Durability, LedgerStore, Outcome, ShardSettlement};
use billing::{Config, Maturity, Running};
use domain::{
    AccountId, Bill, Credits, IslandId, JobId, LeaseEpoch, LeaseId, Liquidity, Price, Sequence, ShardId,
    Standing, Timestamp, TransferId, Units, fee_on,
};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind};
use proto::billing::v1 as pb;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::convert::billing::{KeyScope, SettleBatch, Settlement, settle_to_wire};
use service::shutdown::Shutdown;
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub(crate) use asks::{code, on_demand, payout_id, refund, traded};
pub(crate) use postgres::TestDatabase;
pub(crate) use pure::PureStore;

pub(crate) const SHARD: ShardId = ShardId::new(0);
pub(crate) const TOKEN: &str = "a-token-for-tests-only";

pub(crate) fn nano(amount: i64) -> Credits {
    Credits::from_nano(amount)
}

pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn owner(number: u64) -> Owner {
    Owner::new(AccountId::new(number)).unwrap()
}

pub(crate) fn open_owner(name: &str) -> Change {
    Change::OpenOwner {
        request_id: name.to_owned(),
        display_name: name.to_owned(),
    }
}

pub(crate) fn transfer(
    id: u128,
    kind: TransferKind,
    debit: AccountKey,
    credit: AccountKey,
    amount: i64,
) -> Transfer {
    Transfer {
        id: TransferId::new(id),
        kind,
        mode: Mode::Plain,
        debit,
        credit,
        amount: nano(amount),
        job: None,
        memo: String::new(),
    }
}

pub(crate) fn grant(id: u128, to: u64, amount: i64) -> Change {
    let credit = AccountKey::Available(owner(to));
    Change::Book(vec![transfer(
        id,
        TransferKind::Grant,
        AccountKey::Grants,
        credit,
        amount,
    )])
}

pub(crate) fn reserve(id: u128, of: u64, minimum: i64, wanted: i64) -> Change {
    let (debit, credit) = (
        AccountKey::Available(owner(of)),
        AccountKey::Reserved(owner(of), SHARD),
    );
    Change::Reserve {
        order: transfer(id, TransferKind::Reserve, debit, credit, 0),
        minimum: nano(minimum),
        wanted: nano(wanted),
    }
}

pub(crate) fn payout(id: u128, of: u64, amount: i64, mode: Mode) -> Change {
    let debit = AccountKey::Available(owner(of));
    Change::Book(vec![Transfer {
        mode,
        ..transfer(id, TransferKind::Payout, debit, AccountKey::Payouts, amount)
    }])
}

/// A settlement of `units` at 0.1 credits per 1,000, taken by the bid: right in every number.
pub(crate) fn settlement(
    sequence: u64,
    lease: u64,
    consumer: u64,
    island_owner: u64,
    units: u64,
) -> Settlement {
    let price = Price::new(100_000_000).unwrap();
    let charge = price.cost_of(Units::new(units)).unwrap();
    Settlement {
        sequence: Sequence::new(sequence),
        lease: LeaseId::new(lease),
        job: JobId::new(u128::from(lease)),
        epoch: LeaseEpoch::FIRST,
        consumer: AccountId::new(consumer),
        island_owner: AccountId::new(island_owner),
        island: IslandId::new(1),
        model: "smollm2".into(),
        price,
        bill: Bill {
            units: Units::new(units),
            charge,
            fee: fee_on(charge),
            bid_liquidity: Liquidity::Taker,
            pool_subsidy: Credits::ZERO,
        },
        billed_before_thousandths: 0,
        compensation: Credits::ZERO,
        standing: Standing::Established,
    }
}

pub(crate) fn settle(settlement: Settlement) -> Change {
    Change::Settle(ShardSettlement {
        shard: SHARD,
        settlement,
    })
}

pub(crate) fn batch(through: u64, settlements: Vec<Settlement>) -> pb::SettleRequest {
    settle_to_wire(&SettleBatch {
        shard: SHARD,
        through: Sequence::new(through),
        settlements,
    })
}

/// A store with whatever it keeps its books in.
pub(crate) struct Books<S = SqliteStore> {
    pub(crate) folder: TempDir,
    /// Dropped after the store.
    pub(crate) database: Option<TestDatabase>,
    pub(crate) store: Arc<S>,
}

/// Books in a file.
pub(crate) async fn books() -> Books {
    sqlite(Durability::Synced).await
}

pub(crate) async fn sqlite(durability: Durability) -> Books {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("billing.sqlite");
    Books {
        store: Arc::new(SqliteStore::open(&path, durability).await.unwrap()),
        folder,
        database: None,
    }
}

/// Books in PostgreSQL.
pub(crate) async fn postgres(durability: Durability) -> Books<PostgresStore> {
    let database = TestDatabase::make().await;
    Books {
        store: Arc::new(database.open(durability).await),
        folder: tempfile::tempdir().unwrap(),
        database: Some(database),
    }
}

/// Books in memory.
pub(crate) fn pure() -> Books<PureStore> {
    Books {
        store: Arc::new(PureStore::new()),
        folder: tempfile::tempdir().unwrap(),
        database: None,
    }
}

/// Runs tests that take books once on each store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod pure {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::pure()).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::sqlite(billing::store::Durability::Synced).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::postgres(billing::store::Durability::Synced).await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;

impl<S: LedgerStore> Books<S> {
    /// Commits one change and returns its outcome.
    pub(crate) async fn take(&self, change: Change) -> Outcome {
        let outcomes = self.store.commit(&[change], at(1)).await.unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.into_iter().next().unwrap()
    }

    /// Two owners, the first with 1,000 credits of which 500 are reserved.
    pub(crate) async fn fund(&self) {
        let changes = [
            open_owner("consumer"),
            open_owner("island"),
            grant(1, 1, 1_000_000_000_000),
            reserve(2, 1, 1, 500_000_000_000),
        ];
        let outcomes = self.store.commit(&changes, at(1)).await.unwrap();
        assert_eq!(outcomes[3], Outcome::Reserved(nano(500_000_000_000)));
    }

    /// A key, a cursor, matured earnings, a closed day: behind a settlement there is a row in every table then.
    pub(crate) async fn leave_a_row_in_every_table(&self) {
        let key = NewKey {
            owner: AccountId::new(1),
            name: "laptop".into(),
            scope: KeyScope::Full,
            secret: KeptSecret {
                prefix: "atoll_sk_".into(),
                sha256: [7; 32],
            },
            request: None,
            expires_at: None,
        };
        self.take(Change::CreateKey(key)).await;
        self.take(Change::MoveCursor(SHARD, Sequence::new(5))).await;
        let due = self
            .store
            .due(Standing::Established, at(5), None, 1)
            .await
            .unwrap();
        self.take(Change::Mature(due[0])).await;
        let day = self.store.first_open_day().await.unwrap().unwrap();
        self.store.close_day(day, day.end()).await.unwrap();
    }

    pub(crate) async fn assert_clean(&self) {
        assert_eq!(self.store.audit().await.unwrap().findings, Vec::<String>::new());
    }
}

pub(crate) type Client = BillingServiceClient<InterceptedService<Channel, Bearer>>;

#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) &'static str);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

/// A service on a free port, and a client of it.
pub(crate) struct Served {
    pub(crate) folder: TempDir,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

pub(crate) fn config(folder: &TempDir) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.path().to_owned(),
        service_token: Some(service::secret::Secret::new(TOKEN)),
        ..Config::default()
    }
}

pub(crate) async fn connect(address: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

pub(crate) async fn client_of(address: std::net::SocketAddr) -> Client {
    BillingServiceClient::with_interceptor(connect(address).await, Bearer(TOKEN))
}

pub(crate) async fn served() -> Served {
    serve_in(tempfile::tempdir().unwrap(), Maturity::default()).await
}

pub(crate) async fn serve_in(folder: TempDir, maturity: Maturity) -> Served {
    let shutdown = Shutdown::manual();
    let config = Config {
        maturity,
        ..config(&folder)
    };
    let running = billing::start(config, shutdown.clone()).await.unwrap();
    let client = client_of(running.address).await;
    Served {
        folder,
        shutdown,
        running,
        client,
    }
}

impl Served {
    /// Stops the service and gives back its folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.trigger();
        self.running.join.await.unwrap().unwrap();
        self.folder
    }
}

/// An account with so many nano-credits.
pub(crate) async fn account(client: &mut Client, name: &str, amount_nano: i64) -> String {
    let request = pb::CreateAccountRequest {
        request_id: format!("account-{name}"),
        display_name: name.to_owned(),
    };
    let account_id = client
        .create_account(request)
        .await
        .unwrap()
        .into_inner()
        .account_id;
    if amount_nano > 0 {
        let request = pb::GrantCreditsRequest {
            request_id: format!("grant-{name}"),
            account_id: account_id.clone(),
            amount_nano,
            reason: "for a test".into(),
        };
        client.grant_credits(request).await.unwrap();
    }
    account_id
}

pub(crate) fn reserve_request(
    id: u128,
    account_id: &str,
    minimum_nano: i64,
    wanted_nano: i64,
) -> pb::ReserveRequest {
    pb::ReserveRequest {
        transfer_id: TransferId::new(id).to_string(),
        account_id: account_id.to_owned(),
        shard: 0,
        minimum_nano,
        wanted_nano,
    }
}

/// Available, reserved, pending.
pub(crate) async fn balances(client: &mut Client, account_id: &str) -> [i64; 3] {
    let request = pb::GetBalanceRequest {
        account_id: account_id.to_owned(),
    };
    let balance = client.get_balance(request).await.unwrap().into_inner();
    [
        balance.available_nano,
        balance.reserved_nano,
        balance.pending_nano,
    ]
}

pub(crate) async fn assert_clean(client: &mut Client) -> pb::AuditResponse {
    let report = client.audit(pb::AuditRequest {}).await.unwrap().into_inner();
    assert_eq!(report.findings, Vec::<String>::new());
    assert!(report.clean);
    assert_eq!(report.sum_nano, 0);
    report
}

/// The gRPC code and the stable reason of a refused call.
pub(crate) fn reason(status: &Status) -> (tonic::Code, String) {
    (
        status.code(),
        service::errors::reason_of(status).unwrap_or_default(),
    )
}

/// The field that a refused call complains of.
pub(crate) fn field(status: &Status) -> String {
    use tonic_types::StatusExt;
    let (code, reason) = reason(status);
    assert_eq!(
        (code, reason.as_str()),
        (tonic::Code::InvalidArgument, "INVALID_ARGUMENT"),
        "{status:?}"
    );
    status.get_details_bad_request().unwrap().field_violations[0]
        .field
        .clone()
}
