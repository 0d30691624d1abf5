-- Version 4: guards on content, and the gate.
--
-- What is gathered is counted by dataset, and how it differs from what is staged. So what an older
-- version gathered is noted as changed again, and the staged generation's bytes are added up, once.

INSERT INTO changed SELECT farm, dataset, key FROM record_log l
    WHERE epoch > (SELECT max(epoch) FROM generation g WHERE g.farm = l.farm)
        AND NOT EXISTS (SELECT 1 FROM changed c
            WHERE c.farm = l.farm AND c.dataset = l.dataset AND c.key = l.key);
DELETE FROM record_log
    WHERE epoch > (SELECT max(epoch) FROM generation g WHERE g.farm = record_log.farm);
DELETE FROM generation_dataset
    WHERE epoch > (SELECT max(epoch) FROM generation g WHERE g.farm = generation_dataset.farm);
UPDATE farm SET gathered_as_of = NULL, gathered_changes = 0;

-- Bytes of its keys and values. Of generations before the one that is staged as this column is made: 0.
ALTER TABLE generation_dataset ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE generation_dataset SET bytes = s.bytes
    FROM (SELECT farm, dataset, sum(length(key) + length(value)) AS bytes
        FROM (SELECT farm, dataset, key, value, max(epoch) FROM record_log GROUP BY farm, dataset, key)
        WHERE value IS NOT NULL GROUP BY farm, dataset) s
    WHERE s.farm = generation_dataset.farm AND s.dataset = generation_dataset.dataset
        AND epoch = (SELECT max(epoch) FROM generation g WHERE g.farm = generation_dataset.farm);

-- How what is gathered differs from what is staged.
CREATE TABLE gathered_dataset (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    added INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    vanished INTEGER NOT NULL,
    PRIMARY KEY (farm, dataset)
) WITHOUT ROWID;

-- Changed and new records of what is gathered that don't fit their dataset's schema, and why.
CREATE TABLE unfit (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (farm, dataset, key)
) WITHOUT ROWID;

-- Limits that operators set. The farm's own have no dataset's name.
CREATE TABLE guard (
    farm TEXT NOT NULL REFERENCES farm (name),
    dataset TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- Of change and vanish: a share in millionths, and records that may always do so.
    share INTEGER,
    floor INTEGER,
    -- Of records and bytes.
    most INTEGER,
    -- Of schema: the JSON Schema.
    schema TEXT,
    PRIMARY KEY (farm, dataset, kind)
) WITHOUT ROWID;

-- That a guard doesn't count for one candidate: who said so, and the epoch that used it up.
CREATE TABLE guard_override (
    id INTEGER PRIMARY KEY,
    farm TEXT NOT NULL,
    guard TEXT NOT NULL,
    digest BLOB NOT NULL,
    made_by TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    used INTEGER
);

-- The last candidate that was kept back, where none was staged since; reasons are JSON.
CREATE TABLE blocked (
    farm TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    digest BLOB NOT NULL,
    at INTEGER NOT NULL,
    reasons TEXT NOT NULL
) WITHOUT ROWID;

-- Who has to approve a candidate: names as a JSON list, and the server's command. Spans in nanoseconds.
CREATE TABLE gate (
    farm TEXT NOT NULL PRIMARY KEY REFERENCES farm (name),
    freeze_ahead INTEGER NOT NULL CHECK (freeze_ahead > 0),
    patience INTEGER NOT NULL CHECK (patience > 0),
    judges TEXT NOT NULL,
    command INTEGER NOT NULL
) WITHOUT ROWID;

-- What is gathered is frozen: nothing more is gathered until it is promoted or kept back.
CREATE TABLE frozen (
    farm TEXT NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL,
    as_of INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;

-- What was said of a candidate.
CREATE TABLE verdict (
    farm TEXT NOT NULL,
    judge TEXT NOT NULL,
    digest BLOB NOT NULL,
    approved INTEGER NOT NULL,
    why TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (farm, judge)
) WITHOUT ROWID;
