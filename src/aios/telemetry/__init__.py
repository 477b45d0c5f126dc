"""The kernel's events for other eyes: traces and pictures."""
