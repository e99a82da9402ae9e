-- +goose Up
CREATE TABLE flow_sends (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wamid           text COLLATE "C" UNIQUE,
    flow_id         text NOT NULL,
    flow_token      text,
    recipient       text,
    phone_number_id text,
    kind            text NOT NULL DEFAULT 'interactive',
    template        text,
    context         jsonb NOT NULL DEFAULT '{}',
    sent_at         timestamptz NOT NULL DEFAULT now(),
    status          text NOT NULL DEFAULT 'sent',
    delivered_at    timestamptz,
    read_at         timestamptz,
    failed_at       timestamptz,
    failure         text,
    registered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sought_at       timestamptz NOT NULL DEFAULT '-infinity',
    linked_at       timestamptz,
    CONSTRAINT wamid_has_1_to_512_bytes CHECK (octet_length(wamid) BETWEEN 1 AND 512),
    CONSTRAINT flow_id_has_1_to_200_bytes CHECK (octet_length(flow_id) BETWEEN 1 AND 200),
    CONSTRAINT flow_token_has_1_to_1024_bytes CHECK (octet_length(flow_token) BETWEEN 1 AND 1024),
    CONSTRAINT recipient_is_digits_or_a_user_id CHECK (octet_length(recipient) <= 512 AND recipient ~ '^([0-9]+|[A-Za-z].*)$'),
    CONSTRAINT kind_is_interactive_or_template CHECK (kind IN ('interactive', 'template')),
    CONSTRAINT context_is_an_object CHECK (jsonb_typeof(context) = 'object'),
    CONSTRAINT status_is_known CHECK (status IN ('pending', 'sent', 'delivered', 'read', 'failed', 'in_doubt')),
    CONSTRAINT what_was_sent_has_a_wamid CHECK (wamid IS NOT NULL OR status IN ('pending', 'failed', 'in_doubt')),
    CONSTRAINT failure_has_at_most_200_bytes CHECK (octet_length(failure) <= 200)
);

-- The flows of a token; the sends of a flow, newest first; those of a person;
-- those whose answers are still to be looked for.
CREATE INDEX flow_sends_token_idx ON flow_sends (flow_token, flow_id) WHERE flow_token IS NOT NULL;
CREATE INDEX flow_sends_flow_idx ON flow_sends (flow_id, sent_at DESC);
CREATE INDEX flow_sends_recipient_idx ON flow_sends (recipient) WHERE recipient IS NOT NULL;
CREATE INDEX flow_sends_unsought_idx ON flow_sends (sought_at) WHERE linked_at IS NULL AND status <> 'pending';

COMMENT ON TABLE flow_sends IS 'The register of sends: one row for each message with a Flow that went out, or was about to. Insert your own: only wamid and flow_id are needed.';
COMMENT ON COLUMN flow_sends.id IS 'The send''s number.';
COMMENT ON COLUMN flow_sends.wamid IS 'The message''s id, as the call that sent it returned it. Null while that is not known. A wamid contains the phone number: treat it as personal data.';
COMMENT ON COLUMN flow_sends.flow_id IS 'The flow that was sent (Meta''s id, as in flow_responses.flow_id).';
COMMENT ON COLUMN flow_sends.flow_token IS 'The flow token that was sent; null if none was chosen.';
COMMENT ON COLUMN flow_sends.recipient IS 'Whom it was sent to: the phone number, digits only, or the business-scoped user id.';
COMMENT ON COLUMN flow_sends.phone_number_id IS 'Meta''s id of the business number that sent it.';
COMMENT ON COLUMN flow_sends.kind IS 'interactive: within the 24 hours after the person wrote. template: a template with a button that opens the flow.';
COMMENT ON COLUMN flow_sends.template IS 'The template''s name; null if it is none.';
COMMENT ON COLUMN flow_sends.context IS 'The sender''s own: order id, user id, whatever the answer is to be joined with.';
COMMENT ON COLUMN flow_sends.sent_at IS 'When it was sent.';
COMMENT ON COLUMN flow_sends.status IS 'pending: about to be sent. sent, delivered, read: what WhatsApp told last; it never goes back. failed: it did not go out, or was not delivered. in_doubt: it may have gone out, nobody knows.';
COMMENT ON COLUMN flow_sends.delivered_at IS 'When it reached the person; null if not, or if nobody told.';
COMMENT ON COLUMN flow_sends.read_at IS 'When the person read it; null if not, or if nobody told.';
COMMENT ON COLUMN flow_sends.failed_at IS 'When it failed.';
COMMENT ON COLUMN flow_sends.failure IS 'Why it failed or is in doubt: a code of Meta''s or a stable word, never personal text.';
COMMENT ON COLUMN flow_sends.registered_at IS 'When this row was written.';
COMMENT ON COLUMN flow_sends.sought_at IS 'flowkeep''s own mark: when answers that came before this row were last looked for.';
COMMENT ON COLUMN flow_sends.linked_at IS 'flowkeep''s own mark: when they were looked for the last time; null while they will be again.';

