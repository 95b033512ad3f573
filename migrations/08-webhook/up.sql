-- Webhooks: where events are posted to, and how far each has got.
CREATE TABLE webhook (
    id               TEXT PRIMARY KEY,
    url              TEXT NOT NULL,
    description      TEXT NOT NULL,
    kinds            TEXT NOT NULL,    -- the kinds of events that are posted, separated by commas; empty for all
    secret           BLOB NOT NULL CHECK (length(secret) BETWEEN 24 AND 64),
    old_secret       BLOB CHECK (length(old_secret) BETWEEN 24 AND 64), -- the one before
    old_secret_until INTEGER,          -- unix milliseconds, as all times here; until then it signs too
    cursor           INTEGER NOT NULL, -- the last event that was delivered or passed over
    revision         INTEGER NOT NULL DEFAULT 0, -- grows with each change of a person
    enabled          INTEGER NOT NULL DEFAULT 1,
    failures         INTEGER NOT NULL DEFAULT 0, -- failed tries of the next event
    failing_since    INTEGER,
    next_try_at      INTEGER,
    last_error       TEXT,
    lost             INTEGER NOT NULL DEFAULT 0, -- events that were deleted before they were delivered
    created_at       INTEGER NOT NULL,
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL))
) STRICT, WITHOUT ROWID;

-- The last tries of each webhook.
CREATE TABLE webhook_delivery (
    webhook TEXT NOT NULL REFERENCES webhook (id),
    number  INTEGER NOT NULL, -- counts from 1 for each webhook
    event   INTEGER,          -- NULL for a test
    attempt INTEGER NOT NULL, -- counts from 1 for each event
    status  INTEGER,          -- of the answer; NULL without one
    latency INTEGER NOT NULL, -- milliseconds until the answer or the failure
    error   TEXT,             -- NULL when it was delivered
    at      INTEGER NOT NULL, -- when it began
    PRIMARY KEY (webhook, number)
) STRICT, WITHOUT ROWID;
