CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- One row per output the server answers for: the clients' VTXOs and its own (checkpoints, board outputs).
CREATE TABLE vtxo (
    id BLOB PRIMARY KEY,
    body BLOB NOT NULL,
    user_pubkey BLOB,
    amount_sat INTEGER NOT NULL,
    anchor BLOB NOT NULL,
    state TEXT NOT NULL,
    spent_by BLOB,
    exited_height INTEGER
) STRICT;
CREATE INDEX vtxo_by_user_pubkey ON vtxo (user_pubkey);

-- Transactions the server vouches for. Without a body: cosigned, but nobody has brought the signed form yet.
CREATE TABLE tx (
    txid BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    body BLOB,
    -- Set by a fault: the server keeps this transaction to itself.
    withheld INTEGER NOT NULL DEFAULT 0
) STRICT;

-- AUTOINCREMENT never hands out a checkpoint twice, not even after rows are gone.
CREATE TABLE mailbox (
    checkpoint INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox BLOB NOT NULL,
    message BLOB NOT NULL
) STRICT;
CREATE INDEX mailbox_by_owner ON mailbox (mailbox, checkpoint);

-- What has been delivered, and to which mailbox: each VTXO once for each kind of message, whichever mailbox was the first.
CREATE TABLE delivery (
    mailbox BLOB NOT NULL,
    kind TEXT NOT NULL,
    vtxo BLOB NOT NULL,
    PRIMARY KEY (kind, vtxo)
) STRICT, WITHOUT ROWID;

-- Finished rounds; the funding transaction is in `tx`.
CREATE TABLE round (
    txid BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    tree BLOB NOT NULL
) STRICT;

-- What a client brings to a round. Without a round it waits for one.
CREATE TABLE participation (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    unlock_hash BLOB NOT NULL UNIQUE,
    unlock_preimage BLOB NOT NULL,
    request BLOB NOT NULL,
    scheduled_height INTEGER,
    round BLOB REFERENCES round (txid),
    released INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE participation_input (
    vtxo BLOB NOT NULL,
    participation INTEGER NOT NULL REFERENCES participation (number) ON DELETE CASCADE,
    PRIMARY KEY (vtxo, participation)
) STRICT, WITHOUT ROWID;
