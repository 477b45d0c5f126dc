-- The schema of memory. Rows are numbers inside this file; ids are what callers see.

-- migration 1
CREATE TABLE owners (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    entries INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE entries (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner INTEGER NOT NULL REFERENCES owners (number),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    tags TEXT NOT NULL,          -- a JSON array
    size INTEGER NOT NULL,       -- of the body, bytes
    version INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    meta TEXT NOT NULL,          -- JSON, what its kind keeps besides the body
    digest BLOB NOT NULL,        -- SHA-256 of the body
    body BLOB,                   -- NULL: swapped to the backing store
    words TEXT,                  -- as indexed in `fts`; NULL: not indexed
    about TEXT                   -- keywords and context, indexed beside it
);
CREATE INDEX entries_by_owner ON entries (owner, created, id);
CREATE INDEX entries_pinned ON entries (owner, size) WHERE pinned;
CREATE INDEX entries_by_name ON entries (owner, name) WHERE kind = 'block';

CREATE TABLE grants (
    row INTEGER NOT NULL REFERENCES entries (row) ON DELETE CASCADE,
    whom TEXT NOT NULL,          -- 'agent' or 'group'
    name TEXT NOT NULL,
    write INTEGER NOT NULL,
    expires REAL,
    PRIMARY KEY (whom, name, row)
) WITHOUT ROWID;
CREATE INDEX grants_by_row ON grants (row);

CREATE TABLE versions (
    row INTEGER NOT NULL REFERENCES entries (row) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    at REAL NOT NULL,
    by TEXT NOT NULL,
    why TEXT NOT NULL,
    body TEXT NOT NULL,
    tags TEXT NOT NULL,
    meta TEXT NOT NULL,
    PRIMARY KEY (row, version)
) WITHOUT ROWID;

CREATE TABLE links (
    row INTEGER NOT NULL REFERENCES entries (row) ON DELETE CASCADE,
    target INTEGER NOT NULL REFERENCES entries (row) ON DELETE CASCADE,
    strength REAL NOT NULL,
    PRIMARY KEY (row, target)
) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (target);

CREATE TABLE vectors (
    row INTEGER PRIMARY KEY REFERENCES entries (row) ON DELETE CASCADE,
    owner INTEGER NOT NULL,
    embedder TEXT NOT NULL,
    vector BLOB NOT NULL         -- float32
);
CREATE INDEX vectors_by_owner ON vectors (owner, embedder);

-- Each token carries its owner's number in front, so that one owner's words are counted for that owner alone.
CREATE VIRTUAL TABLE fts USING fts5 (words, about, content = '', tokenize = 'porter unicode61');

-- Conversations: the edges of each owner's tries, and where each conversation ends in them.
CREATE TABLE edges (
    edge INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    form TEXT NOT NULL,          -- 'text' or 'tokens'
    parent INTEGER,              -- NULL: below the root
    label BLOB NOT NULL
);
CREATE INDEX edges_by_owner ON edges (owner, form);
CREATE TABLE ends (
    row INTEGER NOT NULL REFERENCES entries (row) ON DELETE CASCADE,
    form TEXT NOT NULL,
    edge INTEGER,                -- NULL: the root
    PRIMARY KEY (row, form)
) WITHOUT ROWID;

-- The default backing store of swapped bodies, and the keys in any backing store that nothing needs any more.
CREATE TABLE swapped (key TEXT PRIMARY KEY, digest BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE doomed (key TEXT PRIMARY KEY) WITHOUT ROWID;

-- migration 2
-- Grants are kept by access control, with all others; those of before are handed over when memory opens.
ALTER TABLE grants RENAME TO old_grants;

-- Edits of blocks that were made under an idempotency key.
CREATE TABLE edits (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL,         -- what was asked under it
    at REAL NOT NULL,
    PRIMARY KEY (agent, key)
) WITHOUT ROWID;

-- migration 3
-- What who wrote it had seen; those of before are handed over by access control.
ALTER TABLE entries ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';  -- a JSON array
