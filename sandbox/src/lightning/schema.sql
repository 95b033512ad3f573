-- Invoices that the world issued, BOLT11 and BOLT12.
CREATE TABLE IF NOT EXISTS world_invoice (
    hash BLOB PRIMARY KEY,
    preimage BLOB NOT NULL,
    invoice TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    -- JSON: what happens to a payment.
    outcome TEXT NOT NULL,
    -- What a payer wrote to an LNURL.
    comment TEXT
) STRICT;

-- Offers of the world, and what happens to the payments of their invoices.
CREATE TABLE IF NOT EXISTS offer (
    offer TEXT PRIMARY KEY,
    outcome TEXT NOT NULL
) STRICT;

-- Payments of the Ark server's node to the world.
CREATE TABLE IF NOT EXISTS payment (
    hash BLOB PRIMARY KEY,
    amount_msat INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT
) STRICT;

-- Hold invoices of the Ark server's node, and the payments of the world that it holds.
CREATE TABLE IF NOT EXISTS hold (
    hash BLOB PRIMARY KEY,
    invoice TEXT NOT NULL,
    amount_msat INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    min_final_cltv INTEGER NOT NULL,
    status TEXT NOT NULL,
    paid_msat INTEGER,
    lowest_expiry INTEGER,
    preimage BLOB
) STRICT;
