"""The loop over epochs: limits, stopping, signals, records, and why a run ended. It knows numbers alone."""
