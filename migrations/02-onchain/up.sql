-- What the on-chain wallet learned, in the order it learned it; merged into one row at each start.
CREATE TABLE onchain_change (
    id     INTEGER PRIMARY KEY,
    change TEXT NOT NULL -- opaque JSON of the wallet library's change set
) STRICT;

-- Our own transactions that no row above contains yet. Ids are never used twice, so that a reader knows what is new.
CREATE TABLE onchain_transaction (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    txid        BLOB NOT NULL UNIQUE CHECK (length(txid) = 32),
    body        BLOB NOT NULL,    -- consensus encoding
    recorded_at INTEGER NOT NULL  -- unix seconds
) STRICT;

-- Coins that an operation will spend, until it has recorded its transaction or given them back.
CREATE TABLE onchain_hold (
    txid      BLOB NOT NULL CHECK (length(txid) = 32),
    vout      INTEGER NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (txid, vout)
) STRICT, WITHOUT ROWID;
CREATE INDEX onchain_hold_operation ON onchain_hold (operation);
