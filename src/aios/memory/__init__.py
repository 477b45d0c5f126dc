"""What agents know: private, durable, versioned, found again by words and by meaning."""
