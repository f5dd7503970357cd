"""Generated from proto/; run make generate."""
