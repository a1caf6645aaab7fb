"""From updates to a fitted model: compiled functions, and the loop that runs them."""
