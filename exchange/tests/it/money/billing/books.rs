//! The rules of the double: what each call does to its books, and what no exchange may ask of them.

use super::*;

pub(super) fn bad_field(error: FieldError) -> Status {
    service::errors::bad_field("atoll.billing", &error.field, &error.problem)
}

fn refused(reason: &str) -> Status {
    service::errors::status(Code::FailedPrecondition, reason, "atoll.billing", "refused")
}

fn reservation(transfer: &str, account: AccountId, amount_nano: i64) -> wire::Reservation {
    wire::Reservation {
        transfer_id: transfer.to_owned(),
        account_id: account.to_string(),
        amount_nano,
    }
}

impl Books {
    pub(super) fn reserve(
        &mut self,
        request: &wire::ReserveRequest,
    ) -> Result<wire::ReserveResponse, Status> {
        let reserve = reserve_from_wire(request).map_err(bad_field)?;
        let before = self
            .reservations
            .iter()
            .find(|before| before.transfer_id == request.transfer_id);
        if let Some(before) = before {
            let amount_nano = before.amount_nano;
            return Ok(wire::ReserveResponse { amount_nano });
        }
        let available = self.available.entry(reserve.account).or_default();
        let amount_nano = request.wanted_nano.min(*available);
        if amount_nano < request.minimum_nano {
            return Err(refused("INSUFFICIENT_FUNDS"));
        }
        *available -= amount_nano;
        *self.reserved.entry(reserve.account).or_default() += amount_nano;
        self.reservations
            .push(reservation(&request.transfer_id, reserve.account, amount_nano));
        Ok(wire::ReserveResponse { amount_nano })
    }

    pub(super) fn give_back(
        &mut self,
        request: &wire::ReturnReservedRequest,
    ) -> Result<wire::ReturnReservedResponse, Status> {
        let returned = return_from_wire(request).map_err(bad_field)?;
        if self
            .reservations
            .iter()
            .any(|before| before.transfer_id == request.transfer_id)
        {
            return Ok(wire::ReturnReservedResponse {});
        }
        let reserved = self.reserved.entry(returned.account).or_default();
        if *reserved < request.amount_nano {
            return Err(refused("INSUFFICIENT_FUNDS"));
        }
        *reserved -= request.amount_nano;
        *self.available.entry(returned.account).or_default() += request.amount_nano;
        self.reservations.push(reservation(
            &request.transfer_id,
            returned.account,
            -request.amount_nano,
        ));
        Ok(wire::ReturnReservedResponse {})
    }

    pub(super) fn settle(&mut self, request: wire::SettleRequest) -> Result<wire::SettleResponse, Status> {
        let batch = settle_from_wire(request.clone()).map_err(bad_field)?;
        self.batches.push(batch.settlements.len());
        let mut refusals = Vec::new();
        for (settlement, wire) in batch.settlements.into_iter().zip(request.settlements) {
            let lease = wire.lease_id.clone();
            if self.refuse.contains(&lease) {
                refusals.push(wire::SettlementRefusal {
                    lease_id: lease,
                    code: "CHARGE_MISMATCH".to_owned(),
                    message: "as the test wants".to_owned(),
                });
                continue;
            }
            if let Some(before) = self.settled.get(&lease) {
                if before != &wire {
                    self.wrong.push(format!("{lease} was settled by another claim"));
                }
                continue;
            }
            if settlement.sequence <= Sequence::new(self.cursor) {
                self.wrong.push(format!("{lease} is new, but behind the cursor"));
            }
            let pays = settlement.bill.consumer_pays().as_nano();
            *self.reserved.entry(settlement.consumer).or_default() -= pays;
            let earns = settlement.bill.island_earns().as_nano()
                + settlement.bill.pool_subsidy.as_nano()
                + settlement.compensation.as_nano();
            *self.available.entry(settlement.island_owner).or_default() += earns;
            self.settled.insert(lease.clone(), wire);
            self.order.push(lease);
        }
        if request.through_sequence < self.cursor {
            self.wrong.push("the cursor went back".to_owned());
        }
        self.cursor = request.through_sequence;
        Ok(wire::SettleResponse {
            through_sequence: self.cursor,
            refusals,
        })
    }

    pub(super) fn list(&self, request: &wire::ListReservationsRequest) -> wire::ListReservationsResponse {
        let start: usize = request.page_token.parse().unwrap_or(0);
        let size = if self.page_size == 0 {
            1_000
        } else {
            self.page_size
        };
        let end = self.reservations.len().min(start + size);
        wire::ListReservationsResponse {
            reservations: self.reservations[start..end].to_vec(),
            next_page_token: if end < self.reservations.len() {
                end.to_string()
            } else {
                String::new()
            },
        }
    }

    pub(super) fn list_balances(
        &self,
        request: &wire::ListReservedBalancesRequest,
    ) -> wire::ListReservedBalancesResponse {
        if request.shard != u32::from(SHARD.get()) {
            return wire::ListReservedBalancesResponse::default();
        }
        let start: usize = request.page_token.parse().unwrap_or(0);
        let size = if self.page_size == 0 {
            1_000
        } else {
            self.page_size
        };
        let balances = self
            .reserved
            .iter()
            .map(|(account, amount)| wire::ReservedBalance {
                account_id: account.to_string(),
                shard: u32::from(SHARD.get()),
                amount_nano: *amount,
            });
        let end = start + size;
        wire::ListReservedBalancesResponse {
            balances: balances.skip(start).take(size).collect(),
            next_page_token: if end < self.reserved.len() {
                end.to_string()
            } else {
                String::new()
            },
        }
    }
}
