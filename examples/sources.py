"""One model, three sources: a frame of pandas, one of polars, and a DataLoader of torch, where it is installed.

The rows come in the same order from each, so the fitted lines are the same.

Usage: python examples/sources.py
"""

import importlib.util

import numpy as np
import polars
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_diabetes

import downhill2

BATCH, ROWS = 50, 400


def frames():
    """Patients: a pandas frame of ten measurements, and how far the illness went; each in units of its spread."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return (X / X.std()).head(ROWS), ((y - y.mean()) / y.std()).head(ROWS)


def fit(train):
    """A linear model, fitted to whatever gives batches of measurements and outcomes."""
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.zeros(10), name="w"), pytensor.shared(0.0, name="b")
    loss = ((x @ w + b - y) ** 2).mean()
    # the DataLoader has its own order: for a comparison all keep that of the rows
    settings = {"batch_size": BATCH, "shuffle": False, "max_epochs": 30, "validate_every": None}
    downhill2.minimize(loss, train, algo="adam", learning_rate=0.01, **settings)
    return np.append(w.get_value(), b.get_value())


def sources(X, y):
    """The data by the name of the library that holds it."""
    yield "pandas", [X, y]
    yield "polars", [polars.from_pandas(X), polars.Series(y.to_numpy())]
    if importlib.util.find_spec("torch"):
        import torch

        rows = torch.utils.data.TensorDataset(torch.tensor(X.to_numpy()), torch.tensor(y.to_numpy()))
        yield "torch", torch.utils.data.DataLoader(rows, batch_size=BATCH)
    else:
        print("torch: not installed, so there is no DataLoader to try")


def main():
    """Fit the model to each, compare."""
    X, y = frames()
    fits = {name: fit(data) for name, data in sources(X, y)}
    for name, (*w, b) in fits.items():
        print(f"{name:>7}:", " ".join(f"{value:6.3f}" for value in w), f"{b:+.3f}")
    print(f"largest difference {max(abs(p - fits['pandas']).max() for p in fits.values()):.1e}")
    error = np.mean((X.to_numpy() @ fits["pandas"][:-1] + fits["pandas"][-1] - y) ** 2)
    print(f"mean squared error {error:.3f} of a variance of 1")


if __name__ == "__main__":
    main()
