-- What an account bought, and what its Islands sold, by the time at which it was settled.
CREATE INDEX settlements_of_consumer ON settlements (consumer, created_at) WHERE refusal IS NULL;
CREATE INDEX settlements_of_island_owner ON settlements (island_owner, created_at) WHERE refusal IS NULL;