-- The layers by which an answer is linked to its flow, in one place. It is a
-- function so that the statements that use it stay cheap to plan.
-- +goose StatementBegin
CREATE FUNCTION link_response(
    context_message_id text, flow_token text, INOUT token_kind text, INOUT flow_id text, INOUT flow_id_source text
) LANGUAGE plpgsql STABLE COST 1 AS $$
DECLARE
    sent_flow text;
    found_by  text := 'sent_message';
BEGIN
    IF flow_id_source IN ('known_flow', 'sent_message') THEN
        RETURN;
    END IF;
    SELECT s.flow_id INTO sent_flow FROM flow_sends s WHERE s.wamid = link_response.context_message_id;
    IF sent_flow IS NULL AND token_kind <> 'none' AND flow_id_source IS DISTINCT FROM 'registered_token' THEN
        found_by := 'registered_token';
        -- The first and the last by the index: a token can have a million sends.
        SELECT first.flow_id INTO sent_flow
        FROM (SELECT s.flow_id FROM flow_sends s WHERE s.flow_token = link_response.flow_token ORDER BY s.flow_id LIMIT 1) AS first
        JOIN (SELECT s.flow_id FROM flow_sends s WHERE s.flow_token = link_response.flow_token ORDER BY s.flow_id DESC LIMIT 1) AS last
            ON first.flow_id = last.flow_id;
    END IF;
    IF sent_flow IS NOT NULL THEN
        flow_id := sent_flow;
        flow_id_source := found_by;
        token_kind := CASE WHEN token_kind = 'none' THEN 'none' WHEN flow_token = sent_flow THEN 'flow_id' ELSE 'custom' END;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION link_response(text, text, text, text, text) IS 'The flow of an answer and what tells it, by the register of sends if that is better than what is known: by the message that it answers, else by its token, if all sends with it agree on one flow.';

-- What is sought for a send that is registered after its answer came: answers
-- to its message, and answers with its token whose flow is not known for sure.
-- Ids and tokens can be longer than an index entry may be.
CREATE INDEX flow_responses_context_idx ON flow_responses (left(context_message_id, 200) COLLATE "C") WHERE context_message_id IS NOT NULL;
CREATE INDEX flow_responses_unsure_idx ON flow_responses (left(flow_token, 200))
    WHERE token_kind <> 'none' AND (flow_id_source IS NULL OR flow_id_source IN ('answer_field', 'token_shape'));

COMMENT ON COLUMN flow_responses.flow_id_source IS 'What told us the flow, best first: known_flow (configured id), sent_message (the answered message is in flow_sends), registered_token (its token is), answer_field (an answer says it), token_shape (a guess). A better one replaces it.';

-- The send that an answer belongs to: that of the message that it answers, else
-- the only one that has its token.
CREATE VIEW flow_answers AS
SELECT r.message_id, r.flow_id, r.flow_id_source, r.flow_token, r.token_kind, r.wa_id, r.contact_name, r.response,
    r.sent_at, r.received_at, r.stored_at,
    coalesce(message.id, token.id) AS send_id, send.wamid AS send_wamid, send.sent_at AS send_sent_at,
    send.template AS send_template, send.context AS send_context
FROM flow_responses AS r
LEFT JOIN flow_sends AS message ON message.wamid = r.context_message_id
LEFT JOIN LATERAL (
    SELECT min(two.id) AS id
    FROM (
        SELECT s.id FROM flow_sends AS s
        WHERE message.id IS NULL AND r.token_kind <> 'none' AND s.flow_token = r.flow_token
        LIMIT 2
    ) AS two
    HAVING count(*) = 1
) AS token ON true
LEFT JOIN flow_sends AS send ON send.id = coalesce(message.id, token.id);

