-- Version 2, made of version 1.

-- lane: empty, or the task's name where the task has, or had, limits of its own: ready jobs that
-- must wait for a limit are then passed over without looking at each. A job may stand in the empty
-- lane all the same (it was written at the moment at which the limit was set): the lease that meets
-- it puts it where it belongs. key_until: until then its key is taken, though it may have ended.
-- signal: the one that a suspended job waits for.
ALTER TABLE pelton_jobs
    ADD COLUMN lane text NOT NULL DEFAULT '',
    ADD COLUMN limit_key text,
    ADD COLUMN key_until bigint,
    ADD COLUMN signal text;
DROP INDEX pelton_jobs_ready;
CREATE INDEX pelton_jobs_ready ON pelton_jobs (queue, lane, priority DESC, due, id)
    WHERE state = 2;
CREATE INDEX pelton_jobs_window ON pelton_jobs (key, key_until) WHERE key_until IS NOT NULL;

-- kind: 0 waits for the parent's success, 1 for its failure.
ALTER TABLE pelton_edges ADD COLUMN kind smallint NOT NULL DEFAULT 0 CHECK (kind IN (0, 1));

ALTER TABLE pelton_workers ADD COLUMN report bytea;
CREATE TABLE pelton_orders (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker bigint NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX pelton_orders_worker ON pelton_orders (worker, row);

ALTER TABLE pelton_schedules ADD COLUMN paused boolean NOT NULL DEFAULT false;

-- Attempts that did not succeed.
CREATE TABLE pelton_attempts (
    job bytea NOT NULL,
    token bigint NOT NULL,
    attempt integer NOT NULL,
    worker text,
    started_at bigint,
    ended_at bigint NOT NULL,
    ending text NOT NULL,
    error bytea,
    PRIMARY KEY (job, token)
);

CREATE TABLE pelton_steps (
    job bytea NOT NULL,
    name text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (job, name)
);

CREATE TABLE pelton_signals (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job bytea NOT NULL,
    name text NOT NULL,
    value bytea NOT NULL
);
CREATE INDEX pelton_signals_job ON pelton_signals (job, name, row);

-- declared: by code; one that was set by hand is not changed by a declaration.
CREATE TABLE pelton_limits (
    scope text PRIMARY KEY,
    concurrency integer CHECK (concurrency > 0),
    rate double precision CHECK (rate > 0),
    burst double precision,
    declared boolean NOT NULL DEFAULT false,
    CHECK (concurrency IS NOT NULL OR rate IS NOT NULL),
    CHECK ((rate IS NULL) = (burst IS NULL))
);

-- Tasks that have, or had, limits of their own. What is here stays: jobs may stand in these lanes.
CREATE TABLE pelton_lanes (task text PRIMARY KEY);

-- tat: the theoretical arrival time of GCRA.
CREATE TABLE pelton_buckets (name text PRIMARY KEY, tat bigint NOT NULL);
CREATE INDEX pelton_buckets_tat ON pelton_buckets (tat);

-- As before, with limit_key and key_ttl.
CREATE OR REPLACE FUNCTION pelton_enqueue(jobs json) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    job json;
    now bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    due bigint;
    new_state smallint;
    holder bytea;
BEGIN
    FOR job IN SELECT * FROM json_array_elements(jobs) LOOP
        due := coalesce((job->>'run_at')::bigint, now);
        new_state := CASE WHEN due > now THEN 1 ELSE 2 END;
        IF NOT EXISTS (SELECT 1 FROM pelton_queues WHERE name = job->>'queue') THEN
            INSERT INTO pelton_queues (name) VALUES (job->>'queue') ON CONFLICT DO NOTHING;
        END IF;
        LOOP
            SELECT id INTO holder FROM pelton_jobs
                WHERE key = job->>'key' AND key_until > now ORDER BY key_until DESC LIMIT 1;
            IF FOUND THEN
                RETURN NEXT encode(holder, 'hex');
                EXIT;
            END IF;
            INSERT INTO pelton_jobs (id, state, queue, priority, due, task, policy, created_at,
                expires_at, timeout, result_ttl, key, in_group, headers, payload, limit_key,
                key_until, lane)
            VALUES (decode(job->>'id', 'hex'), new_state, job->>'queue',
                (job->>'priority')::smallint, due, job->>'task', job->>'policy', now,
                (job->>'expires_at')::bigint, (job->>'timeout')::double precision,
                (job->>'result_ttl')::double precision, job->>'key', job->>'group',
                decode(job->>'headers', 'hex'), decode(job->>'payload', 'hex'),
                job->>'limit_key',
                now + ((job->>'key_ttl')::double precision * 1000000)::bigint,
                coalesce((SELECT task FROM pelton_lanes WHERE task = job->>'task'), ''))
            ON CONFLICT (key) WHERE key IS NOT NULL AND state < 4 DO NOTHING;
            IF FOUND THEN
                INSERT INTO pelton_counts (queue, state, n) VALUES (job->>'queue', new_state, 1);
                RETURN NEXT job->>'id';
                EXIT;
            END IF;
            SELECT id INTO holder FROM pelton_jobs WHERE key = job->>'key' AND state < 4;
            IF FOUND THEN
                RETURN NEXT encode(holder, 'hex');
                EXIT;
            END IF;
            -- The one that had the key ended this moment: it is free.
        END LOOP;
    END LOOP;
    PERFORM pg_notify(pelton_channel(), 'work');
END $$;

UPDATE pelton_schema SET version = 2;
