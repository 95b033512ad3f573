-- Requests with an idempotency key that began something, or succeeded without. A row is written in the transaction that begins it.
CREATE TABLE idempotency_key (
    key        TEXT PRIMARY KEY,
    request    BLOB NOT NULL CHECK (length(request) = 32), -- SHA-256 of the method, the path and the body
    operation  TEXT,    -- the operation whose end is the answer
    receive    TEXT,    -- the operation that will claim the payment of the invoice that the request made
    effect     TEXT,    -- JSON: what the request began; NULL if nothing
    failure    TEXT,    -- JSON: why the operation failed, while no answer is kept
    status     INTEGER, -- of the answer; NULL until it is kept
    body       TEXT,    -- of the answer
    created_at INTEGER NOT NULL, -- unix milliseconds
    CHECK ((status IS NULL) = (body IS NULL))
) STRICT;
CREATE INDEX idempotency_key_operation ON idempotency_key (operation) WHERE operation IS NOT NULL;
CREATE INDEX idempotency_key_age ON idempotency_key (created_at);

-- The movements that a request began.
CREATE TABLE idempotency_movement (
    key      TEXT NOT NULL REFERENCES idempotency_key (key) ON DELETE CASCADE,
    movement INTEGER NOT NULL,
    PRIMARY KEY (key, movement)
) STRICT, WITHOUT ROWID;
