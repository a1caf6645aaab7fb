"""Feeding: an epoch of 1M x 100 float32 rows in batches of 256, shuffled, a batch on average."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from ..peers import makes
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest

FEATURES, BATCH = 100, 256


def jobs(size: Size) -> list[Job]:
    """Return a job for each place of the data."""
    jobs = [Job(place, 400, partial(rows, place, size)) for place in ("memory", "memory map")]
    return [*jobs, Job("Parquet", 400, partial(parquet_rows, size))]


def rows(place: str, size: Size) -> list[Row]:
    """Time whole epochs: the order is drawn in each of them."""
    n = size.pick(100_000, 1_000_000, tiny=1000)
    x = np.random.default_rng(6).standard_normal((n, FEATURES), "f")
    with tempfile.TemporaryDirectory() as folder:
        if place == "memory map":
            path = Path(folder, "x.npy")
            np.save(path, x)
            x = np.load(path, mmap_mode="c")
        loader, sampler, limit = "torch DataLoader", "torch DataLoader, batch sampler", "np.take into one buffer"
        makers = {
            "downhill2": makes("feeds", "dataset", x, BATCH),
            loader: makes("feeds", "data_loader", x, BATCH),
            sampler: makes("feeds", "batch_sampler", x, BATCH),
        }
        limits = {limit: makes("feeds", "gather", x, BATCH)}
        few = Size(size.name, size.pick(3, 7, 15), 0)
        contest = Contest(makers, -(-n // BATCH), 1e-5, limits).time(few)
        goals = {loader: 0.08, sampler: 0.3} if place == "memory" else {}
        return [contest.row(f"from {place}", "downhill2", peer, goals.get(peer), limit) for peer in (loader, sampler)]


def parquet_rows(size: Size) -> list[Row]:
    """Time whole epochs of a file of row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = size.pick(100_000, 1_000_000, tiny=1000)
    x = np.random.default_rng(6).standard_normal((n, FEATURES), "f")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "x.parquet"))
        table = pa.table({f"x{i}": column for i, column in enumerate(x.T)})
        pq.write_table(table, path, row_group_size=16_384, use_dictionary=False)
        peer, limit = "torch DataLoader of row groups", "row groups read into arrays"
        makers = {
            "downhill2": makes("feeds", "parquet_dataset", path, n, BATCH),
            peer: makes("feeds", "parquet_loader", path, n, BATCH),
        }
        limits = {limit: makes("feeds", "parquet_groups", path, n, BATCH)}
        contest = Contest(makers, -(-n // BATCH), 1e-5, limits).time(Size(size.name, size.pick(3, 7, 15), 0))
        return [contest.row("from Parquet", "downhill2", peer, None, limit)]
