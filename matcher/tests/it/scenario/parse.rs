//! A line of a script into a command.

use std::time::Duration;

use domain::{
    ClientOrderId, Credits, Eligibility, EndCause, Excluded, InstrumentId, JobEnd, JobOutcome, Jobs,
    KarmaBand, LatencyValue, LeaseId, OrderId, PayloadDigest, Price, PriceBand, Region, RegionSet,
    SelfTradeMode, Slots, Tier, TimeInForce, Timestamp, TransferId, Units,
};
use matcher::{
    Amend, BidLimit, Cancel, CancelAll, CancelScope, Checkpoint, CloseLease, Command, Defund, Event,
    FailOver, Fund, JoinIsland, LoseSessions, PlaceAsk, PlaceBid, PostOnly, ReleaseSlot, SetBand, SetDeadMan,
    SetPriceBand, SetSlots, SetTier,
};

use crate::scenario::{REGIONS, World};

/// A line's words and options.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Self {
            plain: Vec::new(),
            options: Vec::new(),
        };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(option) => words.options.push(option),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.options
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    fn number(&self, position: usize) -> u64 {
        self.plain[position].parse().unwrap()
    }
}

impl World {
    /// Carries out one line and returns its events, set-up of new accounts left out.
    pub(super) fn line(&mut self, line: &str) -> Vec<Event> {
        let mut words = Words::of(line);
        if let Some(millis) = words.plain[0].strip_prefix('+') {
            self.now += millis.parse::<u64>().unwrap() * 1_000;
            words.plain.remove(0);
        }
        if words.plain[0] == "island" {
            return self.join(&words);
        }
        if words.plain[0] == "session" {
            return self.open_session(words.plain[1]);
        }
        let command = self.command(&words);
        self.apply(command)
    }

    fn command(&mut self, words: &Words<'_>) -> Command {
        match words.plain[0] {
            "ask" => self.ask(words),
            "bid" => self.bid(words),
            "cancel" | "cancel-all" | "amend" => self.cancel(words),
            "checkpoint" | "close" | "failover" | "release" => self.lease(words),
            "slots" | "band" | "tier" | "rejoin" => self.island_command(words),
            "lose" => Command::LoseSessions(match words.plain[1] {
                "all" => LoseSessions::All,
                name => LoseSessions::One(self.session(name)),
            }),
            "dead-man" => Command::SetDeadMan(SetDeadMan {
                session: self.session(words.plain[1]),
                deadline: words.plain.get(2).map(|millis| self.later(millis)),
            }),
            "fund" => Command::Fund(Fund {
                transfer: TransferId::new(u128::from(words.number(3))),
                account: self.unfunded(words.plain[1]),
                amount: Credits::from_nano(words.plain[2].parse().unwrap()),
            }),
            "defund" => Command::Defund(Defund {
                transfer: TransferId::new(u128::from(words.number(3))),
                account: self.unfunded(words.plain[1]),
                amount: Credits::from_nano(words.plain[2].parse().unwrap()),
            }),
            "halt" => Command::Halt(instrument(words)),
            "resume" => Command::Resume(instrument(words)),
            "tick" => Command::Tick,
            "price-band" => Command::SetPriceBand(SetPriceBand {
                instrument: instrument(words),
                band: match words.plain[1..] {
                    ["off"] => None,
                    _ => Some(PriceBand::new(ticks(words.plain[1]), ticks(words.plain[2])).unwrap()),
                },
            }),
            other => panic!("no command `{other}`"),
        }
    }

    /// An Island that joins under a session of its own name, with a tier in each instrument.
    fn join(&mut self, words: &Words<'_>) -> Vec<Event> {
        let name = words.plain[1];
        let owner = words
            .get("owner")
            .map_or_else(|| format!("{name}-owner"), str::to_owned);
        let owner = self.account(&owner);
        let island = self.island(name);
        let mut events = self.open_session(name);
        let slots = words.get("slots").map_or(100, |slots| slots.parse().unwrap());
        events.extend(self.apply(Command::JoinIsland(JoinIsland {
            island,
            owner,
            session: self.session(name),
            region: region(words.plain[2]),
            band: band(words.plain[4]),
            slots: Slots::new(slots),
        })));
        for number in 0..2 {
            events.extend(self.apply(Command::SetTier(SetTier {
                island,
                instrument: InstrumentId::new(number),
                tier: Some(words.plain[3].parse().unwrap()),
            })));
        }
        events
    }

