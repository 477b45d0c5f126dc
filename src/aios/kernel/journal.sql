-- The statements of the journal, each under its name. A batch of rows comes as one JSON array, so that the
-- writer gives up the interpreter's lock once a statement and not once a row.

-- name: migration_1
BEGIN;
CREATE TABLE syscalls (
    id INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    effect TEXT NOT NULL,
    state TEXT NOT NULL,
    key TEXT,
    digest TEXT NOT NULL,
    started REAL NOT NULL,
    finished REAL,
    error TEXT NOT NULL,
    request TEXT,
    result TEXT
);
CREATE UNIQUE INDEX syscalls_by_key ON syscalls (agent, key) WHERE key IS NOT NULL;
CREATE INDEX syscalls_open ON syscalls (id) WHERE state = 'started';
CREATE TABLE processes (
    pid INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    attached INTEGER NOT NULL,
    charged_calls INTEGER NOT NULL,
    charged_tokens INTEGER NOT NULL,
    info TEXT NOT NULL
);
PRAGMA user_version = 1;
COMMIT;

-- name: migration_2
BEGIN;
CREATE TABLE groups (name TEXT PRIMARY KEY, spent REAL NOT NULL, began REAL NOT NULL);
PRAGMA user_version = 2;
COMMIT;

-- name: migration_3
BEGIN;
CREATE TABLE access (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT, PRIMARY KEY (kind, name));
CREATE INDEX access_gone ON access (kind) WHERE value IS NULL;
CREATE TABLE audit (seq INTEGER PRIMARY KEY, text TEXT NOT NULL, mac BLOB NOT NULL);
CREATE TABLE audit_head (seq INTEGER NOT NULL, link BLOB NOT NULL, mac BLOB NOT NULL);
INSERT INTO audit_head (seq, link, mac) VALUES (0, zeroblob(32), zeroblob(0));
PRAGMA user_version = 3;
COMMIT;

-- name: migration_4
BEGIN;
ALTER TABLE audit_head ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_head ADD COLUMN newest BLOB NOT NULL DEFAULT x'';
PRAGMA user_version = 4;
COMMIT;

-- name: put_access
INSERT OR REPLACE INTO access (kind, name, value)
SELECT json_extract(value, '$.kind'), json_extract(value, '$.name'), json_extract(value, '$.value')
FROM json_each(?);

-- name: prune_audit
DELETE FROM audit WHERE seq <= ?;

-- name: drop_access
DELETE FROM access WHERE value IS NULL;

-- name: access
SELECT kind, name, value FROM access ORDER BY rowid;

-- name: put_groups
INSERT OR REPLACE INTO groups (name, spent, began)
SELECT
    json_extract(value, '$.name'),
    coalesce(json_extract(value, '$.spent'), 0),
    coalesce(json_extract(value, '$.began'), 0)
FROM json_each(?);

-- name: groups
SELECT name, spent, began FROM groups;

-- name: put_syscalls
-- A new try under an old key takes the place of the earlier one.
INSERT OR REPLACE INTO syscalls
    (id, pid, agent, kind, effect, state, key, digest, started, finished, error, request, result)
SELECT
    json_extract(value, '$.id'),
    json_extract(value, '$.pid'),
    json_extract(value, '$.agent'),
    json_extract(value, '$.kind'),
    coalesce(json_extract(value, '$.effect'), 'none'),
    coalesce(json_extract(value, '$.state'), 'started'),
    json_extract(value, '$.key'),
    coalesce(json_extract(value, '$.digest'), ''),
    coalesce(json_extract(value, '$.started'), 0),
    json_extract(value, '$.finished'),
    coalesce(json_extract(value, '$.error'), ''),
    json_extract(value, '$.request'),
    json_extract(value, '$.result')
FROM json_each(?);

-- name: put_processes
INSERT OR REPLACE INTO processes (pid, name, state, attached, charged_calls, charged_tokens, info)
SELECT
    json_extract(value, '$.info.pid'),
    json_extract(value, '$.info.name'),
    json_extract(value, '$.info.state'),
    coalesce(json_extract(value, '$.attached'), 0),
    coalesce(json_extract(value, '$.charged_calls'), 0),
    coalesce(json_extract(value, '$.charged_tokens'), 0),
    json_extract(value, '$.info')
FROM json_each(?);

-- name: find
SELECT digest, result FROM syscalls
WHERE agent = ? AND key = ? AND ((state = 'done' AND finished >= ?) OR state = 'in_doubt');

-- name: open_calls
SELECT id, pid, agent, kind, effect, key, digest, request, started FROM syscalls
WHERE state = 'started' ORDER BY id;

-- name: processes
SELECT info, attached, charged_calls, charged_tokens FROM processes ORDER BY pid;

-- name: last_numbers
SELECT
    coalesce((SELECT max(id) FROM syscalls), 0),
    max(coalesce((SELECT max(pid) FROM processes), 0), coalesce((SELECT max(pid) FROM syscalls), 0));

-- name: expire_syscalls
-- The oldest few thousand at a time, so that the writer is never held up for long.
DELETE FROM syscalls WHERE id IN (
    SELECT id FROM (SELECT id, state, key, finished FROM syscalls ORDER BY id LIMIT 5000)
    WHERE state IN ('done', 'failed', 'lost')
        AND (finished < :before OR (key IS NULL AND id <= (SELECT max(id) FROM syscalls) - :keep))
);

-- name: expire_processes
DELETE FROM processes WHERE state IN ('exited', 'killed') AND pid NOT IN (SELECT value FROM json_each(?));
