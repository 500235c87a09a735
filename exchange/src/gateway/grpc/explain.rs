//! `ExplainService`: why an order does not trade.

use std::time::Duration;

use domain::{AccountId, InstrumentId, Karma, KarmaBand, OrderId};
use matcher::{
    Alternative, AskStanding, AskSubject, BidStanding, BidSubject, Buyer, CellKey, CellStanding, Engine,
    Filter,
};
use proto::convert::{
    BidTerms, FieldError, band_from_wire, bid_terms_from_wire, cell_to_wire, id_from_wire, price_from_wire,
    required, tier_from_wire,
};
use proto::exchange::v1 as wire;
use proto::exchange::v1::explain_service_server::ExplainService;
use proto::types::v1 as types;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::field;
use crate::gateway::errors::{INVALID_ARGUMENT, Refusal, UNKNOWN_ORDER};
use crate::gateway::{Gateway, Indicative};

/// How old an indicative volume may be: as often as market data has its heartbeat.
const INDICATIVE_EVERY: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl ExplainService for Gateway {
    async fn explain_ask(
        &self,
        request: Request<wire::ExplainAskRequest>,
    ) -> Result<Response<wire::ExplainAskResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let wire::ExplainAskRequest { ask, buyer } = request.into_inner();
        let buyer = self.buyer("buyer", buyer.unwrap_or_default())?;
        let subject = match ask {
            Some(wire::explain_ask_request::Ask::OrderId(order)) => {
                AskSubject::Resting(field(id_from_wire("order_id", &order))?)
            }
            Some(wire::explain_ask_request::Ask::Imagined(imagined)) => self.imagined_ask(imagined)?,
            None => {
                return Err(INVALID_ARGUMENT
                    .because("is missing: name an order or a cell and a price")
                    .at("ask")
                    .into());
            }
        };
        let standing = self
            .sequencer
            .read(move |engine| match subject {
                AskSubject::Resting(order) if !owns(engine, account, order) => None,
                AskSubject::Resting(_) | AskSubject::Imagined { .. } => engine.explain_ask(subject, &buyer),
            })
            .await
            .map_err(Refusal::from)?
            .ok_or_else(|| not_resting("ask"))?;
        Ok(Response::new(self.ask_to_wire(&standing)))
    }

    async fn explain_bid(
        &self,
        request: Request<wire::ExplainBidRequest>,
    ) -> Result<Response<wire::ExplainBidResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let subject = match request.into_inner().bid {
            Some(wire::explain_bid_request::Bid::OrderId(order)) => {
                BidSubject::Resting(field(id_from_wire("order_id", &order))?)
            }
            Some(wire::explain_bid_request::Bid::Imagined(imagined)) => BidSubject::Imagined {
                instrument: self.instrument(&imagined.model)?.0,
                buyer: self.buyer("terms", imagined.terms.unwrap_or_default())?,
            },
            None => {
                return Err(INVALID_ARGUMENT
                    .because("is missing: name an order or a model and terms")
                    .at("bid")
                    .into());
            }
        };
        let standing = self
            .sequencer
            .read(move |engine| match subject {
                BidSubject::Resting(order) if !owns(engine, account, order) => None,
                BidSubject::Resting(_) | BidSubject::Imagined { .. } => engine.explain_bid(&subject),
            })
            .await
            .map_err(Refusal::from)?
            .ok_or_else(|| not_resting("bid"))?;
        Ok(Response::new(self.bid_to_wire(&standing)))
    }

    async fn get_indicative_volume(
        &self,
        request: Request<wire::GetIndicativeVolumeRequest>,
    ) -> Result<Response<wire::GetIndicativeVolumeResponse>, Status> {
        self.caller(request.metadata().as_ref()).await?;
        let instrument = self.instrument(&request.get_ref().model)?.0;
        let read = move |engine: &Engine| (engine.sequence(), engine.is_halted(instrument));
        let (sequence, halted) = self.sequencer.read(read).await.map_err(Refusal::from)?;
        if !halted {
            return Ok(Response::new(wire::GetIndicativeVolumeResponse {
                sequence: sequence.get(),
                halted,
                volumes: Vec::new(),
            }));
        }
        let indicative = self.indicative_volume(instrument).await?;
        let volumes = indicative.volumes.iter().map(|volume| wire::IndicativeVolume {
            cell: Some(self.cell_name(volume.cell)),
            jobs: volume.jobs,
            lowest: volume.lowest.get(),
            highest: volume.highest.get(),
        });
        Ok(Response::new(wire::GetIndicativeVolumeResponse {
            sequence: indicative.sequence.get(),
            halted,
            volumes: volumes.collect(),
        }))
    }
}

/// Whether the order rests and is the account's. Another's is as unknown as one that never was.
fn owns(engine: &Engine, account: AccountId, order: OrderId) -> bool {
    engine.order(order).is_some_and(|order| order.account == account)
}

fn not_resting(side: &str) -> Refusal {
    UNKNOWN_ORDER
        .because(format!(
            "you have no such {side} that rests: it was another's, or has traded or ended; `atoll jobs` says what became \
             of its jobs"
        ))
        .at("order_id")
}

