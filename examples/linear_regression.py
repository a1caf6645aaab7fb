"""Linear regression straight from a DataFrame, and how close it comes to the exact solution.

The data are 442 diabetes patients (scikit-learn): ten measurements, and the disease a year later.

Usage: python examples/linear_regression.py
"""

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_diabetes

import downhill2


def main():
    """Fit by gradient descent, solve exactly, compare."""
    data = load_diabetes(as_frame=True, scaled=False).frame
    data = (data - data.mean()) / data.std()
    features, target = data.drop(columns="target"), data["target"]

    x, y = pt.matrix("x"), pt.vector("y")
    w = pytensor.shared(np.zeros(features.shape[1]), name="w")
    loss = ((x @ w - y) ** 2).mean()
    settings = dict(algo="nag", learning_rate=0.02, momentum=0.9, batch_size=0, max_epochs=3000)
    monitors, _ = downhill2.minimize(loss, [features, target], **settings)

    exact, *_ = np.linalg.lstsq(features, target, rcond=None)
    for name, ours, best in zip(features.columns, w.get_value(), exact, strict=True):
        print(f"{name:>4} {ours:7.3f}   exact {best:7.3f}")
    print(f"mean squared error {monitors['loss']:.4f}, exact {np.mean((features @ exact - target) ** 2):.4f}")


if __name__ == "__main__":
    main()
