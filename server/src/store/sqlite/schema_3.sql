-- Version 3: what the next generation will change is gathered ahead of its promotion.
--
-- Its changes stand in record_log, and its sums in generation_dataset, under the epoch after the newest
-- generation. It is a generation, and read by anybody, only once `generation` has its row; until then a
-- key that is touched again is noted in `changed` again and compared anew.

-- The instant at which the scheduled records of what is gathered were looked at; NULL: nothing is gathered.
ALTER TABLE farm ADD COLUMN gathered_as_of INTEGER;
-- How many changes are gathered.
ALTER TABLE farm ADD COLUMN gathered_changes INTEGER NOT NULL DEFAULT 0;
