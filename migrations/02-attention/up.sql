-- What waits for a decision of the operator. The row goes when its cause is gone.
CREATE TABLE attention (
    code       TEXT NOT NULL, -- stable snake_case word
    subject    TEXT NOT NULL, -- id of the operation, VTXO or round that it is about; empty for the wallet as a whole
    message    TEXT NOT NULL, -- what happened
    what_to_do TEXT NOT NULL,
    raised_at  INTEGER NOT NULL, -- unix milliseconds
    PRIMARY KEY (code, subject)
) STRICT, WITHOUT ROWID;
