-- +goose Up
CREATE TABLE quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    source      text NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    headers     jsonb NOT NULL DEFAULT '{}',
    body        bytea NOT NULL,
    settled_at  timestamptz,
    settled_as  text
);

-- A retry of the same bytes is the same record, as long as nobody dealt with it.
CREATE UNIQUE INDEX quarantine_unsettled_body_key ON quarantine (sha256(body)) WHERE settled_at IS NULL;

COMMENT ON TABLE quarantine IS 'Signed items that could not be read or stored, kept until somebody settles them.';
COMMENT ON COLUMN quarantine.id IS 'The record''s number.';
COMMENT ON COLUMN quarantine.received_at IS 'When the delivery first reached us.';
COMMENT ON COLUMN quarantine.source IS 'The shape of the body that brought it: kapso or meta.';
COMMENT ON COLUMN quarantine.reason IS 'A stable word: not_json, unknown_shape, bad_response_json, rejected_by_database.';
COMMENT ON COLUMN quarantine.detail IS 'Our words, or an SQLSTATE; never the sender''s text.';
COMMENT ON COLUMN quarantine.headers IS 'The headers that help to read the body again. No secrets.';
COMMENT ON COLUMN quarantine.body IS 'The item. For Meta a minimal envelope with metadata, its contact and the exact message.';
COMMENT ON COLUMN quarantine.settled_at IS 'When it was dealt with; null while it waits.';
COMMENT ON COLUMN quarantine.settled_as IS 'How it was dealt with.';

-- +goose Down
DROP TABLE quarantine;
