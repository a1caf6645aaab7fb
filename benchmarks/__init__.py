"""downhill2 side by side with torch, optax and the design of the old downhill; see README.md."""
