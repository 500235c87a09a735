//! What a caller may ask: his orders, jobs and balances, the models, and for an operator how the exchange stands.

use domain::{AccountId, Credits, Eligibility, Excluded, KarmaBand, Tier};
use matcher::{Engine, IslandView, OrderDetail, OrderView};
use proto::convert::{cell_to_wire, side_to_wire, task_to_wire};
use proto::exchange::v1 as wire;

use super::to_wire;
use crate::billing_client::BillingError;
use crate::gateway::Gateway;
use crate::gateway::errors::{BILLING_UNAVAILABLE, Refusal};
use crate::identity::Identity;
use crate::names::Names;

/// Jobs of a list that names no number.
const JOBS_LISTED_DEFAULT: u32 = 50;
/// Jobs of one list.
const JOBS_LISTED_MAX: u32 = 1_000;

impl Gateway {
    /// The caller's resting orders, of the sides that his key is for.
    pub(super) async fn orders_of(&self, caller: Identity) -> Result<wire::ListOrdersResponse, Refusal> {
        let orders = self
            .sequencer
            .read(move |engine| engine.orders_of(caller.account))
            .await?;
        Ok(wire::ListOrdersResponse {
            orders: orders
                .iter()
                .filter(|order| caller.scope.may_handle(order.detail.side()))
                .map(|order| order_to_wire(order, &self.names))
                .collect(),
        })
    }

    pub(super) async fn jobs_of(&self, account: AccountId, page_size: u32) -> Vec<wire::Job> {
        let asked = if page_size == 0 {
            JOBS_LISTED_DEFAULT
        } else {
            page_size.min(JOBS_LISTED_MAX)
        };
        let limit = usize::try_from(asked).unwrap_or(usize::MAX);
        let jobs = self.leasing.jobs_of(account, limit).await;
        jobs.iter().map(|job| to_wire::job(job, &self.names)).collect()
    }

    /// Every model that is served, with its best ask.
    pub(in crate::gateway) async fn models(&self) -> Result<Vec<wire::Model>, Refusal> {
        let anywhere = Eligibility {
            home: self.home,
            regions: self.names.regions().all(),
            min_tier: Tier::Phone,
            min_band: KarmaBand::D,
        };
        let ids: Vec<_> = self.registry.models().map(|(id, _)| id).collect();
        let best = self
            .sequencer
            .read(move |engine| {
                let best = |id: &_| engine.best_ask(*id, &anywhere, &Excluded::default());
                ids.iter().map(best).collect::<Vec<_>>()
            })
            .await?;
        let models = self
            .registry
            .models()
            .zip(best)
            .map(|((id, instrument), best)| wire::Model {
                model: instrument.model.clone(),
                task: task_to_wire(instrument.task).into(),
                digest: instrument.digest.as_bytes().to_vec(),
                context_max: instrument.context_max.get(),
                input_weight_thousandths: instrument.input_weight.as_thousandths().into(),
                licence: self.registry.licence(id).to_owned(),
                best_ask: best.map(domain::Price::get),
            });
        Ok(models.collect())
    }

    pub(super) async fn balance_of(&self, account: AccountId) -> Result<wire::GetBalanceResponse, Refusal> {
        let balance = self.billing.balance(account).await.map_err(of_billing)?;
        let power = self
            .sequencer
            .read(move |engine| engine.buying_power(account))
            .await?;
        Ok(wire::GetBalanceResponse {
            account_id: account.to_string(),
            available_nano: balance.available.as_nano(),
            reserved_nano: balance.reserved.as_nano(),
            pending_nano: balance.pending.as_nano(),
            buying_power_nano: power.available.as_nano(),
            bound_nano: power.reserved.as_nano(),
        })
    }

    pub(super) async fn status(&self) -> Result<wire::GetStatusResponse, Refusal> {
        let settled = self.billing.cursor(self.books.shard).await.map_err(of_billing)?;
        let names = std::sync::Arc::clone(&self.names);
        let mut status = self
            .sequencer
            .read(move |engine| engine_status(engine, &names))
            .await?;
        status.settled_through = settled.get();
        Ok(status)
    }
}

pub(super) fn of_billing(error: BillingError) -> Refusal {
    tracing::warn!(%error, "billing could not be asked");
    BILLING_UNAVAILABLE.because("billing cannot be asked at the moment; try again")
}

fn order_to_wire(order: &OrderView, names: &Names) -> wire::Order {
    let expires_at_us = match order.time_in_force {
        domain::TimeInForce::Gtd(deadline) => deadline.as_micros(),
        domain::TimeInForce::Ioc | domain::TimeInForce::Fok | domain::TimeInForce::Gtc => 0,
    };
    let reserved = match &order.detail {
        OrderDetail::Bid(bid) => bid.reserved,
        OrderDetail::Ask(_) => Credits::ZERO,
    };
    wire::Order {
        order_id: order.order.to_string(),
        client_order_id: order.client_order_id.to_string(),
        side: side_to_wire(order.side()).into(),
        model: names.model(order.instrument).unwrap_or_default().to_owned(),
        price: order.price.get(),
        order_quantity: order.jobs.get(),
        cum_quantity: order.filled.get(),
        leaves_quantity: order.leaves.get(),
        expires_at_us,
        reserved_nano: reserved.as_nano(),
    }
}

fn engine_status(engine: &Engine, names: &Names) -> wire::GetStatusResponse {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut resting = 0usize;
    let mut buying_power = Vec::new();
    for (account, power) in engine.accounts() {
        resting = resting.saturating_add(engine.orders_of(account).len());
        buying_power.push(wire::BuyingPower {
            account_id: account.to_string(),
            available_nano: power.available.as_nano(),
            bound_nano: power.reserved.as_nano(),
        });
    }
    wire::GetStatusResponse {
        sequence: engine.sequence().get(),
        state_hash: engine.state_hash().as_bytes().to_vec(),
        settled_through: 0,
        buying_power,
        open_leases: count(engine.leases().count()),
        resting_orders: count(resting),
        islands: engine
            .islands()
            .map(|island| island_to_wire(&island, engine, names))
            .collect(),
    }
}

fn island_to_wire(island: &IslandView, engine: &Engine, names: &Names) -> wire::Island {
    let quotes = engine
        .orders_of(island.owner)
        .into_iter()
        .filter_map(|order| match order.detail {
            OrderDetail::Ask(ask) if ask.island == island.island => Some(wire::Quote {
                cell: Some(to_wire::cell(ask.cell, names)),
                price: order.price.get(),
                jobs: order.leaves.get(),
            }),
            OrderDetail::Ask(_) | OrderDetail::Bid(_) => None,
        });
    let mut quotes: Vec<wire::Quote> = quotes.collect();
    // An Island that is measured and quotes nothing yet shows its tiers without a price.
    for (instrument, tier) in &island.tiers {
        let model = names.model(*instrument).unwrap_or_default();
        let quoted = |quote: &wire::Quote| quote.cell.as_ref().is_some_and(|cell| cell.model == model);
        if !quotes.iter().any(quoted) {
            let region = names.region(island.region).unwrap_or_default();
            let cell = cell_to_wire(model, region, *tier, Some(island.band));
            quotes.push(wire::Quote {
                cell: Some(cell),
                price: 0,
                jobs: 0,
            });
        }
    }
    wire::Island {
        island_id: island.island.to_string(),
        region: names.region(island.region).unwrap_or_default().to_owned(),
        slots: island.slots.get(),
        free_slots: island.free.get(),
        quotes,
    }
}
