-- +goose Up
-- Pages of all responses, and exports of a span of time. The expression is for
-- those alone: with an index on stored_at itself, Postgres would now and then
-- look for the answers of one flow in the whole table, newest first.
CREATE INDEX flow_responses_stored_idx ON flow_responses ((stored_at AT TIME ZONE 'UTC'));

-- +goose Down
DROP INDEX flow_responses_stored_idx;
