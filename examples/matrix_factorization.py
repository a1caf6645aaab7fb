"""Fill in a map: the product of two thin matrices, fitted to the one point in five that is known of it.

The heights come with matplotlib (a fault line near Jacksboro). Every known point is one row of the training
data: where it is on the map, and its height. The rank is all that the model knows about landscapes.

Usage: python examples/matrix_factorization.py [picture]
"""

import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib import cbook
from matplotlib.figure import Figure

import downhill2

RANK = 12


def main(path="matrix_factorization.png"):
    """Fit, compare with the heights that were held out, draw."""
    rng = np.random.default_rng(1)
    heights = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(float)
    heights = (heights - heights.mean()) / heights.std()
    parts = np.split(rng.permutation(heights.size), [heights.size // 5, heights.size // 5 + 5000])
    train, valid, test = ([*np.unravel_index(p, heights.shape), heights.flat[p]] for p in parts)

    i, j, z = pt.lvector("i"), pt.lvector("j"), pt.vector("z")
    U = pytensor.shared(rng.normal(scale=0.3, size=(heights.shape[0], RANK)), name="U")
    V = pytensor.shared(rng.normal(scale=0.3, size=(heights.shape[1], RANK)), name="V")
    error = ((U[i] * V[j]).sum(axis=1) - z) ** 2
    opt = downhill2.build(
        "adam",
        error.mean() + 0.003 * ((U[i] ** 2).mean() + (V[j] ** 2).mean()),
        inputs=[i, j, z],
        monitors={"rmse": error.mean() ** 0.5},
        learning_rate=0.01,
    )
    for epoch, (monitors, valid_monitors) in enumerate(
        opt.iterate(train, valid, batch_size=512, validate_every=1, patience=2, max_epochs=40, rng=rng), 1
    ):
        if epoch % 5 == 0:
            print(f"epoch {epoch}: rmse {monitors['rmse']:.3f}, validation {valid_monitors['rmse']:.3f}")
    rmse = opt.evaluate(test, batch_size=0)["rmse"]
    print(f"spread of the heights explained, on points never seen: {1 - rmse:.1%}")

    known = np.full(heights.size, np.nan)
    known[parts[0]] = heights.flat[parts[0]]
    figure = Figure(figsize=(10, 3.15), layout="constrained")
    maps = [heights, known.reshape(heights.shape), U.get_value() @ V.get_value().T]
    titles = ["the map", "what is known of it", "filled in"]
    for axes, values, title in zip(figure.subplots(1, 3), maps, titles, strict=True):
        axes.imshow(values, cmap="terrain", vmin=heights.min(), vmax=heights.max())
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
