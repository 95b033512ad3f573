-- VTXOs that a payment has found spent on the server's word alone. They count as spent.
CREATE TABLE unproven_spend (
    id BLOB PRIMARY KEY CHECK (length(id) = 36)
) STRICT, WITHOUT ROWID;
