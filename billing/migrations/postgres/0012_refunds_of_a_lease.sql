-- Which lease a refund was asked for: the same request for another one, or for the whole job, is another request.

ALTER TABLE refunds ADD COLUMN asked_lease BYTEA CHECK (octet_length(asked_lease) = 8);
