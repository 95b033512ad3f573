-- Every recovery that was ever begun. Its phase is the state of the operation with the same id.
CREATE TABLE recovery (
    id            TEXT PRIMARY KEY,
    cause         TEXT NOT NULL CHECK (cause IN ('seed', 'older_database')),
    holds_mailbox INTEGER NOT NULL, -- the mailbox is not read: the recovery takes its messages
    holds_spends  INTEGER NOT NULL, -- no VTXO is spent
    undecodable   INTEGER NOT NULL DEFAULT 0, -- entries that are no VTXO and no id of one
    started_at    INTEGER NOT NULL, -- unix milliseconds
    finished_at   INTEGER
) STRICT, WITHOUT ROWID;

-- What the last recoveries found, and what became of it.
CREATE TABLE recovery_candidate (
    id        BLOB PRIMARY KEY CHECK (length(id) = 36),
    recovery  TEXT NOT NULL REFERENCES recovery (id),
    source    TEXT NOT NULL CHECK (source IN ('key', 'mailbox', 'round', 'recovery_mailbox', 'own')), -- where it was found first
    backed_up INTEGER NOT NULL DEFAULT 0, -- id is in the recovery mailbox
    key_index INTEGER, -- as far as it is known
    body      BLOB,    -- as far as it is known, and needed
    state     INTEGER, -- what the server says
    tries     INTEGER NOT NULL DEFAULT 0, -- without an answer about body or state
    -- 'spent_unproven': counts as spent, and nothing but the server's word shows it
    verdict   TEXT CHECK (verdict IN ('recovered', 'spent', 'spent_unproven', 'exited', 'in_flight', 'foreign', 'invalid', 'gone', 'missing', 'doubtful')),
    reason    TEXT
) STRICT;
CREATE INDEX recovery_candidate_verdict ON recovery_candidate (recovery, verdict, id);

-- Rounds that the mailbox has reported to a recovery.
CREATE TABLE recovery_round (
    unlock_hash BLOB PRIMARY KEY CHECK (length(unlock_hash) = 32),
    recovery    TEXT NOT NULL REFERENCES recovery (id)
) STRICT, WITHOUT ROWID;

-- How far the recovery mailbox was read.
ALTER TABLE wallet ADD COLUMN recovery_cursor INTEGER NOT NULL DEFAULT 0;
