-- +goose Up
-- Pages of all responses, and exports of a span of time. New rows are appended at
-- its right end, which is the cheapest that an index can be.
CREATE INDEX flow_responses_stored_idx ON flow_responses (stored_at);

-- +goose Down
DROP INDEX flow_responses_stored_idx;
