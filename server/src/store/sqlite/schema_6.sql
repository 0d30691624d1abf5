-- Version 6: an update that leaves a key as it is notes it once, and not twice.

DROP TRIGGER production_updated_to;
CREATE TRIGGER production_updated_to AFTER UPDATE OF farm, dataset, key ON production
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;

DROP TRIGGER scheduled_updated_to;
CREATE TRIGGER scheduled_updated_to AFTER UPDATE OF farm, dataset, key ON scheduled
WHEN NOT EXISTS (SELECT 1 FROM changed
    WHERE farm = NEW.farm AND dataset = NEW.dataset AND key = CAST(NEW.key AS BLOB)) BEGIN
    INSERT INTO changed VALUES (NEW.farm, NEW.dataset, CAST(NEW.key AS BLOB));
END;
