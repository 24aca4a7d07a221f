"""The schema 0001 with a conversation in it, as the first runtime wrote it."""

from __future__ import annotations

from agent_runtime.agent.model import Message

CONVERSATION = (Message("user", "Hi"),)
"""Of principal demo and agent main, with the id a."""
FIRST_SCHEMA = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE conversations (id VARCHAR(32) PRIMARY KEY, principal VARCHAR(253) NOT NULL, agent VARCHAR(63) NOT NULL,
    updated_at BIGINT NOT NULL, bytes BIGINT NOT NULL, next_position INTEGER NOT NULL);
CREATE INDEX conversations_updated_at ON conversations (updated_at);
CREATE TABLE messages (conversation_id VARCHAR(32) NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, role VARCHAR(16) NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (conversation_id, position));
INSERT INTO conversations VALUES ('a', 'demo', 'main', 0, 2, 1);
INSERT INTO messages VALUES ('a', 0, 'user', 'Hi');
"""
