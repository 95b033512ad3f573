-- Unilateral exits. Rows stay. A VTXO whose exit was canceled can be exited again.
CREATE TABLE exit (
    id         INTEGER PRIMARY KEY,
    vtxo       BLOB NOT NULL CHECK (length(vtxo) = 36),
    operation  TEXT NOT NULL UNIQUE,
    state      TEXT NOT NULL, -- JSON, as the API shows it without the height of the tip
    problem    TEXT, -- JSON: what keeps it from going on; NULL when nothing does
    fee_rate   INTEGER, -- sat/kwu, set by a person for this exit
    cancel     INTEGER NOT NULL DEFAULT 0, -- a person asks for its end
    claim      BLOB CHECK (length(claim) = 32), -- the transaction of the wallet that claims the output
    created_at INTEGER NOT NULL, -- unix milliseconds
    ended_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX exit_live ON exit (vtxo) WHERE ended_at IS NULL;
CREATE INDEX exit_vtxo ON exit (vtxo, id);

-- The earlier states of exits. A block by itself adds no row.
CREATE TABLE exit_state (
    exit  INTEGER NOT NULL REFERENCES exit (id),
    seq   INTEGER NOT NULL,
    state TEXT NOT NULL,
    tip   INTEGER NOT NULL, -- height of the chain when it was left
    PRIMARY KEY (exit, seq)
) STRICT, WITHOUT ROWID;

-- The transactions that pay for those of an exit, by the transaction that each pays for. Exits with a common ancestor share its child.
CREATE TABLE exit_child (
    parent   BLOB PRIMARY KEY CHECK (length(parent) = 32),
    child    BLOB NOT NULL CHECK (length(child) = 32),
    body     BLOB, -- consensus encoding; NULL for one of somebody else that the chain backend did not show
    fee      INTEGER, -- sat; NULL when unknown
    origin   TEXT NOT NULL CHECK (origin IN ('wallet', 'mempool', 'block')),
    accepted INTEGER NOT NULL DEFAULT 0 -- the network had it
) STRICT, WITHOUT ROWID;

-- The transactions of the wallet that claim the outputs of exits.
CREATE TABLE exit_claim (
    txid BLOB PRIMARY KEY CHECK (length(txid) = 32),
    body BLOB NOT NULL -- consensus encoding
) STRICT, WITHOUT ROWID;

-- Whether the output of an exited VTXO is spent on chain. Such a VTXO is in no part of the balance.
ALTER TABLE vtxo ADD COLUMN claimed INTEGER NOT NULL DEFAULT 0;
