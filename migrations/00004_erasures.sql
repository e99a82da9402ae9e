-- +goose Up
CREATE TABLE erasures (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash      bytea NOT NULL UNIQUE,
    cutoff    timestamptz NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE erasure_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key bytea NOT NULL
);

-- Each uuid brings 122 random bits.
INSERT INTO erasure_key (key)
VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

-- It answers for a batch at once. Its cost is set low and its plan fixed, since
-- the statements that call it would else be planned anew each time.
-- +goose StatementBegin
CREATE FUNCTION erased_among(message_ids text[], wa_ids text[], user_ids text[], sent_at timestamptz[], received_at timestamptz[])
RETURNS text[] LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1 SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN ARRAY(
        SELECT item.message_id
        FROM (SELECT key FROM erasure_key LIMIT 1) AS erasure_key, -- LIMIT tells the planner that there is one
            unnest(message_ids, wa_ids, user_ids, sent_at, received_at) AS item (message_id, wa_id, user_id, sent_at, received_at)
        WHERE EXISTS (
            SELECT FROM erasures
            WHERE hash IN (
                    sha256(key || convert_to(item.message_id, 'UTF8')),
                    sha256(key || convert_to(item.wa_id, 'UTF8')),
                    sha256(key || convert_to(item.user_id, 'UTF8')))
                AND cutoff >= least(item.sent_at, item.received_at)));
END
$$;
-- +goose StatementEnd

-- Who may write answers must obey the tombstones, and so may read them: a server
-- whose role owns nothing goes on as before.
-- +goose StatementBegin
DO $$
DECLARE
    writer regrole;
BEGIN
    FOR writer IN
        SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'flow_responses'::regclass AND acl.privilege_type = 'INSERT' AND acl.grantee <> 0
    LOOP
        EXECUTE format('GRANT SELECT ON erasures, erasure_key TO %s', writer);
    END LOOP;
END $$;
-- +goose StatementEnd

COMMENT ON TABLE erasures IS 'A tombstone for each id that was erased: what comes again of it, from a spool, a retry or a replay, is not kept.';
COMMENT ON COLUMN erasures.id IS 'The number on the receipt.';
COMMENT ON COLUMN erasures.hash IS 'sha256(erasure_key.key || id), the id being a phone number in digits, a business-scoped user id or a message id.';
COMMENT ON COLUMN erasures.cutoff IS 'What was sent or received up to here is not kept. infinity for a message, which is one and the same whenever it comes.';
COMMENT ON COLUMN erasures.erased_at IS 'When the erasure was last asked for.';
COMMENT ON TABLE erasure_key IS 'The key of the hashes in erasures, one row. Who reads both tables can test a phone number against them: readers of answers should see neither.';
COMMENT ON COLUMN erasure_key.one IS 'Always true: there is one row.';
COMMENT ON COLUMN erasure_key.key IS '32 random bytes, made with this table. Without them no tombstone is recognised.';
COMMENT ON FUNCTION erased_among(text[], text[], text[], timestamptz[], timestamptz[]) IS 'The message ids of those items that a tombstone covers, under any of their ids. An item is as old as the earlier of its times. It needs SELECT on erasures and erasure_key.';

-- +goose Down
DROP FUNCTION erased_among(text[], text[], text[], timestamptz[], timestamptz[]);
DROP TABLE erasure_key;
DROP TABLE erasures;
