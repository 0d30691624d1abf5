-- Version 2: generations are kept by their age too, and folding goes on where it was.

-- Nanoseconds for which a generation can be read after it was live last; NULL: their number decides.
ALTER TABLE farm ADD COLUMN kept_for INTEGER CONSTRAINT "a generation is kept for a positive time" CHECK (kept_for > 0);

-- Rows of the epoch after folded_to are folded up to this place; no dataset has an empty name.
ALTER TABLE farm ADD COLUMN folding_dataset TEXT NOT NULL DEFAULT '';
ALTER TABLE farm ADD COLUMN folding_key BLOB NOT NULL DEFAULT x'';

-- When it goes or went live, on the timeline that was in force then.
ALTER TABLE generation ADD COLUMN activation INTEGER NOT NULL DEFAULT 0;
UPDATE generation SET activation = as_of;
