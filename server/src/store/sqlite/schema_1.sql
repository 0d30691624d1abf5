-- Version 1 of the database (PRAGMA user_version). A released version is never edited: the next one
-- is a file of its own that starts from this one.
--
-- Bytes: keys and values are BLOB columns without conversion, so that a person may write text in any
-- SQL tool. Text counts as its UTF-8 bytes everywhere: CAST(key AS BLOB) is the key. Instants are
-- nanoseconds of the farm's timeline (they start as Unix time).
--
-- The names of CHECK constraints are what a person reads when one refuses a row.

CREATE TABLE farm (
    name TEXT NOT NULL PRIMARY KEY,
    -- How many generations can be read, the staged one included.
    generations_kept INTEGER NOT NULL CHECK (generations_kept >= 2),
    -- Log rows up to this epoch are all in record_index.
    indexed_to INTEGER NOT NULL,
    -- Log rows superseded at or before this epoch are gone.
    folded_to INTEGER NOT NULL
) WITHOUT ROWID;

-- The synchronization table (Fig. 4, item 210): a row for each farm. `body` is the whole of it; the
-- columns beside it are compared by writes and read by people.
CREATE TABLE sync_table (
    farm TEXT NOT NULL PRIMARY KEY REFERENCES farm (name),
    timeline TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    activation INTEGER NOT NULL,
    next_earliest INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;

-- The server's clock: the line that all farms of this database live on.
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    timeline TEXT NOT NULL,
    body TEXT NOT NULL
);

-- Datasets that production or scheduled have, or had until the last promotion.
CREATE TABLE dataset (
    farm TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (farm, name)
) WITHOUT ROWID;

-- The production cache (Fig. 4, item 204): what people edit, by any SQL tool.
CREATE TABLE production (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (farm, dataset, key),
    CONSTRAINT "a dataset's name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'"
        CHECK (typeof(dataset) = 'text' AND length(CAST(dataset AS BLOB)) BETWEEN 1 AND 64
            AND dataset NOT GLOB '*[^-a-z0-9._]*'),
    CONSTRAINT "a key is text or a blob; write '5', not 5" CHECK (typeof(key) IN ('text', 'blob')),
    CONSTRAINT "a key has at most 512 bytes; shorten it" CHECK (length(CAST(key AS BLOB)) <= 512),
    CONSTRAINT "a value is text or a blob; write '1.5', not 1.5" CHECK (typeof(value) IN ('text', 'blob')),
    CONSTRAINT "a value has at most 65536 bytes; shorten it" CHECK (length(CAST(value AS BLOB)) <= 65536)
) WITHOUT ROWID;

-- Unique over the bytes, whether they were written as text or as a blob.
CREATE UNIQUE INDEX production_bytes ON production (farm, dataset, CAST(key AS BLOB));

-- Records with a time from which they count, and maybe one until which. A NULL value deletes.
CREATE TABLE scheduled (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    effective_at INTEGER NOT NULL,
    expires_at INTEGER,
    value BLOB,
    PRIMARY KEY (farm, dataset, key, effective_at),
    CONSTRAINT "a dataset's name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'"
        CHECK (typeof(dataset) = 'text' AND length(CAST(dataset AS BLOB)) BETWEEN 1 AND 64
            AND dataset NOT GLOB '*[^-a-z0-9._]*'),
    CONSTRAINT "a key is text or a blob; write '5', not 5" CHECK (typeof(key) IN ('text', 'blob')),
    CONSTRAINT "a key has at most 512 bytes; shorten it" CHECK (length(CAST(key AS BLOB)) <= 512),
    CONSTRAINT "effective_at is a whole number of nanoseconds since 1970"
        CHECK (typeof(effective_at) = 'integer'),
    CONSTRAINT "expires_at is NULL, or a whole number of nanoseconds since 1970 after effective_at"
        CHECK (expires_at IS NULL OR (typeof(expires_at) = 'integer' AND expires_at > effective_at)),
    CONSTRAINT "a value is text, a blob, or NULL to delete; write '1.5', not 1.5"
        CHECK (value IS NULL OR typeof(value) IN ('text', 'blob')),
    CONSTRAINT "a value has at most 65536 bytes; shorten it"
        CHECK (value IS NULL OR length(CAST(value AS BLOB)) <= 65536)
) WITHOUT ROWID;

CREATE UNIQUE INDEX scheduled_bytes ON scheduled (farm, dataset, CAST(key AS BLOB), effective_at);
CREATE INDEX scheduled_by_effective ON scheduled (farm, effective_at);
CREATE INDEX scheduled_by_expiry ON scheduled (farm, expires_at) WHERE expires_at IS NOT NULL;

-- Keys that were touched since they were last compared with what is staged (the seed's flag that is
-- set when data is modified). A promotion deletes the rows that it saw.
CREATE TABLE changed (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (farm, dataset, key)
) WITHOUT ROWID;

-- Staged, active and older generations in one log that is only appended to at its end. A NULL value
-- deletes. A key's value at an epoch is that of its last row up to it.
CREATE TABLE record_log (
    farm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    PRIMARY KEY (farm, epoch, dataset, key)
) WITHOUT ROWID;

-- Where a key's rows in the log are. Built after a promotion, not in it.
CREATE TABLE record_index (
    farm TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (farm, dataset, key, epoch)
) WITHOUT ROWID;