COMMENT ON VIEW flow_answers IS 'Every answer, with what was registered of the send that it answers.';
COMMENT ON COLUMN flow_answers.message_id IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.flow_id IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.flow_id_source IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.flow_token IS 'As in flow_responses. To find a custom token quickly: token_kind = ''custom'' AND left(flow_token, 200) = …';
COMMENT ON COLUMN flow_answers.token_kind IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.wa_id IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.contact_name IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.response IS 'The answers, as in flow_responses.';
COMMENT ON COLUMN flow_answers.sent_at IS 'The answer''s own time, as in flow_responses.';
COMMENT ON COLUMN flow_answers.received_at IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.stored_at IS 'As in flow_responses.';
COMMENT ON COLUMN flow_answers.send_id IS 'flow_sends.id of the send that it answers: that of the message, else the only one with the token. Null if none is registered.';
COMMENT ON COLUMN flow_answers.send_wamid IS 'That send''s wamid.';
COMMENT ON COLUMN flow_answers.send_sent_at IS 'When it was sent.';
COMMENT ON COLUMN flow_answers.send_template IS 'Its template, if it was one.';
COMMENT ON COLUMN flow_answers.send_context IS 'Its context: the sender''s own order id, user id and so on.';

-- An answer proves that its send went out, was delivered and read, whatever
-- events told. A send that was registered late, and without its time, seems later
-- than its answer. By less than a second it may be: WhatsApp's times are whole
-- seconds.
CREATE VIEW flow_funnel AS
SELECT s.flow_id, (s.sent_at AT TIME ZONE 'UTC')::date AS day,
    count(*) FILTER (WHERE s.status IN ('sent', 'delivered', 'read') OR answer.first_at IS NOT NULL) AS sent,
    count(*) FILTER (WHERE s.status IN ('delivered', 'read') OR answer.first_at IS NOT NULL) AS delivered,
    count(*) FILTER (WHERE s.status = 'read' OR answer.first_at IS NOT NULL) AS read,
    count(answer.first_at) AS answered,
    count(*) FILTER (WHERE s.status = 'failed' AND answer.first_at IS NULL) AS failed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY greatest(answer.first_at - s.sent_at, interval '0'))
        FILTER (WHERE answer.first_at >= s.sent_at - interval '1 second') AS median_time_to_answer
FROM flow_sends AS s
LEFT JOIN (
    SELECT send_id, min(coalesce(sent_at, received_at)) AS first_at FROM flow_answers WHERE send_id IS NOT NULL GROUP BY send_id
) AS answer ON answer.send_id = s.id
GROUP BY s.flow_id, day;

COMMENT ON VIEW flow_funnel IS 'Of each flow and day, how many of the registered sends got how far.';
COMMENT ON COLUMN flow_funnel.flow_id IS 'As in flow_sends.';
COMMENT ON COLUMN flow_funnel.day IS 'The day in UTC on which they were sent.';
COMMENT ON COLUMN flow_funnel.sent IS 'Sends that went out, further ones included: neither pending, nor in doubt, nor failed; and those that were answered, whatever their status.';
COMMENT ON COLUMN flow_funnel.delivered IS 'Those of them that were delivered, the ones that were read or answered included, as far as status events and answers tell.';
COMMENT ON COLUMN flow_funnel.read IS 'Those of them that were read, the ones that were answered included. People can switch off that reading is told.';
COMMENT ON COLUMN flow_funnel.answered IS 'Sends with at least one answer.';
COMMENT ON COLUMN flow_funnel.failed IS 'Sends that failed, and were not answered.';
COMMENT ON COLUMN flow_funnel.median_time_to_answer IS 'From the send to its first answer, the median of those that were answered; without answers more than a second earlier than sent_at, which was not given then.';

-- Who writes answers looks sends up and brings them to what events tell, and who
-- may delete answers deletes sends as well: a server whose role owns nothing goes
-- on as before.
-- +goose StatementBegin
DO $$
DECLARE
    writer regrole;
    deletes boolean;
BEGIN
    FOR writer, deletes IN
        SELECT acl.grantee, bool_or(acl.privilege_type = 'DELETE') FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'flow_responses'::regclass AND acl.grantee <> 0
        GROUP BY acl.grantee HAVING bool_or(acl.privilege_type = 'INSERT')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON flow_sends TO %s', writer);
        IF deletes THEN
            EXECUTE format('GRANT DELETE ON flow_sends TO %s', writer);
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP VIEW flow_funnel;
DROP VIEW flow_answers;
DROP INDEX flow_responses_unsure_idx;
DROP INDEX flow_responses_context_idx;
DROP FUNCTION link_response(text, text, text, text, text);
DROP TABLE flow_sends;
