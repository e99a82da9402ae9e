-- +goose Up
ALTER TABLE flow_catalog ADD COLUMN retention interval;

COMMENT ON COLUMN flow_catalog.retention IS 'How long answers of this flow are kept after stored_at, given with "flowkeep flows retain". Zero: for ever. Null: as FLOWKEEP_RETENTION says.';

-- Oldest first, for what may be kept no longer.
CREATE INDEX quarantine_received_idx ON quarantine (received_at);

-- +goose Down
DROP INDEX quarantine_received_idx;
ALTER TABLE flow_catalog DROP COLUMN retention;
