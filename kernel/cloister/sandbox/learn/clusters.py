"""Fitted clusters: centres, the nearest one, and scikit-learn with the same ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import numbers, predicting
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.scoring import scores_of


class KMeansModel(Model[k.KMeans]):
    """Centres of clusters; a row belongs to the nearest."""

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.KMeans,)

    @property
    def cluster_centers_(self) -> np.ndarray:
        """Centres in the units of the encoded columns, one per row."""
        return np.array([numbers.weights(centre.weights) for centre in self._fitted.centres])

    @property
    def sizes_(self) -> np.ndarray:
        """Noisy numbers of rows nearest to each centre."""
        return np.array([number(centre.n.value) for centre in self._fitted.centres])

    @property
    def scale_(self) -> np.ndarray:
        """What every encoded column is divided by before distances are taken."""
        return np.array([number(scale) for scale in self._fitted.scales])

    def predict(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's names)
        """Return the number of the nearest centre: of a handle a column (free, nothing is released), else NumPy.

        A row that has no prediction (a feature is missing) has ``None``.
        """
        document = self._fitted
        if isinstance(X, Frame):
            return predicting.label(X, document, None, "cluster")
        scores = scores_of(document).on_array(self.encode(X).to_numpy())
        gone = np.isnan(scores).any(axis=1)
        found: np.ndarray = np.where(gone[:, None], 0.0, scores).argmax(axis=1)
        if gone.any():
            found = found.astype(object)
            found[gone] = None
        return found

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.cluster.KMeans`` after a ``StandardScaler``; it takes ``encode(X)``."""
        from sklearn.cluster import KMeans as Theirs  # noqa: PLC0415 (slow to import)
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        centres, scale = self.cluster_centers_ / self.scale_, self.scale_
        model = Theirs(n_clusters=len(centres), n_init=1)
        model.cluster_centers_, model.n_features_in_ = np.ascontiguousarray(centres), centres.shape[1]
        model.labels_, model.inertia_, model.n_iter_ = np.arange(len(centres), dtype=np.int32), 0.0, 1
        model._n_threads = 1
        scaler = StandardScaler(with_mean=False)
        scaler.scale_, scaler.var_, scaler.mean_ = scale, scale**2, np.zeros(len(scale))
        scaler.n_samples_seen_, scaler.n_features_in_ = 1, len(scale)
        scaler.feature_names_in_ = self.get_feature_names_out()
        return make_pipeline(scaler, model)
