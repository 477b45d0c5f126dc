-- The store: names, versions and chunks of all roots. One step of the schema under each name.
--
-- An entry lives from the change `born` to the change `died` of its root (2^62: it lives), so a snapshot is no
-- more than the number of a change. A foreign key guards every chunk that some content still needs.

-- name: migration_1
CREATE TABLE roots (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    top INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0,
    quota INTEGER
);
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL REFERENCES roots,
    kind TEXT NOT NULL,
    head INTEGER NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX nodes_by_root ON nodes (root);
CREATE TABLE entries (
    parent INTEGER NOT NULL REFERENCES nodes,
    died INTEGER NOT NULL,
    name TEXT NOT NULL,
    node INTEGER NOT NULL REFERENCES nodes,
    born INTEGER NOT NULL,
    PRIMARY KEY (parent, died, name)
) WITHOUT ROWID;
CREATE INDEX entries_by_name ON entries (parent, name);
CREATE INDEX entries_dead ON entries (died) WHERE died < 4611686018427387904;
CREATE INDEX entries_by_node ON entries (node, died);
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    bad INTEGER NOT NULL DEFAULT 0,
    data BLOB NOT NULL
);
CREATE TABLE pieces (
    manifest INTEGER NOT NULL REFERENCES manifests ON DELETE CASCADE,
    at INTEGER NOT NULL,
    chunk INTEGER NOT NULL REFERENCES chunks ON DELETE RESTRICT,
    PRIMARY KEY (manifest, at)
) WITHOUT ROWID;
CREATE INDEX pieces_by_chunk ON pieces (chunk);
CREATE TABLE versions (
    node INTEGER NOT NULL REFERENCES nodes,
    seq INTEGER NOT NULL,
    root INTEGER NOT NULL REFERENCES roots,
    manifest INTEGER REFERENCES manifests ON DELETE RESTRICT,
    size INTEGER NOT NULL,
    at REAL NOT NULL,
    author TEXT NOT NULL,
    op TEXT NOT NULL,
    meta TEXT,
    target TEXT,
    PRIMARY KEY (node, seq)
) WITHOUT ROWID;
CREATE INDEX versions_by_manifest ON versions (manifest, root) WHERE manifest IS NOT NULL;
CREATE TABLE refs (
    root INTEGER NOT NULL REFERENCES roots,
    name TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests ON DELETE RESTRICT,
    at REAL NOT NULL,
    PRIMARY KEY (root, name)
) WITHOUT ROWID;
CREATE INDEX refs_by_manifest ON refs (manifest, root);
CREATE TABLE holdings (
    root INTEGER NOT NULL REFERENCES roots,
    chunk INTEGER NOT NULL REFERENCES chunks ON DELETE RESTRICT,
    PRIMARY KEY (root, chunk)
) WITHOUT ROWID;
CREATE INDEX holdings_by_chunk ON holdings (chunk);
CREATE TABLE tags (
    root INTEGER NOT NULL,
    tag TEXT NOT NULL,
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    PRIMARY KEY (root, tag, node)
) WITHOUT ROWID;
CREATE INDEX tags_by_node ON tags (node);
CREATE TABLE binned (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL REFERENCES roots,
    node INTEGER NOT NULL UNIQUE REFERENCES nodes,
    path TEXT NOT NULL,
    at REAL NOT NULL,
    author TEXT NOT NULL
);
CREATE INDEX binned_by_root ON binned (root, id);
CREATE TABLE doomed (node INTEGER PRIMARY KEY REFERENCES nodes ON DELETE CASCADE);
CREATE TABLE snapshots (
    root INTEGER NOT NULL REFERENCES roots,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (root, name)
) WITHOUT ROWID;
CREATE TABLE mounts (
    node INTEGER PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    root INTEGER NOT NULL REFERENCES roots,
    target INTEGER NOT NULL REFERENCES roots,
    writable INTEGER NOT NULL,
    expires REAL NOT NULL
);
CREATE INDEX mounts_by_root ON mounts (root);
CREATE TABLE shares (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL REFERENCES roots,
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    token BLOB NOT NULL UNIQUE,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    salt BLOB,
    password BLOB
);
CREATE INDEX shares_by_root ON shares (root, id);
CREATE INDEX shares_by_node ON shares (node);
CREATE TABLE results (
    root INTEGER NOT NULL REFERENCES roots,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    at REAL NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (root, key)
) WITHOUT ROWID;
CREATE INDEX results_by_age ON results (at);
CREATE TABLE stale (node INTEGER PRIMARY KEY, mark INTEGER NOT NULL);

-- name: migration_2
CREATE TABLE slabs (
    name TEXT PRIMARY KEY,
    space TEXT NOT NULL,
    owner TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    at REAL NOT NULL,
    label BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX slabs_by_space ON slabs (space, at);

-- name: migration_3
-- What the owner had seen when it shared: a link opens nothing that has other labels.
ALTER TABLE shares ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
