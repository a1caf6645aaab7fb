"""Logistic regression on sparse counts: does a docstring come from NumPy or from SciPy?

The counts of words are a scipy.sparse matrix and stay one: a batch is some of its rows, sparse.

Usage: python examples/logistic_regression.py
"""

import importlib
import inspect

import numpy as np
import pytensor
import pytensor.sparse
import pytensor.tensor as pt
from sklearn.feature_extraction.text import CountVectorizer

import downhill2

MODULES = {
    -1: ["numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.polynomial", "numpy.ma"],
    1: ["scipy.linalg", "scipy.stats", "scipy.signal", "scipy.optimize", "scipy.special", "scipy.ndimage"],
}


def docstrings():
    """Docstrings of public functions and classes, each once, with -1 for NumPy and 1 for SciPy."""
    found = {}
    for label, names in MODULES.items():
        for module in map(importlib.import_module, names):
            members = [getattr(module, name) for name in module.__all__]
            texts = [inspect.getdoc(member) or "" for member in members if callable(member)]
            found |= {text: label for text in texts if len(text) > 200}
    return list(found), np.array(list(found.values()), float)


def main():
    """Count words, train with validation, test, show the words that speak loudest."""
    rng = np.random.default_rng(0)
    texts, labels = docstrings()
    counter = CountVectorizer(min_df=5, stop_words=["numpy", "np", "scipy"], dtype=float)
    counts = counter.fit_transform(texts)
    rows = np.array_split(rng.permutation(len(labels)), 4)
    train, valid, test = ([counts[r], labels[r]] for r in (np.concatenate(rows[:2]), *rows[2:]))

    x, y = pytensor.sparse.csr_matrix("x"), pt.vector("y")
    w = pytensor.shared(np.zeros((counts.shape[1], 1)), name="w")
    b = pytensor.shared(0.0, name="b")
    score = pytensor.sparse.dot(x, w).ravel() + b
    opt = downhill2.build(
        "adam",
        pt.softplus(-y * score).mean() + 0.001 * (w**2).sum(),
        inputs=[x, y],
        monitors={"accuracy": pt.gt(y * score, 0).mean()},
        learning_rate=0.01,
    )
    opt.minimize(train, valid, batch_size=64, validate_every=1, patience=3, rng=rng)

    words, weights = counter.get_feature_names_out(), w.get_value().ravel()
    print(f"{len(texts)} docstrings, {len(words)} words, {counts.nnz / np.prod(counts.shape):.1%} not zero")
    print("most like NumPy:", ", ".join(words[weights.argsort()[:10]]))
    print("most like SciPy:", ", ".join(words[weights.argsort()[:-11:-1]]))
    print(f"always the larger {abs(labels.mean()) / 2 + 0.5:.3f}")
    print(f"test accuracy {opt.evaluate(test)['accuracy']:.3f}")


if __name__ == "__main__":
    main()
