"""Who may do what: keys, and later policies, approvals and the audit log."""