impl Gateway {
    /// What a halted instrument would trade, at most [`INDICATIVE_EVERY`] old. To work it out holds up all trading for as
    /// long as a copy of the engine takes, so whoever asks more often shares an answer.
    async fn indicative_volume(&self, instrument: InstrumentId) -> Result<Indicative, Refusal> {
        let mut known = self.0.indicative.lock().await;
        if let Some(indicative) = known.get(&instrument)
            && indicative.at.elapsed() < INDICATIVE_EVERY
        {
            return Ok(indicative.clone());
        }
        let read = move |engine: &Engine| (engine.sequence(), engine.indicative_volume(instrument));
        let (sequence, volumes) = self.sequencer.read(read).await?;
        let indicative = Indicative {
            at: Instant::now(),
            sequence,
            volumes: volumes.into(),
        };
        known.insert(instrument, indicative.clone());
        Ok(indicative)
    }

    fn buyer(&self, name: &str, terms: wire::BidTerms) -> Result<Buyer, Refusal> {
        let BidTerms {
            limit,
            eligibility,
            latency_value,
            excluded,
            ..
        } = field(bid_terms_from_wire(name, terms, self.market()))?;
        Ok(Buyer {
            eligibility,
            latency_value,
            excluded,
            limit,
        })
    }

    fn imagined_ask(&self, imagined: wire::CellPrice) -> Result<AskSubject, Refusal> {
        let within = |error: FieldError| Refusal::from(error.within("imagined"));
        let cell = required("cell", imagined.cell).map_err(within)?;
        let regions = self.names.regions();
        let region = regions
            .find(&cell.region)
            .ok_or_else(|| within(FieldError::new("cell.region", format!("is not one of {regions}"))))?;
        let tier = tier_from_wire("cell.tier", cell.tier)
            .and_then(|tier| required("cell.tier", tier))
            .map_err(within)?;
        let band = band_from_wire("cell.band", cell.band).map_err(within)?;
        Ok(AskSubject::Imagined {
            cell: CellKey {
                instrument: self.instrument(&cell.model)?.0,
                region,
                tier,
                band: band.unwrap_or(KarmaBand::of(Karma::NEW_ISLAND)),
            },
            price: price_from_wire("price", imagined.price).map_err(within)?,
        })
    }

    fn ask_to_wire(&self, standing: &AskStanding) -> wire::ExplainAskResponse {
        wire::ExplainAskResponse {
            sequence: standing.sequence.get(),
            ask: Some(self.cell_price(standing.cell, standing.price)),
            rtt_ms: standing.distance.as_millis().into(),
            filters: filters(&standing.filters),
            asks_ahead: standing.asks_ahead,
            jobs_ahead: standing.jobs_ahead,
            best_price: standing.best.map(domain::Price::get),
        }
    }

    fn bid_to_wire(&self, standing: &BidStanding) -> wire::ExplainBidResponse {
        let quote = |quote: Alternative| self.cell_price(quote.cell, quote.price);
        wire::ExplainBidResponse {
            sequence: standing.sequence.get(),
            model: self
                .names
                .model(standing.instrument)
                .unwrap_or_default()
                .to_owned(),
            limit: standing.limit.map(domain::Price::get),
            cells: standing
                .cells
                .iter()
                .map(|cell| self.standing_to_wire(cell))
                .collect(),
            best: standing.best.map(quote),
            bids_ahead: standing.bids_ahead,
            jobs_ahead: standing.jobs_ahead,
            alternative: standing.alternative.map(quote),
        }
    }

    fn standing_to_wire(&self, standing: &CellStanding) -> wire::CellStanding {
        wire::CellStanding {
            cell: Some(self.cell_name(standing.cell)),
            rtt_ms: standing.distance.as_millis().into(),
            free_price: standing.displayed.map(domain::Price::get),
            busy_price: standing.busy.map(domain::Price::get),
            filters: filters(&standing.filters),
        }
    }

    fn cell_price(&self, cell: CellKey, price: domain::Price) -> wire::CellPrice {
        wire::CellPrice {
            cell: Some(self.cell_name(cell)),
            price: price.get(),
        }
    }

    fn cell_name(&self, cell: CellKey) -> types::Cell {
        let model = self.names.model(cell.instrument).unwrap_or_default();
        let region = self.names.region(cell.region).unwrap_or_default();
        cell_to_wire(model, region, cell.tier, Some(cell.band))
    }
}

fn filters(filters: &[Filter]) -> Vec<i32> {
    let to_wire = |filter: &Filter| match filter {
        Filter::Halted => wire::Filter::Halted,
        Filter::Region => wire::Filter::Region,
        Filter::Tier => wire::Filter::Tier,
        Filter::KarmaBand => wire::Filter::Karma,
        Filter::Excluded => wire::Filter::Excluded,
        Filter::SameOwner => wire::Filter::SameOwner,
        Filter::Busy => wire::Filter::Busy,
        Filter::TooDear => wire::Filter::TooDear,
    };
    filters.iter().map(|filter| to_wire(filter).into()).collect()
}
