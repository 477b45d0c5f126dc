-- The search index: made from the store, and made again from it whenever this file is missing or of an earlier version.

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

-- name: migration_2
DROP TABLE words;
DROP TABLE passages;
DELETE FROM documents;
DELETE FROM stamps;
ALTER TABLE stamps ADD COLUMN passages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stamps ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
CREATE TABLE passages (
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    root INTEGER NOT NULL,
    length INTEGER NOT NULL,      -- words of name and text
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB
);
CREATE INDEX passages_by_node ON passages (node);
CREATE INDEX passages_by_root ON passages (root);
-- Each word carries its root's mark in front, so that one root's words are counted for that root alone.
CREATE VIRTUAL TABLE words USING fts5 (
    name, text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE postings USING fts5vocab (words, 'instance');
CREATE VIRTUAL TABLE terms USING fts5vocab (words, 'row');
