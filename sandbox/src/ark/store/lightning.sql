-- Attempts to pay an invoice. At most one of a hash is open, whoever pays.
CREATE TABLE IF NOT EXISTS ln_attempt (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL,
    invoice TEXT NOT NULL,
    amount_sat INTEGER NOT NULL,
    htlc_expiry INTEGER NOT NULL,
    mailbox BLOB,
    started_ms INTEGER NOT NULL,
    -- Whether the payee is a client of this server.
    linked INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS ln_open_attempt ON ln_attempt (hash) WHERE status = 'open';

CREATE TABLE IF NOT EXISTS ln_attempt_htlc (
    attempt INTEGER NOT NULL REFERENCES ln_attempt (number),
    vtxo BLOB NOT NULL,
    PRIMARY KEY (attempt, vtxo)
) STRICT, WITHOUT ROWID;

-- The preimages that the server knows, in the order in which it learnt them.
CREATE TABLE IF NOT EXISTS ln_settlement (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    preimage BLOB NOT NULL,
    learnt_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS ln_receive (
    hash BLOB PRIMARY KEY,
    amount_sat INTEGER NOT NULL,
    invoice TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    mailbox BLOB,
    status TEXT NOT NULL,
    lowest_expiry INTEGER,
    accepted_ms INTEGER,
    -- Whether the payer is a client of this server.
    linked INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The HTLCs of a receive, in the order of the grant.
CREATE TABLE IF NOT EXISTS ln_receive_htlc (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL REFERENCES ln_receive (hash),
    vtxo BLOB NOT NULL UNIQUE
) STRICT;

-- The server's VTXOs that receives are granted from.
CREATE TABLE IF NOT EXISTS ln_pool (
    vtxo BLOB PRIMARY KEY,
    amount_sat INTEGER NOT NULL,
    expiry_height INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was posted about a hash. Each kind is posted once, for ever.
CREATE TABLE IF NOT EXISTS ln_push (
    hash BLOB NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (hash, kind)
) STRICT, WITHOUT ROWID;

-- Used tokens.
CREATE TABLE IF NOT EXISTS ln_token (
    token TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
