"""Tallies: how many samples of each kind a component has, kept by triggers, so that nobody counts rows to know it.

A row in `sample_tallies` for each kind there is, and one in `input_tallies` with the number of different inputs. They
are written with the sample they count. A file from before there were tallies is counted once, when it is opened.
"""

_PLACE = "app_id = {row}.app_id AND component_id = {row}.component_id"
_OF_OLD, _OF_NEW = _PLACE.format(row="OLD"), _PLACE.format(row="NEW")
_SHORT = "substr({row}input_hash, 1, 16)"
"""An index over whole hashes costs a third more time; 64 bits tell inputs apart."""
_SAME_AS_OLD = f"{_SHORT.format(row='')} = {_SHORT.format(row='OLD.')}"
_SAME_AS_NEW = f"{_SHORT.format(row='')} = {_SHORT.format(row='NEW.')}"
_KIND = "handler = OLD.handler AND source = OLD.source AND split = OLD.split AND ok = OLD.ok"

TALLIES = f"""
BEGIN IMMEDIATE;
CREATE INDEX IF NOT EXISTS samples_by_input ON samples (app_id, component_id, {_SHORT.format(row="")});
CREATE TABLE IF NOT EXISTS sample_tallies (
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, handler TEXT NOT NULL, source TEXT NOT NULL,
    split TEXT NOT NULL, ok INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (app_id, component_id, handler, source, split, ok)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS input_tallies (
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (app_id, component_id)) STRICT, WITHOUT ROWID;
INSERT INTO input_tallies SELECT app_id, component_id, count(DISTINCT input_hash) FROM samples
    WHERE NOT EXISTS (SELECT 1 FROM sample_tallies) GROUP BY app_id, component_id;
INSERT INTO sample_tallies SELECT app_id, component_id, handler, source, split, ok, count(*) FROM samples
    WHERE NOT EXISTS (SELECT 1 FROM sample_tallies) GROUP BY app_id, component_id, handler, source, split, ok;
CREATE TRIGGER IF NOT EXISTS sample_kept AFTER INSERT ON samples BEGIN
    INSERT INTO sample_tallies
        VALUES (NEW.app_id, NEW.component_id, NEW.handler, NEW.source, NEW.split, NEW.ok, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO input_tallies SELECT NEW.app_id, NEW.component_id, 1
        WHERE NOT EXISTS (SELECT 1 FROM samples WHERE {_OF_NEW} AND {_SAME_AS_NEW} AND seq <> NEW.seq)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS sample_deleted AFTER DELETE ON samples BEGIN
    UPDATE sample_tallies SET n = n - 1 WHERE {_OF_OLD} AND {_KIND};
    DELETE FROM sample_tallies WHERE {_OF_OLD} AND {_KIND} AND n = 0;
    UPDATE input_tallies SET n = n - 1 WHERE {_OF_OLD}
        AND NOT EXISTS (SELECT 1 FROM samples WHERE {_OF_OLD} AND {_SAME_AS_OLD});
    DELETE FROM input_tallies WHERE {_OF_OLD} AND n = 0;
END;
COMMIT;
"""  # noqa: S608  own names