    fn ask(&mut self, words: &Words<'_>) -> Command {
        let (jobs, price) = quantity(words.plain[3]);
        let BidLimit::At(price) = price else {
            panic!("an ask has a price");
        };
        let session = words.get("session").unwrap_or(words.plain[2]);
        Command::PlaceAsk(PlaceAsk {
            island: self.island(words.plain[2]),
            session: self.session(session),
            client_order_id: self.name_order(words),
            instrument: instrument(words),
            price,
            jobs,
            time_in_force: self.time_in_force(words),
            post_only: if words.has("post") {
                PostOnly::Yes
            } else {
                PostOnly::No
            },
            self_trade: mode(words),
        })
    }

    fn bid(&mut self, words: &Words<'_>) -> Command {
        let account = match words.get("unfunded") {
            Some(_) => self.unfunded(words.plain[2]),
            None => self.account(words.plain[2]),
        };
        let (jobs, limit) = quantity(words.plain[3]);
        let home = region(words.get("home").unwrap_or("eu"));
        let regions = words.get("regions").unwrap_or("eu,us,ap");
        let regions: RegionSet = regions
            .split(',')
            .filter(|code| !code.is_empty())
            .map(region)
            .collect();
        let excluded: Vec<&str> = words
            .get("not")
            .map(|names| names.split(',').collect())
            .unwrap_or_default();
        let excluded: Vec<_> = excluded.into_iter().map(|name| self.island(name)).collect();
        let units = words.get("units").map_or(1_000, |units| units.parse().unwrap());
        Command::PlaceBid(PlaceBid {
            account,
            session: self.session(words.get("session").unwrap_or("gate")),
            client_order_id: self.name_order(words),
            instrument: instrument(words),
            limit,
            jobs,
            units_max: Units::new(units),
            eligibility: Eligibility {
                home,
                regions,
                min_tier: words
                    .get("tier")
                    .map_or(Tier::Phone, |tier| tier.parse().unwrap()),
                min_band: words.get("band").map_or(KarmaBand::D, band),
            },
            latency_value: LatencyValue::new(words.get("lv").map_or(0, |value| value.parse().unwrap())),
            excluded: Excluded::new(excluded).unwrap(),
            time_in_force: self.time_in_force(words),
            self_trade: mode(words),
            jobs_min: Jobs::new(words.get("min").map_or(0, |jobs| jobs.parse().unwrap())),
            payload: PayloadDigest::new(words.get("says").map_or(0, |value| value.parse().unwrap())),
        })
    }

    fn cancel(&mut self, words: &Words<'_>) -> Command {
        if words.plain[0] == "cancel-all" {
            let scope = match (words.get("in"), words.get("session"), words.get("island")) {
                (Some(_), _, _) => CancelScope::Instrument(instrument(words)),
                (_, Some(session), _) => CancelScope::Session(self.session(session)),
                (_, _, Some(name)) => CancelScope::Island(self.island(name)),
                (None, None, None) => CancelScope::Everything,
            };
            let account = self.unfunded(words.plain[1]);
            return Command::CancelAll(CancelAll { account, scope });
        }
        let order = self.order(words.plain[1]);
        let owner = self.engine.order(order).map(|order| order.account);
        let account = match words.get("by") {
            Some(name) => self.unfunded(name),
            None => owner.unwrap_or_else(|| self.unfunded("nobody")),
        };
        if words.plain[0] == "cancel" {
            return Command::Cancel(Cancel { account, order });
        }
        Command::Amend(Amend {
            account,
            order,
            leaves: Jobs::new(u32::try_from(words.number(2)).unwrap()),
        })
    }

