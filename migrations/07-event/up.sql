-- What happened, in the order of the commits: one row per event, written in the transaction that makes it happen. Ids have no gaps and
-- are never used twice, also after old rows were deleted.
CREATE TABLE event (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp   INTEGER NOT NULL UNIQUE, -- unix nanoseconds, higher than that of every earlier row even if the clock is set back
    kind    TEXT NOT NULL,           -- such as 'movement-created'
    subject TEXT NOT NULL,           -- id of the movement, operation or VTXO, or code of the attention
    body    TEXT NOT NULL            -- JSON: the subject as it was at the commit
) STRICT;

-- Whether an event has told that it expires soon.
ALTER TABLE vtxo ADD COLUMN expiry_told INTEGER NOT NULL DEFAULT 0;
