-- Version 7: activations are remembered.

-- What agents told of an activation, as JSON for people.
CREATE TABLE activation (
    farm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    timeline TEXT NOT NULL,
    activation INTEGER NOT NULL,
    -- Agents that told of their switch. A server that was started since knows of fewer.
    switched INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (farm, epoch, timeline)
) WITHOUT ROWID;
