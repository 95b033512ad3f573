-- Every Lightning payment that was ever begun. Rows stay, so that no payment hash is paid twice.
CREATE TABLE lightning_send (
    payment_hash BLOB PRIMARY KEY CHECK (length(payment_hash) = 32),
    invoice      TEXT NOT NULL,    -- as it was paid last
    amount       INTEGER NOT NULL, -- sat that the payee gets
    preimage     BLOB CHECK (length(preimage) = 32), -- proves the payment; NULL until it is known
    created_at   INTEGER NOT NULL  -- unix milliseconds
) STRICT, WITHOUT ROWID;
