-- The inputs of the signed transactions, so that the next one of an output that is on chain is found.
CREATE TABLE IF NOT EXISTS tx_input (
    vtxo BLOB NOT NULL,
    txid BLOB NOT NULL,
    PRIMARY KEY (vtxo, txid)
) STRICT, WITHOUT ROWID;