-- The generations that can be read.
CREATE TABLE generation (
    farm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    digest BLOB NOT NULL,
    -- The instant at which its scheduled records were looked at.
    as_of INTEGER NOT NULL,
    -- Records in which it differs from the one before it.
    changes INTEGER NOT NULL,
    PRIMARY KEY (farm, epoch)
) WITHOUT ROWID;

-- Their datasets: the manifest that the generation's digest is computed from.
CREATE TABLE generation_dataset (
    farm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    sum BLOB NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (farm, epoch, dataset)
) WITHOUT ROWID;

-- Triggers. They must do the same under any pragma of any tool and under any conflict clause of the
-- statement that fires them (which overrides a trigger's own), so: no reliance on delete triggers for
-- rows that REPLACE takes away (such a row has the bytes of the new key, which is captured), and
-- WHEN NOT EXISTS instead of OR IGNORE. (As a condition of the trigger, not of an INSERT ... SELECT:
-- that would make a temporary table for each row.)

CREATE TRIGGER production_belongs BEFORE INSERT ON production BEGIN
    SELECT RAISE(ABORT, 'there is no such farm here; make it first, or correct the name')
        WHERE NOT EXISTS (SELECT 1 FROM farm WHERE name = NEW.farm);
    SELECT RAISE(ABORT, 'a farm has at most 64 datasets; delete one and let that be promoted first')
        WHERE NOT EXISTS (SELECT 1 FROM dataset WHERE farm = NEW.farm AND name = NEW.dataset)
            AND (SELECT count(*) FROM dataset WHERE farm = NEW.farm) >= 64;
END;

CREATE TRIGGER production_still_belongs BEFORE UPDATE OF farm, dataset ON production BEGIN
    SELECT RAISE(ABORT, 'there is no such farm here; make it first, or correct the name')
        WHERE NOT EXISTS (SELECT 1 FROM farm WHERE name = NEW.farm);
    SELECT RAISE(ABORT, 'a farm has at most 64 datasets; delete one and let that be promoted first')
        WHERE NOT EXISTS (SELECT 1 FROM dataset WHERE farm = NEW.farm AND name = NEW.dataset)
            AND (SELECT count(*) FROM dataset WHERE farm = NEW.farm) >= 64;
END;

CREATE TRIGGER scheduled_belongs BEFORE INSERT ON scheduled BEGIN
    SELECT RAISE(ABORT, 'there is no such farm here; make it first, or correct the name')
        WHERE NOT EXISTS (SELECT 1 FROM farm WHERE name = NEW.farm);
    SELECT RAISE(ABORT, 'a farm has at most 64 datasets; delete one and let that be promoted first')
        WHERE NOT EXISTS (SELECT 1 FROM dataset WHERE farm = NEW.farm AND name = NEW.dataset)
            AND (SELECT count(*) FROM dataset WHERE farm = NEW.farm) >= 64;
END;

CREATE TRIGGER scheduled_still_belongs BEFORE UPDATE OF farm, dataset ON scheduled BEGIN
    SELECT RAISE(ABORT, 'there is no such farm here; make it first, or correct the name')
        WHERE NOT EXISTS (SELECT 1 FROM farm WHERE name = NEW.farm);
    SELECT RAISE(ABORT, 'a farm has at most 64 datasets; delete one and let that be promoted first')
        WHERE NOT EXISTS (SELECT 1 FROM dataset WHERE farm = NEW.farm AND name = NEW.dataset)
            AND (SELECT count(*) FROM dataset WHERE farm = NEW.farm) >= 64;
END;

CREATE TRIGGER changed_names AFTER INSERT ON changed
WHEN NOT EXISTS (SELECT 1 FROM dataset WHERE farm = NEW.farm AND name = NEW.dataset) BEGIN
    INSERT INTO dataset VALUES (NEW.farm, NEW.dataset);
END;

CREATE TRIGGER production_inserted AFTER INSERT ON production
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;

CREATE TRIGGER production_updated_from AFTER UPDATE ON production
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = OLD.farm AND dataset = OLD.dataset AND key = CAST(OLD.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (OLD.farm, OLD.dataset, CAST(OLD.key AS BLOB));
END;

CREATE TRIGGER production_updated_to AFTER UPDATE ON production
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;

CREATE TRIGGER production_deleted AFTER DELETE ON production
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = OLD.farm AND dataset = OLD.dataset AND key = CAST(OLD.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (OLD.farm, OLD.dataset, CAST(OLD.key AS BLOB));
END;

CREATE TRIGGER scheduled_inserted AFTER INSERT ON scheduled
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;

CREATE TRIGGER scheduled_updated_from AFTER UPDATE ON scheduled
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = OLD.farm AND dataset = OLD.dataset AND key = CAST(OLD.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (OLD.farm, OLD.dataset, CAST(OLD.key AS BLOB));
END;

CREATE TRIGGER scheduled_updated_to AFTER UPDATE ON scheduled
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;

CREATE TRIGGER scheduled_deleted AFTER DELETE ON scheduled
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = OLD.farm AND dataset = OLD.dataset AND key = CAST(OLD.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (OLD.farm, OLD.dataset, CAST(OLD.key AS BLOB));
END;
