"""From a loss to updates: graphs, hyperparameters, state, rules and the stages of a step."""
