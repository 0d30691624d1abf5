-- Version 5: generations from which objects lead on, although they may no longer be kept.

-- The log's rows are folded up to the oldest generation that is kept or stands here.
CREATE TABLE pinned (
    farm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (farm, epoch)
) WITHOUT ROWID;
