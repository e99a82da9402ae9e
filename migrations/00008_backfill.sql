-- +goose Up
CREATE TABLE backfill_progress (
    phone_number_id text COLLATE "C" PRIMARY KEY,
    complete_until  timestamptz,
    next_run_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_run_at     timestamptz,
    seen            bigint NOT NULL DEFAULT 0,
    here            bigint NOT NULL DEFAULT 0,
    added           bigint NOT NULL DEFAULT 0,
    unreadable      bigint NOT NULL DEFAULT 0,
    fault           text NOT NULL DEFAULT ''
);

COMMENT ON TABLE backfill_progress IS 'How far each business number is compared with Kapso''s history, by a server with FLOWKEEP_BACKFILL_EVERY.';
COMMENT ON COLUMN backfill_progress.phone_number_id IS 'Meta''s id of the business number.';
COMMENT ON COLUMN backfill_progress.complete_until IS 'Everything that Kapso''s history holds up to here is stored; null before the first run that reached its end.';
COMMENT ON COLUMN backfill_progress.next_run_at IS 'No server looks at the number before. While one does, it moves this ahead of itself.';
COMMENT ON COLUMN backfill_progress.last_run_at IS 'When the last run ended, well or not.';
COMMENT ON COLUMN backfill_progress.seen IS 'Flow responses that the last run found; those in both of Kapso''s sources count twice.';
COMMENT ON COLUMN backfill_progress.here IS 'Those that were stored already.';
COMMENT ON COLUMN backfill_progress.added IS 'Those that were missing, and are stored now.';
COMMENT ON COLUMN backfill_progress.unreadable IS 'Items that could not be read.';
COMMENT ON COLUMN backfill_progress.fault IS 'Why the last run failed, in flowkeep''s words; empty if it did not.';

COMMENT ON COLUMN flow_responses.source IS 'The shape of the body that brought it: kapso or meta. backfill: it never arrived, and was fetched from Kapso''s history.';
COMMENT ON COLUMN flow_responses.raw IS 'The exact bytes of the item (Kapso: the payload or batch item; Meta: the message). For a backfill from the message history: Kapso''s message, in the shape of a payload.';
COMMENT ON COLUMN flow_responses.received_at IS 'When the delivery reached us; for a backfill, when it was fetched.';
COMMENT ON COLUMN quarantine.source IS 'The shape of the body that brought it: kapso or meta; backfill if it was fetched.';

-- Who writes answers notes how far they are compared.
-- +goose StatementBegin
DO $$
DECLARE
    writer regrole;
BEGIN
    FOR writer IN
        SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'flow_responses'::regclass AND acl.privilege_type = 'INSERT' AND acl.grantee <> 0
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON backfill_progress TO %s', writer);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE backfill_progress;
