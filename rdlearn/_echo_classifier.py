"""EchoClassifier: the supervised information bottleneck with echo noise."""

from numbers import Integral

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from rdlearn._echo import EchoMixin
from rdlearn._networks import NetworkMixin
from rdlearn._saving import SavingMixin
from rdlearn._sklearn import Interval, fit_context, with_callbacks
from rdlearn._validation import explain
from rdlearn.exceptions import CorruptStreamError
from rdlearn.nets.losses import ClassLoss

__all__ = ["EchoClassifier"]


class EchoClassifier(
    EchoMixin,
    NetworkMixin,
    SavingMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    r"""Classifier on a code that keeps few bits of its input.

    The code is that of `EchoAutoencoder`, and the decoder predicts the class from it. Training
    minimises the information bottleneck :math:`I(X; Z) + \beta E[-\ln p(y | z)]`, of which the
    first term is exact: what does not help to predict is dropped.

    Parameters
    ----------
    n_components : int, default=16
        Size of the bottleneck.
    beta : float, default=10.0
        Price of the cross-entropy: nats of rate per nat. Larger beta: more bits, better fit.
    hidden_layer_sizes : array-like of int, default=(100,)
        Widths of the encoder's hidden layers; the decoder has them in reverse. () gives linear
        maps.
    activation, learning_rate_init, batch_size, max_iter, noise_terms, shuffle, early_stopping, \
            validation_fraction, tol, n_iter_no_change, warm_start, random_state, device, verbose
        As in `EchoAutoencoder`, with the same defaults.
    n_draws : int, default=16
        Draws of the noise that predicted probabilities are a mean over, at most 10,000.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    params_ : ndarray, float32
        All weights and biases in one vector: encoder, decoder.
    mean_, scale_ : ndarray of shape (n_features_in_,), float64
        Mean and standard deviation of each feature; the nets see standardized features.
    n_components_, beta_, n_iter_, pool_shift_, pool_scale_, pool_chains_, pool_keys_, \
            pool_mean_, mixing_, log_det_, n_features_in_, feature_names_in_
        As in `EchoAutoencoder`.
    history_ : DataFrame
        rate_bits, distortion (cross-entropy in nats), objective and beta of each epoch.

    References
    ----------
    Tishby, Pereira, Bialek, "The information bottleneck method", 1999; Brekelmans et al., "Exact
    rate-distortion in autoencoders via echo noise", NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from rdlearn import EchoClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = EchoClassifier(2, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    >>> classifier.rate(X) < 5
    True
    """

    _parameter_constraints: dict = {
        **NetworkMixin._parameter_constraints,
        "noise_terms": [None, Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components=16,
        *,
        beta=10.0,
        hidden_layer_sizes=(100,),
        activation="relu",
        learning_rate_init=0.002,
        batch_size="auto",
        max_iter=200,
        noise_terms=None,
        n_draws=16,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        tol=1e-4,
        n_iter_no_change=10,
        warm_start=False,
        random_state=None,
        device="cpu",
        verbose=False,
    ):
        self.n_components = n_components
        self.beta = beta
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.noise_terms = noise_terms
        self.n_draws = n_draws
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Learn code and classes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Finite numbers, at least two rows.
        y : array-like of shape (n_samples,)
            At least two classes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The table or the classes are unusable; the sentence has the remedy.
        """
        with self._unchanged_on_failure(), self._calling_back(y):
            X, y = self._validate(X, y, reset=True, ensure_min_samples=2)
            check_classification_targets(y)
            self.classes_, target = np.unique(y, return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y has one class, {self.classes_[0]}; a classifier needs two or more."
                )
            self._learn_units(X)
            counts = np.bincount(target)
            self.class_prior_ = counts / counts.sum()
            self._callbacks.begin(X=X)
            self._train(X, target, len(self.classes_))
            self._callbacks.end(self._fitted_attributes)
        return self

    def _validate(self, X, y="no_validation", reset=False, ensure_min_samples=1):
        kinds = {"dtype": [np.float64, np.float32], "order": "C"}
        try:
            return validate_data(
                self, X, y, reset=reset, ensure_min_samples=ensure_min_samples, **kinds
            )
        except (TypeError, ValueError) as error:
            explained = explain(X, error)
            if explained is error:
                raise
            raise explained from error

    def _loss(self):
        return ClassLoss(self.class_prior_)

    def _units(self):
        # Nothing is reproduced here, so that features have no units to respect.
        return self.scale_

    @property
    def _n_features_out(self):
        return self.n_components_

    def _check_input(self, X):
        check_is_fitted(self)
        return self._validate(X)

    def predict_proba(self, X):
        """Probabilities of the classes, a mean over sampled codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            A row's do not depend on the other rows.
        """
        X = self._check_input(X)
        loss = self._loss()
        draws = self._draw_codes(X, self.n_draws)
        outputs = (self._outputs(code, None) for code, _ in draws)
        return sum(loss.decode(output, np.float64) for output in outputs) / self.n_draws

    def predict(self, X):
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def transform(self, X):
        """Mean code of each row, as `EchoAutoencoder` gives it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), dtype of X
        """
        return self._mean_code(self._check_input(X))

    def rate_samples(self, X):
        """Information in the code of each sample, in bits; the mean is exact.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        X = self._check_input(X)
        return next(self._draw_codes(X, 1))[1]

    def rate(self, X):
        """Mean of `rate_samples`: bits per sample, a float."""
        return float(np.mean(self.rate_samples(X)))

    def _check_state(self):
        super()._check_state()
        d, c = self.n_features_in_, self.classes_.size
        prior = self.class_prior_
        fits = self.n_outputs_ == c and self.classes_.shape == prior.shape == (c,)
        if not fits or prior.dtype != np.float64 or not np.all(prior > 0):
            raise CorruptStreamError("The model's classes do not fit its outputs.")
        if self.mean_.shape != (d,) or self.n_side_features_:
            raise CorruptStreamError("The model's arrays do not fit together.")
        if type(self.beta_) is not float or not self.beta_ > 0:
            raise CorruptStreamError("The model's beta is missing or impossible.")
