-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
    -- Whoever may not create schemas here can have this one made for them.
    IF to_regnamespace('flows') IS NULL THEN
        CREATE SCHEMA flows;
    END IF;
END $$;
-- +goose StatementEnd

COMMENT ON SCHEMA flows IS 'One typed view for each flow, made and kept by flowkeep, and flows.unlinked for the answers of no known flow.';

CREATE TABLE flow_catalog (
    id         text COLLATE "C" PRIMARY KEY,
    name       text UNIQUE,
    view       text UNIQUE,
    keys       text[] NOT NULL DEFAULT '{}',
    columns    text[] NOT NULL DEFAULT '{}',
    types      text[] NOT NULL DEFAULT '{}',
    misfits    bigint[] NOT NULL DEFAULT '{}',
    answers    bigint NOT NULL DEFAULT 0,
    first_seen timestamptz,
    last_seen  timestamptz,
    state      jsonb NOT NULL DEFAULT '{}',
    read_until timestamptz NOT NULL DEFAULT 'epoch',
    read_id    text NOT NULL DEFAULT ''
);

COMMENT ON TABLE flow_catalog IS 'What flowkeep knows of each flow: its view in the schema flows, and the answer keys in the order in which the form sent them.';
COMMENT ON COLUMN flow_catalog.id IS 'The flow''s id, as in flow_responses.flow_id.';
COMMENT ON COLUMN flow_catalog.name IS 'The name given with "flowkeep flows name"; null if none was.';
COMMENT ON COLUMN flow_catalog.view IS 'The view''s name in the schema flows; null if there is none: its answers are in flows.unlinked.';
COMMENT ON COLUMN flow_catalog.keys IS 'The answer keys that have a column.';
COMMENT ON COLUMN flow_catalog.columns IS 'The column of each key.';
COMMENT ON COLUMN flow_catalog.types IS 'The type of each key''s column.';
COMMENT ON COLUMN flow_catalog.misfits IS 'Of each key, the answers that do not fit its type and read as null.';
COMMENT ON COLUMN flow_catalog.answers IS 'The answers that were looked at so far.';
COMMENT ON COLUMN flow_catalog.first_seen IS 'When the first of them was received.';
COMMENT ON COLUMN flow_catalog.last_seen IS 'When the last of them was received.';
COMMENT ON COLUMN flow_catalog.state IS 'flowkeep''s own notes: what was seen of each key.';
COMMENT ON COLUMN flow_catalog.read_until IS 'flowkeep''s own mark: stored_at of the last answer that was looked at.';
COMMENT ON COLUMN flow_catalog.read_id IS 'flowkeep''s own mark: message_id of the last answer that was looked at.';

-- The casts of the views. Each returns null for what it cannot hold, and none
-- can fail: no value may make somebody's query fail.
CREATE FUNCTION flows.as_boolean(v jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE v
    WHEN 'true'::jsonb THEN true
    WHEN 'false'::jsonb THEN false
    WHEN '"true"'::jsonb THEN true
    WHEN '"false"'::jsonb THEN false
END
$$;

CREATE FUNCTION flows.as_numeric(v jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE jsonb_typeof(v)
    WHEN 'number' THEN v::numeric
    WHEN 'string' THEN
        CASE WHEN v #>> '{}' ~ '^-?[0-9]{1,50}([.][0-9]{1,50})?$' THEN (v #>> '{}')::numeric END
END
$$;

-- Days of the calendar from the year 1 on; or milliseconds since 1970.
CREATE FUNCTION flows.as_date(v jsonb) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN jsonb_typeof(v) IS DISTINCT FROM 'string' THEN NULL
    WHEN v #>> '{}' ~ '^(?!0000)([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$'
    THEN make_date(left(v #>> '{}', 4)::int, substr(v #>> '{}', 6, 2)::int, right(v #>> '{}', 2)::int)
    WHEN v #>> '{}' ~ '^-?[0-9]{1,14}$'
    THEN date '1970-01-01' + floor((v #>> '{}')::numeric / 86400000)::int
END
$$;

-- ISO 8601; without a zone it is UTC.
CREATE FUNCTION flows.as_timestamptz(v jsonb) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (flows.as_date(to_jsonb(p[1])) + make_time(p[2]::int, p[3]::int, coalesce(p[4], '0')::double precision)) AT TIME ZONE 'UTC'
    - coalesce((p[5] || '1')::int * make_interval(hours => p[6]::int, mins => p[7]::int), make_interval())
FROM regexp_match(
    CASE WHEN jsonb_typeof(v) = 'string' THEN v #>> '{}' END,
    '^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9](?:[.][0-9]{1,9})?))?(?:Z|([+-])(0[0-9]|1[0-4]):?([0-5][0-9]))?$'
) AS p
$$;

CREATE FUNCTION flows.as_texts(v jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN jsonb_typeof(v) = 'array' AND NOT jsonb_path_exists(v, 'strict $[*] ? (@.type() <> "string")')
    THEN ARRAY(SELECT jsonb_array_elements_text(v))
END
$$;

COMMENT ON FUNCTION flows.as_boolean(jsonb) IS 'An answer as boolean; null if it is none.';
COMMENT ON FUNCTION flows.as_numeric(jsonb) IS 'An answer as a number; null if it is none.';
COMMENT ON FUNCTION flows.as_date(jsonb) IS 'An answer as a date: YYYY-MM-DD, or the milliseconds since 1970 of old DatePickers (UTC); null if it is neither.';
COMMENT ON FUNCTION flows.as_timestamptz(jsonb) IS 'An answer in ISO 8601 as a time, UTC unless it says otherwise; null if it is none.';
COMMENT ON FUNCTION flows.as_texts(jsonb) IS 'An answer that is a list of strings; null if it is anything else.';

-- Newest first among the answers of no known flow, as the index by flow is for
-- the others.
CREATE INDEX flow_responses_unlinked_idx ON flow_responses (stored_at DESC) WHERE flow_id IS NULL;

-- Once there are flows without a view, flowkeep adds theirs by a second branch,
-- which would make every query slower before.
CREATE VIEW flows.unlinked AS
SELECT message_id, wa_id, contact_name, flow_token, sent_at, received_at, stored_at, token_kind, flow_id, response
FROM flow_responses
WHERE flow_id IS NULL;

COMMENT ON VIEW flows.unlinked IS 'Answers with no known flow, and those of flows that have no view.';
COMMENT ON COLUMN flows.unlinked.message_id IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.wa_id IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.contact_name IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.flow_token IS 'As in flow_responses. To find a custom token quickly: token_kind = ''custom'' AND left(flow_token, 200) = …';
COMMENT ON COLUMN flows.unlinked.sent_at IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.received_at IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.stored_at IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.token_kind IS 'As in flow_responses.';
COMMENT ON COLUMN flows.unlinked.flow_id IS 'As in flow_responses; set for a flow that has no view.';
COMMENT ON COLUMN flows.unlinked.response IS 'The answers, as in flow_responses.';

-- +goose Down
DROP SCHEMA flows CASCADE;
DROP INDEX flow_responses_unlinked_idx;
DROP TABLE flow_catalog;