    fn lease(&mut self, words: &Words<'_>) -> Command {
        let lease = LeaseId::new(words.number(1));
        let units = |position: usize| Units::new(words.number(position));
        match words.plain[0] {
            "checkpoint" => Command::Checkpoint(Checkpoint {
                lease,
                units: units(2),
            }),
            "close" => Command::CloseLease(CloseLease {
                lease,
                units: units(2),
                reread_units: Units::new(words.get("reread").map_or(0, |units| units.parse().unwrap())),
                end: JobEnd::clean(JobOutcome::Stopped),
            }),
            "release" => Command::ReleaseSlot(ReleaseSlot {
                lease,
                session: self.session(words.plain[2]),
            }),
            _ => {
                if let Some(name) = words.get("as") {
                    let order = OrderId::of_sequence(self.next_sequence());
                    self.orders.insert(name.to_owned(), order);
                }
                Command::FailOver(FailOver {
                    lease,
                    units: units(2),
                    units_max: Units::new(words.get("left").unwrap().parse().unwrap()),
                    time_in_force: self.time_in_force(words),
                    otherwise: JobEnd::because(JobOutcome::Incomplete, EndCause::NoIslandLeft),
                })
            }
        }
    }

    fn island_command(&mut self, words: &Words<'_>) -> Command {
        let island = self.island(words.plain[1]);
        match words.plain[0] {
            "slots" => Command::SetSlots(SetSlots {
                island,
                slots: Slots::new(u32::try_from(words.number(2)).unwrap()),
            }),
            "band" => Command::SetBand(SetBand {
                island,
                band: band(words.plain[2]),
            }),
            "tier" => Command::SetTier(SetTier {
                island,
                instrument: instrument(words),
                tier: words.plain[2].parse().ok(),
            }),
            _ => Command::JoinIsland(JoinIsland {
                island,
                owner: self.unfunded("someone"),
                session: self.session(words.plain[2]),
                region: region(words.plain[3]),
                band: KarmaBand::B,
                slots: Slots::new(1),
            }),
        }
    }

    /// Gives the order its name; `id=` repeats a client order id, else each order has its own.
    fn name_order(&mut self, words: &Words<'_>) -> ClientOrderId {
        let order = OrderId::of_sequence(self.next_sequence());
        self.orders.insert(words.plain[1].to_owned(), order);
        match words.get("id") {
            Some(id) => ClientOrderId::new(id.parse().unwrap()),
            None => {
                self.next_client_order_id += 1;
                ClientOrderId::new(self.next_client_order_id)
            }
        }
    }

    fn time_in_force(&self, words: &Words<'_>) -> TimeInForce {
        if let Some(millis) = words.get("gtd") {
            return TimeInForce::Gtd(self.later(millis));
        }
        match (words.has("ioc"), words.has("fok")) {
            (true, _) => TimeInForce::Ioc,
            (_, true) => TimeInForce::Fok,
            (false, false) => TimeInForce::Gtc,
        }
    }

    fn later(&self, millis: &str) -> Timestamp {
        Timestamp::from_micros(self.now).after(Duration::from_millis(millis.parse().unwrap()))
    }
}

/// `3@10` is three jobs at ten ticks; `3@market` leaves the limit to the engine.
fn quantity(text: &str) -> (Jobs, BidLimit) {
    let (jobs, price) = text.split_once('@').unwrap();
    let limit = match price {
        "market" => BidLimit::Protection,
        price => BidLimit::At(ticks(price)),
    };
    (Jobs::new(jobs.parse().unwrap()), limit)
}

fn ticks(text: &str) -> Price {
    Price::from_ticks(text.parse().unwrap()).unwrap()
}

fn instrument(words: &Words<'_>) -> InstrumentId {
    InstrumentId::new(match words.get("in") {
        None | Some("m") => 0,
        Some("n") => 1,
        Some(_) => 9,
    })
}

/// A region of the table, or for any other name one that it does not have.
fn region(code: &str) -> Region {
    let index = REGIONS.iter().position(|known| *known == code).unwrap_or(40);
    Region::new(u8::try_from(index).unwrap()).unwrap()
}

fn band(letter: &str) -> KarmaBand {
    match letter {
        "A" => KarmaBand::A,
        "B" => KarmaBand::B,
        "C" => KarmaBand::C,
        _ => KarmaBand::D,
    }
}

fn mode(words: &Words<'_>) -> SelfTradeMode {
    match words.get("mode") {
        None | Some("skip") => SelfTradeMode::Skip,
        Some("newest") => SelfTradeMode::CancelNewest,
        Some("oldest") => SelfTradeMode::CancelOldest,
        Some("both") => SelfTradeMode::CancelBoth,
        Some("allow") => SelfTradeMode::Allow,
        Some(other) => panic!("no mode `{other}`"),
    }
}
