-- One row: whose wallet this is, and the server keys pinned at first contact.
CREATE TABLE wallet (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    network        TEXT NOT NULL,
    fingerprint    BLOB NOT NULL CHECK (length(fingerprint) = 4),
    server_pubkey  BLOB CHECK (length(server_pubkey) = 33),
    mailbox_pubkey BLOB CHECK (length(mailbox_pubkey) = 33),
    mailbox_cursor INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Every revealed VTXO key. The next index is the highest one plus one.
CREATE TABLE vtxo_key (
    key_index INTEGER PRIMARY KEY,
    pubkey    BLOB NOT NULL UNIQUE CHECK (length(pubkey) = 33)
) STRICT;

-- What moves money: a typed state, when to wake it, how often it was tried.
CREATE TABLE operation (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL, -- opaque JSON of the kind's own state type: ids, amounts, signatures; no VTXO bodies
    wake_at     INTEGER,       -- unix milliseconds; NULL = as soon as possible
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_error  TEXT,
    outcome     TEXT CHECK (outcome IN ('done', 'failed')),
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    CHECK ((outcome IS NULL) = (finished_at IS NULL))
) STRICT;
CREATE INDEX operation_open ON operation (created_at) WHERE finished_at IS NULL;

-- Whole VTXOs with their exit chains, in the protocol's encoding: those of the table vtxo, and those that an operation has signed for
-- a payee or that are not valid yet. They are kilobytes, so they stand apart from the rows that change.
CREATE TABLE vtxo_body (
    id   BLOB PRIMARY KEY CHECK (length(id) = 36),
    body BLOB NOT NULL
) STRICT;

-- Rows stay after the spend, so that a replayed message cannot bring a coin back.
CREATE TABLE vtxo (
    id             BLOB PRIMARY KEY CHECK (length(id) = 36),
    amount         INTEGER NOT NULL CHECK (amount > 0),
    expiry_height  INTEGER NOT NULL,
    exit_depth     INTEGER NOT NULL,
    exit_tx_weight INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('spendable', 'locked', 'spent', 'exited')),
    holder         TEXT, -- the operation that locked it
    registered     INTEGER NOT NULL DEFAULT 0, -- signed chain is with the server
    backed_up      INTEGER NOT NULL DEFAULT 0, -- id is in the recovery mailbox
    bare           BLOB NOT NULL, -- the VTXO without its exit chain
    CHECK (holder IS NULL OR state = 'locked')
) STRICT;
CREATE INDEX vtxo_selection ON vtxo (expiry_height, exit_depth DESC, id) WHERE state = 'spendable';
CREATE INDEX vtxo_holder ON vtxo (holder) WHERE holder IS NOT NULL;
CREATE INDEX vtxo_live ON vtxo (state) WHERE state <> 'spent';
CREATE INDEX vtxo_catch_up ON vtxo (id)
    WHERE (registered = 0 OR backed_up = 0) AND state IN ('spendable', 'locked');
-- The order in which the API lists VTXOs, so that a page of them costs no more than its length.
CREATE INDEX vtxo_listed ON vtxo (expiry_height, amount DESC, id);

-- The on-chain transactions that our VTXOs hang from.
CREATE TABLE anchor (
    txid BLOB PRIMARY KEY CHECK (length(txid) = 32),
    tx   BLOB NOT NULL
) STRICT;

CREATE TABLE movement (
    id                INTEGER PRIMARY KEY,
    operation         TEXT UNIQUE,
    status            TEXT NOT NULL CHECK (status IN ('pending', 'successful', 'failed', 'canceled')),
    subsystem         TEXT NOT NULL,
    metadata          TEXT NOT NULL DEFAULT '{}', -- JSON object, also written by users
    intended_balance  INTEGER NOT NULL,
    effective_balance INTEGER NOT NULL,
    offchain_fee      INTEGER NOT NULL,
    created_at        INTEGER NOT NULL, -- unix milliseconds
    updated_at        INTEGER NOT NULL,
    completed_at      INTEGER
) STRICT;

CREATE TABLE movement_destination (
    movement  INTEGER NOT NULL REFERENCES movement (id),
    direction TEXT NOT NULL CHECK (direction IN ('sent', 'received')),
    position  INTEGER NOT NULL,
    method    TEXT NOT NULL,
    value     TEXT NOT NULL,
    amount    INTEGER NOT NULL,
    PRIMARY KEY (movement, direction, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX movement_destination_method ON movement_destination (method, value, movement);

CREATE TABLE movement_vtxo (
    movement INTEGER NOT NULL REFERENCES movement (id),
    role     TEXT NOT NULL CHECK (role IN ('input', 'output', 'exited')),
    vtxo     BLOB NOT NULL,
    PRIMARY KEY (movement, role, vtxo)
) STRICT, WITHOUT ROWID;

-- Received VTXOs that could be neither accepted nor refused yet.
CREATE TABLE quarantine (
    id          BLOB PRIMARY KEY CHECK (length(id) = 36),
    vtxo        BLOB NOT NULL,
    reason      TEXT NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

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
