"""The metrics by name."""

from __future__ import annotations

from .base import Metric
from .classes import FBeta, Jaccard, Precision, Recall
from .classification import (
    Accuracy,
    BalancedAccuracy,
    CohenKappa,
    ConfusionMatrix,
    MatthewsCorrelation,
)
from .curves import AveragePrecision, RocAuc
from .deviances import (
    D2Tweedie,
    MeanGammaDeviance,
    MeanPoissonDeviance,
    MeanSquaredLogError,
    MeanTweedieDeviance,
)
from .means import Difference, Mean, Perplexity
from .probabilities import Brier, CalibrationError, LogLoss, TopK
from .quantiles import MeanPinballLoss, QuantileCoverage, QuantileCrossings
from .ranking import NDCG, MeanAveragePrecision, MeanReciprocalRank
from .regression import (
    R2,
    ExplainedVariance,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    RootMeanSquaredError,
)

# Names of the functions that compute a metric in one call.
FUNCTIONS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "average_precision": AveragePrecision,
    "balanced_accuracy": BalancedAccuracy,
    "brier": Brier,
    "calibration_error": CalibrationError,
    "cohen_kappa": CohenKappa,
    "confusion_matrix": ConfusionMatrix,
    "d2_tweedie": D2Tweedie,
    "explained_variance": ExplainedVariance,
    "f_beta": FBeta,
    "gamma_deviance": MeanGammaDeviance,
    "iou": Jaccard,
    "log_loss": LogLoss,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "matthews_correlation": MatthewsCorrelation,
    "mean_average_precision": MeanAveragePrecision,
    "mean_reciprocal_rank": MeanReciprocalRank,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogError,
    "ndcg": NDCG,
    "perplexity": Perplexity,
    "pinball": MeanPinballLoss,
    "poisson_deviance": MeanPoissonDeviance,
    "precision": Precision,
    "quantile_coverage": QuantileCoverage,
    "quantile_crossings": QuantileCrossings,
    "r2": R2,
    "recall": Recall,
    "rmse": RootMeanSquaredError,
    "roc_auc": RocAuc,
    "top_k": TopK,
    "tweedie_deviance": MeanTweedieDeviance,
}
NAMES = {metric: name for name, metric in FUNCTIONS.items()}
CLASSES: dict[str, type[Metric]] = {
    metric.__name__: metric for metric in (*FUNCTIONS.values(), Mean, Difference)
}


def find(name: str) -> type[Metric]:
    """The metric of a name.

    Raises
    ------
    ValueError
        For an unknown name, with the closest known ones.
    """
    if name not in FUNCTIONS:
        from difflib import get_close_matches

        close = get_close_matches(name, FUNCTIONS, 3, 0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(FUNCTIONS)}"
        raise ValueError(f"no metric is called {name!r}; {hint}")
    return FUNCTIONS[name]
