"""Write goldens/torch.npz: the inputs of all trajectories, and what torch.optim makes of them.

    PYTHONPATH=. python tests/make_goldens.py

So a machine without torch still checks every case of the table against it. The file holds `start` (21 float32
numbers, the elements of the five parameters), `gradients` (100 x 21, float32: some elements are often zero,
the scales differ by a factor of three hundred, and each column has a drift), `torch_version`, and under the
name of each case three rows of 21 float64 numbers: the parameters after 1, 10 and 100 updates. The inputs are
kept once they exist; the rest is a function of them, of the table and of torch alone.
"""

from __future__ import annotations

import numpy as np
import torch
from algorithms import CASES
from oracles import GOLDENS, SHAPES, STEPS, inputs, join, torch_oracle


def draw() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20_12_22)
    n = sum(int(np.prod(shape)) for shape in SHAPES)
    start = rng.standard_normal(n)
    # far from 0, where a tensor of one element would have nothing to measure its float32 error by
    start[0] = 4
    scale, drift = 10 ** rng.uniform(-2, 0.5, n), rng.standard_normal(n) / 2
    gradients = scale * (rng.standard_normal((max(STEPS), n)) + drift)
    sparse = rng.random((max(STEPS), n)) < 0.8
    sparse[:15, 7] = True
    gradients[:, [3, 7, 12]] *= ~sparse[:, [3, 7, 12]]
    return {"start": start.astype("f4"), "gradients": gradients.astype("f4")}


def main() -> None:
    path = GOLDENS / "torch.npz"
    if not path.exists():
        np.savez_compressed(path, **draw())
    with np.load(path) as old:
        arrays = {name: old[name] for name in ("start", "gradients")}
    for case in CASES:
        if case.torch:
            points = torch_oracle.trajectory(case.torch, *inputs(), STEPS, case.rate)
            arrays[str(case)] = np.array([join(points[step]) for step in STEPS])
    np.savez_compressed(path, **arrays, torch_version=np.array(torch.__version__))


if __name__ == "__main__":
    main()
