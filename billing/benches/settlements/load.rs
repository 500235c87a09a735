//! Settlements as exchanges send them: batches over gRPC, one after the other for each shard.

use std::time::{Duration, Instant};

use billing::{Config, Running};
use domain::{
    AccountId, Bill, Credits, IslandId, JobId, LeaseEpoch, LeaseId, Liquidity, Price, Sequence, ShardId,
    Standing, TransferId, Units, fee_on,
};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind};
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::convert::billing::{SettleBatch, Settlement, settle_to_wire};
use service::secret::Secret;
use service::shutdown::Shutdown;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use billing::store::Change;

use crate::books::Books;

/// Exchanges that settle at once.
const SHARDS: u16 = 4;
/// Settlements in one call: what an exchange's outbox sends.
const CALL: u64 = 256;
/// Consumers and Islands' owners, half of each.
const OWNERS: u64 = 128;
const TOKEN: &str = "a-token-for-measuring";

/// Owners with credits, and every consumer with buying power on every shard.
pub(crate) fn opening() -> Vec<Change> {
    let mut changes = Vec::new();
    for number in 1..=OWNERS {
        let name = format!("owner-{number}");
        changes.push(Change::OpenOwner {
            request_id: name.clone(),
            display_name: name,
        });
    }
    for number in 1..=OWNERS >> 1 {
        let owner = Owner::new(AccountId::new(number)).unwrap();
        let transfer = |id: u64, kind, debit, credit, amount| Transfer {
            id: TransferId::new(u128::from(id)),
            kind,
            mode: Mode::Plain,
            debit,
            credit,
            amount: Credits::from_nano(amount),
            job: None,
            memo: String::new(),
        };
        let available = AccountKey::Available(owner);
        let grant = transfer(
            number,
            TransferKind::Grant,
            AccountKey::Grants,
            available,
            1 << 50,
        );
        changes.push(Change::Book(vec![grant]));
        for shard in 0..SHARDS {
            let reserved = AccountKey::Reserved(owner, ShardId::new(shard));
            let id = 1_000_000 + number * 100 + u64::from(shard);
            changes.push(Change::Reserve {
                order: transfer(id, TransferKind::Reserve, available, reserved, 0),
                minimum: Credits::from_nano(1 << 45),
                wanted: Credits::from_nano(1 << 45),
            });
        }
    }
    changes
}

fn settlement(lease: u64) -> Settlement {
    let price = Price::new(20_000_000).unwrap();
    let units = Units::new(800 + lease % 700);
    let charge = price.cost_of(units).unwrap();
    let half = OWNERS >> 1;
    Settlement {
        sequence: Sequence::new(lease),
        lease: LeaseId::new(lease),
        job: JobId::new(u128::from(lease)),
        epoch: LeaseEpoch::FIRST,
        consumer: AccountId::new(1 + lease % half),
        island_owner: AccountId::new(1 + half + (lease * 7) % half),
        island: IslandId::new(1 + lease % 1_000),
        model: "smollm2-135m-instruct".into(),
        price,
        bill: Bill {
            units,
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

#[derive(Clone)]
struct Bearer;

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

/// Settles so many leases through a billing of its own; returns how long the calls took, all together.
pub(crate) async fn settle_all(books: &Books, settlements: u64) -> Duration {
    books.prepare().await;
    let shutdown = Shutdown::manual();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: books.folder.path().join("data"),
        database: Some(Secret::new(books.address())),
        service_token: Some(Secret::new(TOKEN)),
        ..Config::default()
    };
    let Running { address, join, .. } = billing::start(config, shutdown.clone()).await.unwrap();
    let each = settlements.div_euclid(u64::from(SHARDS));
    let mut senders = Vec::new();
    for shard in 0..SHARDS {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        senders.push((shard, channel.connect().await.unwrap(), calls(shard, each)));
    }
    let started = Instant::now();
    let mut sending = tokio::task::JoinSet::new();
    for (_, channel, calls) in senders {
        let mut client = BillingServiceClient::with_interceptor(channel, Bearer);
        sending.spawn(async move {
            for call in calls {
                let answer = client.settle(call).await.unwrap().into_inner();
                assert_eq!(answer.refusals, []);
            }
        });
    }
    sending.join_all().await;
    let took = started.elapsed();
    shutdown.trigger();
    join.await.unwrap().unwrap();
    took
}

/// A shard's calls, made ahead.
fn calls(shard: u16, settlements: u64) -> Vec<proto::billing::v1::SettleRequest> {
    let mut calls = Vec::new();
    let mut next = 1;
    while next <= settlements {
        let last = settlements.min(next + CALL - 1);
        calls.push(settle_to_wire(&SettleBatch {
            shard: ShardId::new(shard),
            through: Sequence::new(last),
            settlements: (next..=last).map(settlement).collect(),
        }));
        next = last + 1;
    }
    calls
}
