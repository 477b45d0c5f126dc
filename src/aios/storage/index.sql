-- The search index: made from the store, and made again from it whenever this file is missing.

-- name: migration_1
CREATE TABLE documents (
    node INTEGER PRIMARY KEY,
    root INTEGER NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    root INTEGER NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB
);
CREATE INDEX passages_by_node ON passages (node);
CREATE INDEX passages_by_root ON passages (root);
CREATE TABLE stamps (root INTEGER PRIMARY KEY, stamp INTEGER NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (
    owner, name, text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passage_made AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, owner, name, text) VALUES (new.id, new.owner, new.name, new.text);
END;
CREATE TRIGGER passage_gone AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, owner, name, text)
    VALUES ('delete', old.id, old.owner, old.name, old.text);
END;
