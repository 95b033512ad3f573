-- The invoices of the wallet. Rows stay: the preimage of a settled one proves the payment, and a claim on chain needs it.
CREATE TABLE lightning_receive (
    payment_hash BLOB PRIMARY KEY CHECK (length(payment_hash) = 32),
    preimage     BLOB NOT NULL CHECK (length(preimage) = 32),
    invoice      TEXT NOT NULL,
    amount       INTEGER NOT NULL CHECK (amount > 0), -- sat, with the fee
    fee          INTEGER NOT NULL, -- the most that the server may keep, sat
    key_index    INTEGER NOT NULL, -- of the key that gets the HTLCs, and what is claimed unless it goes to an Ark address
    min_cltv     INTEGER NOT NULL, -- blocks that the payer's HTLCs outlive their arrival
    token        TEXT, -- proof for the server that the receive is worth HTLCs
    destination  TEXT, -- Ark address that gets what is claimed
    external_id  TEXT,
    created_at   INTEGER NOT NULL, -- unix milliseconds, as all times here
    expires_at   INTEGER NOT NULL,
    accepted_at  INTEGER, -- when its operation was written: the server holds a payment
    ended_at     INTEGER,
    outcome      TEXT CHECK (outcome IN ('settled', 'canceled', 'expired', 'failed')),
    reason       TEXT, -- why it ended without payment
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX lightning_receive_unfinished ON lightning_receive (created_at) WHERE ended_at IS NULL;
