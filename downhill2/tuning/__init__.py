"""Settings found by trying them."""
