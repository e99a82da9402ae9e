-- +goose Up
CREATE TABLE flow_responses (
    message_id         text COLLATE "C" PRIMARY KEY,
    flow_token         text,
    token_kind         text NOT NULL,
    flow_id            text,
    flow_id_source     text,
    flow_name          text,
    response           jsonb NOT NULL,
    response_status    text NOT NULL,
    phone_number_id    text,
    wa_id              text,
    user_id            text,
    contact_name       text,
    conversation_id    text,
    context_message_id text,
    source             text NOT NULL,
    idempotency_key    text,
    raw                bytea NOT NULL,
    sent_at            timestamptz,
    received_at        timestamptz NOT NULL,
    stored_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Rows of a common size are compressed. lz4 costs a third of what the default
-- does; a server that was built without it keeps the default.
-- +goose StatementBegin
DO $$
BEGIN
    ALTER TABLE flow_responses ALTER COLUMN raw SET COMPRESSION lz4, ALTER COLUMN response SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    NULL;
END $$;
-- +goose StatementEnd

-- Newest first: all answers of a flow, of a custom token, of a person.
-- Tokens are attacker-chosen and can be longer than an index entry may be.
CREATE INDEX flow_responses_flow_idx ON flow_responses (flow_id, stored_at DESC) WHERE flow_id IS NOT NULL;
CREATE INDEX flow_responses_token_idx ON flow_responses (left(flow_token, 200), stored_at DESC) WHERE token_kind = 'custom';
CREATE INDEX flow_responses_wa_idx ON flow_responses (wa_id, stored_at DESC) WHERE wa_id IS NOT NULL;
CREATE INDEX flow_responses_user_idx ON flow_responses (user_id, stored_at DESC) WHERE user_id IS NOT NULL;

COMMENT ON TABLE flow_responses IS 'One row for each WhatsApp Flow response, whatever number of deliveries brought it.';
COMMENT ON COLUMN flow_responses.message_id IS 'The wamid. sha256:<hex> of the item if the sender gave none, of the id if it is over 512 bytes. A wamid contains the phone number: treat it as personal data.';
COMMENT ON COLUMN flow_responses.flow_token IS 'The flow token exactly as received; null if there was none.';
COMMENT ON COLUMN flow_responses.token_kind IS 'flow_id: the token is the flow''s id (Kapso''s default). custom: a correlation id of the sender''s own. none: missing, empty or the literal unused.';
COMMENT ON COLUMN flow_responses.flow_id IS 'The flow that was answered, when known.';
COMMENT ON COLUMN flow_responses.flow_id_source IS 'What told us the flow: known_flow (configured id), token_shape (a guess, may be resolved again).';
COMMENT ON COLUMN flow_responses.flow_name IS 'nfm_reply.name, verbatim (flow, address_message, ...). Not an identifier of the flow.';
COMMENT ON COLUMN flow_responses.response IS 'The answers: keys untouched, numbers exact.';
COMMENT ON COLUMN flow_responses.response_status IS 'ok; sanitized: a value that jsonb cannot hold was replaced; fallback: response_json was unusable, taken from kapso.flow_response.';
COMMENT ON COLUMN flow_responses.phone_number_id IS 'Meta''s id of the business number that was answered.';
COMMENT ON COLUMN flow_responses.wa_id IS 'The person''s phone number, digits only; null if the sender did not say.';
COMMENT ON COLUMN flow_responses.user_id IS 'The person''s business-scoped user id; null if the sender did not say.';
COMMENT ON COLUMN flow_responses.contact_name IS 'The person''s name as WhatsApp shows it.';
COMMENT ON COLUMN flow_responses.conversation_id IS 'Kapso''s id of the conversation.';
COMMENT ON COLUMN flow_responses.context_message_id IS 'The wamid of the message that was answered (the one that sent the flow).';
COMMENT ON COLUMN flow_responses.source IS 'The shape of the body that brought it: kapso or meta.';
COMMENT ON COLUMN flow_responses.idempotency_key IS 'The delivery''s X-Idempotency-Key. Not unique: a batch has one for all its items.';
COMMENT ON COLUMN flow_responses.raw IS 'The exact bytes of the item (Kapso: the payload or batch item; Meta: the message).';
COMMENT ON COLUMN flow_responses.sent_at IS 'The message''s own time; null if unreadable.';
COMMENT ON COLUMN flow_responses.received_at IS 'When the delivery reached us.';
COMMENT ON COLUMN flow_responses.stored_at IS 'When the row was written. Readers that follow the table by time use this one, with an overlap, since commits are not in its order.';

-- +goose Down
DROP TABLE flow_responses;
