"""Models of PyTensor as estimators of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray

from ..checks import choice, kind_of, number
from ..extras import need
from ..fitting.settings import BESIDE_RUN, NAMES
from ..optimizer import build
from ..symbolic import graph
from ..symbolic.graph import Variable
from .networks import Model, Pool

need("sklearn", "sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402 - after the check that it is there
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.utils import ClassifierTags, RegressorTags, check_random_state  # noqa: E402
from sklearn.utils.metaestimators import available_if  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = ["Estimator", "linear_regression", "softmax_regression"]

KINDS = ("classifier", "regressor")
OF_BUILD = ("algo", "groups", "backend")
# arguments of a run with another name here, or for variables that only the model function has
OTHERWISE = {
    "rng": "give random_state",
    "valid_loss": "model returns the one loss there is",
    "valid_monitors": "model returns what there is to evaluate",
    **dict.fromkeys(("train", "valid"), "fit takes the data"),
    **dict.fromkeys(
        ("loss", "params", "inputs", "updates", "monitors", "monitor_gradients"), "model returns what is minimized"
    ),
}

POOL = Pool(8)
"""What was compiled for fits before: each fold and setting of a grid search is a new estimator."""


def softmax_regression(n_features: int, n_outputs: int, rng: np.random.Generator) -> tuple[Any, ...]:
    """Linear scores, turned into probabilities by softmax, and their cross-entropy: a model for `Estimator`.

    Parameters
    ----------
    n_features, n_outputs : int
    rng : numpy.random.Generator
        Not used: the parameters start at 0.

    Returns
    -------
    inputs, target, prediction, loss
        A matrix, a vector of class indices, a matrix of probabilities, a scalar in nats.
    """
    x, y = pt.matrix("x"), pt.lvector("y")
    log_p = pt.special.log_softmax(_linear(x, n_features, n_outputs), axis=1)
    return x, y, pt.exp(log_p), -log_p[pt.arange(y.shape[0]), y].mean()


def linear_regression(n_features: int, n_outputs: int, rng: np.random.Generator) -> tuple[Any, ...]:
    """A linear function and its mean squared error: a model for `Estimator`.

    Parameters
    ----------
    n_features, n_outputs : int
    rng : numpy.random.Generator
        Not used: the parameters start at 0.

    Returns
    -------
    inputs, target, prediction, loss
        Three matrices, and a scalar in the squared unit of the targets.
    """
    x, y = pt.matrix("x"), pt.matrix("y")
    prediction = _linear(x, n_features, n_outputs)
    return x, y, prediction, ((prediction - y) ** 2).mean()


def _linear(x: Variable, n_features: int, n_outputs: int) -> Variable:
    W = pytensor.shared(np.zeros((n_features, n_outputs), pytensor.config.floatX), name="W")
    return x @ W + pytensor.shared(np.zeros(n_outputs, pytensor.config.floatX), name="b")


def _classifies(estimator: Estimator) -> bool:
    return estimator.kind == "classifier"


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """A model of PyTensor as a classifier or regressor of scikit-learn.

    It goes into pipelines and searches like any other. What it compiles is shared with other estimators of this process
    whose models make the same graph, as those of a search do.

    Parameters
    ----------
    model : callable
        ``model(n_features, n_outputs, rng)`` makes the graph and returns ``(inputs, target, prediction, loss)``:

        - ``inputs``: the matrix that X is fed to, or a list of it.
        - ``target``: what y is fed to. Of a classifier: a vector, for indices of classes, or a matrix, for ones and
          zeros in one column per class. Of a regressor: a matrix of one column per output, or, for one output, a
          vector.
        - ``prediction``: of a classifier the probabilities of the classes, a matrix of one column per class, or a
          vector with the probability of the second of two. Of a regressor a matrix, or a vector for one output.
        - ``loss``: a scalar, the mean over rows.

        `n_outputs` is the number of classes or of columns of y, `rng` a `numpy.random.Generator` for initial values. To
        be pickled, it must be a function of a module. Default: `softmax_regression` or, of a regressor,
        `linear_regression`.
    kind : {'classifier', 'regressor'}
    validation_fraction : float
        The fraction of the rows, in [0, 1), that is held out to validate on, so that training stops when these no
        longer improve; of a classifier, of each class. 0: it is validated on the training data. Default 0.
    random_state : int, numpy.random.RandomState or None
        Seeds initial values, the choice of validation rows and the order of rows. Default None: a new seed each time.
    **settings
        What `downhill2.minimize` takes besides: ``algo``, hyperparameters, ``batch_size``, ``max_epochs``, ``patience``
        ... They are parameters like those above: `get_params` has those that were given, `set_params` takes any.
        They are checked by `fit`. A search makes many fits: so ``progress`` is False and ``on_signal`` ``'raise'``
        unless they are given, and Ctrl-C ends the search with a KeyboardInterrupt.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Of a classifier: the labels.
    n_features_in_, n_outputs_ : int
        The numbers of columns of X, and of classes or outputs.
    params_ : dict of str to array
        The values of the model's shared variables, by name.
    history_ : History
        A record of each epoch.
    stopped_ : str
        Why training ended.

    Notes
    -----
    Both kinds, with the models of this module, pass all checks of scikit-learn 1.9 for estimators
    (``sklearn.utils.estimator_checks.check_estimator``). Two groups of them do not apply: X must be dense, and rows
    have no weights in `fit`, for it is the model that writes the loss.

    Settings stand in no signature, as an estimator's parameters should, because they are those of the algorithm. Where
    scikit-learn reads signatures (the printed form, `clone`, searches), it asks `get_params`, which has them.

    A fitted estimator is its arrays, and so it is pickled: it calls `model` again for each prediction, and what is
    compiled for that graph is kept beside it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = downhill2.sklearn.Estimator(algo="adam", learning_rate=0.1, max_epochs=40, random_state=0)
    >>> classifier.fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        model: Callable[[int, int, np.random.Generator], Any] | None = None,
        kind: str = "classifier",
        validation_fraction: float = 0.0,
        random_state: object = None,
        **settings: Any,
    ) -> None:
        self.model, self.kind = model, kind
        self.validation_fraction, self.random_state = validation_fraction, random_state
        self._settings = settings  # private, as scikit-learn wants each public attribute in the signature

    # -- parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters and the settings.

        Parameters
        ----------
        deep : bool
            As scikit-learn has it; there are no estimators inside.
        """
        return {**super().get_params(deep), **self._settings}

    def set_params(self, **params: Any) -> Estimator:
        """Set parameters; any other name than the four is a setting, which `fit` checks.

        Returns
        -------
        Estimator
            Itself.
        """
        own = self._get_param_names()
        super().set_params(**{n: v for n, v in params.items() if n in own})
        self._settings = {**self._settings, **{n: v for n, v in params.items() if n not in own}}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.kind if self.kind in KINDS else None
        tags.target_tags.required = True
        if _classifies(self):
            tags.classifier_tags = ClassifierTags()
        else:
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        return tags

    # -- training

    def fit(self, X: Any, y: Any) -> Estimator:
        """Train anew.

        Parameters
        ----------
        X : array of shape (rows, features)
        y : array of shape (rows,) or, for regression, (rows, outputs)

        Returns
        -------
        Estimator
            Itself.

        Raises
        ------
        TypeError, ValueError
            For a parameter or a setting that is wrong, or a model that returns something else; before compiling.
        NonFiniteError
            If the loss or a gradient is not finite.
        KeyboardInterrupt
            At Ctrl-C, when training has ended.
        """
        self.__dict__.pop("params_", None)  # from the fit before: after a failure the estimator is not fitted
        self._check()
        X, y = validate_data(self, X, y, y_numeric=not _classifies(self), multi_output=not _classifies(self))
        targets = self._encoded(y)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        default = softmax_regression if _classifies(self) else linear_regression
        self._made_by = self.model or default, seed  # kept for predictions, as set_params may change them
        rng = np.random.default_rng(seed)
        model = self._made(rng)
        # of two classes, the probability of the second one is enough
        model.check_rows(X[:2], 1 if _classifies(self) and model.prediction.ndim == 1 else self.n_outputs_)
        train, valid = self._split(X.astype(model.x.type.dtype), self._fed(targets, model.target))
        self._train(model, train, valid, rng)
        return self

    def _check(self) -> None:
        choice("kind", self.kind, KINDS)
        if self.model is not None and not callable(self.model):
            raise TypeError(f"model must be a function of n_features, n_outputs and rng, got {kind_of(self.model)}")
        number("validation_fraction", self.validation_fraction, at_least=0, below=1)
        for name in self._settings:
            if name in OTHERWISE:
                raise TypeError(f"{name} is no setting of Estimator; {OTHERWISE[name]}")
        hyper = {n: v for n, v in self._settings.items() if n not in (*OF_BUILD, *NAMES)}
        build(self._settings.get("algo", "rmsprop"), None).hyper.parse(hyper, BESIDE_RUN)

    def _encoded(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return indices of classes, or a matrix with a column per output; set the attributes that describe y."""
        self._is_flat = y.ndim == 1
        if not _classifies(self):
            targets = y.reshape(len(y), -1)
            self.n_outputs_ = targets.shape[1]
            return targets
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        self.n_outputs_ = len(self.classes_)
        return indices

    def _made(self, rng: np.random.Generator) -> Model:
        """Call the model function."""
        model = Model.checked(self._made_by[0](self.n_features_in_, self.n_outputs_, rng))
        columns = 1 if _classifies(self) else self.n_outputs_
        if model.target.ndim == 1 and columns > 1:
            raise ValueError(f"the target of model must be a matrix for {columns} outputs, got {model.target.type}")
        if _classifies(self) and model.prediction.ndim == 1 and self.n_outputs_ > 2:
            raise ValueError(
                f"the prediction of model must be a matrix for {self.n_outputs_} classes, got {model.prediction.type}"
            )
        return model

    def _fed(self, targets: NDArray[Any], variable: Variable) -> NDArray[Any]:
        """Return targets as the model takes them."""
        if _classifies(self) and variable.ndim == 2:
            targets = np.eye(self.n_outputs_)[targets]
        flat = targets.ravel() if variable.ndim == 1 else targets
        fed = np.asarray(flat, variable.type.dtype)
        if variable.type.dtype not in graph.FLOATS and (fed != flat).any():
            raise ValueError(f"the target of model must be of floating point for these y, got {variable.type}")
        return fed

    def _split(self, X: NDArray[Any], y: NDArray[Any]) -> tuple[list[NDArray[Any]], list[NDArray[Any]] | None]:
        """Return training and validation data."""
        if not self.validation_fraction:
            return [X, y], None
        options = {"test_size": self.validation_fraction, "random_state": self._made_by[1]}
        stratify = y if _classifies(self) else None
        X_train, X_valid, y_train, y_valid = train_test_split(X, y, stratify=stratify, **options)
        return [X_train, y_train], [X_valid, y_valid]

    def _train(self, model: Model, train: object, valid: object, rng: np.random.Generator) -> None:
        given = {"algo": "rmsprop", "progress": False, "on_signal": "raise", **self._settings}
        of_build = {n: given.pop(n) for n in OF_BUILD if n in given}
        with POOL.lent(model) as network:
            opt = network.optimizer(of_build, {n: v for n, v in given.items() if n not in NAMES})
            opt.minimize(train, valid, rng=rng, **given)
            self.history_, self.stopped_ = opt.history, opt.stopped
            opt.reset()  # lets go of the data
            self.params_ = network.model.values()

    # -- prediction

    def predict(self, X: object) -> NDArray[Any]:
        """Return the most probable class, or the prediction, of each row.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array of shape (rows,) or, of a regressor that was fitted to a matrix, (rows, outputs)
        """
        if _classifies(self):
            best = self.predict_proba(X).argmax(axis=1)
            labels: NDArray[Any] = self.classes_[best]
            return labels
        prediction = self._predicted(X)
        return prediction.ravel() if self._is_flat else prediction.reshape(len(prediction), -1)

    @available_if(_classifies)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: object) -> NDArray[Any]:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array of shape (rows, n_classes)
            In the order of `classes_`.
        """
        p = self._predicted(X)
        return np.column_stack([1 - p, p]) if p.ndim == 1 else p

    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Return the accuracy of a classifier, or the coefficient of determination of a regressor.

        Parameters
        ----------
        X : array of shape (rows, features)
        y : array of shape (rows,) or (rows, outputs)
        sample_weight : array of shape (rows,), optional
        """
        mixin = ClassifierMixin if _classifies(self) else RegressorMixin
        return float(mixin.score(self, X, y, sample_weight))

    def _predicted(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "params_")
        X = validate_data(self, X, reset=False)
        model = self._made(np.random.default_rng(self._made_by[1]))
        model.set_values(self.params_)
        with POOL.lent(model) as network:
            return network.predict(X, self._settings.get("backend"))
