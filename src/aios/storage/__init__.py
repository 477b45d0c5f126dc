"""Files of agents: versioned, deduplicated, searchable, never half-written."""
