"""Losses and their exact derivatives at the speed of memory, for NumPy and friends."""

from typing import TYPE_CHECKING, Any

from . import sources as _sources
from .call.vectors import Diagnosis
from .check import check_gradient
from .device_value import DeviceValue
from .losses.binary import BinaryCrossEntropy
from .losses.boxes import CIoU, DIoU, GIoU, IoU
from .losses.distributions import (
    BetaNLL,
    GaussianNLL,
    LaplaceNLL,
    LogNormalNLL,
    NegativeBinomialNLL,
    StudentTNLL,
    ZeroInflatedPoissonNLL,
)
from .losses.divergences import Brier, Distillation, JensenShannon, KLDivergence
from .losses.embeddings import Contrastive, CosineEmbedding, Triplet
from .losses.exponential_family import Gamma, Poisson, Tweedie
from .losses.focal import AsymmetricFocal, Focal
from .losses.in_batch import BatchTriplet, InfoNCE, NTXent, SigLIP, SupervisedContrastive
from .losses.language import LinearCrossEntropy
from .losses.margin import Exponential, Hinge, ModifiedHuber, SquaredHinge
from .losses.multiclass import (
    CategoricalFocal,
    CrossEntropy,
    GeneralizedCrossEntropy,
    MultiMargin,
    Poly1,
    SymmetricCrossEntropy,
)
from .losses.preferences import DPO, IPO, KTO, ORPO, PairwiseHinge, PairwiseLogistic, SimPO
from .losses.regression import (
    AbsoluteError,
    AbsolutePercentageError,
    Expectile,
    Quantile,
    SquaredError,
    SquaredLogError,
)
from .losses.robust import Cauchy, GeneralRobust, Huber, LogCosh, PseudoHuber, SmoothL1
from .losses.scores import CRPSGaussian, CRPSLaplace, CRPSLogistic
from .losses.survival import AFT
from .registry import get, losses, register
from .rewriting.marks import stop_gradient
from .structures.elementwise import Elementwise
from .structures.embedding import Embedding
from .structures.embedding_batch import KeyedEmbedding, LabelledEmbedding
from .structures.embedding_rows import PairEmbedding, TripletEmbedding
from .structures.linear import Linear
from .structures.multi_output import MultiOutput
from .structures.softmax import Softmax
from .vmath import exp, expm1, log, log1p, log_cosh, log_sigmoid, pow, sigmoid, softplus, sqrt, tanh

if TYPE_CHECKING:
    from .metrics import Mean, Scorer

__version__ = "0.1.0"

_sources.remember()

__all__ = [
    "AFT",
    "DPO",
    "IPO",
    "KTO",
    "ORPO",
    "AbsoluteError",
    "AbsolutePercentageError",
    "AsymmetricFocal",
    "BatchTriplet",
    "BetaNLL",
    "BinaryCrossEntropy",
    "Brier",
    "CIoU",
    "CRPSGaussian",
    "CRPSLaplace",
    "CRPSLogistic",
    "CategoricalFocal",
    "Cauchy",
    "Contrastive",
    "CosineEmbedding",
    "CrossEntropy",
    "DIoU",
    "DeviceValue",
    "Diagnosis",
    "Distillation",
    "Elementwise",
    "Embedding",
    "Expectile",
    "Exponential",
    "Focal",
    "GIoU",
    "Gamma",
    "GaussianNLL",
    "GeneralRobust",
    "GeneralizedCrossEntropy",
    "Hinge",
    "Huber",
    "InfoNCE",
    "IoU",
    "JensenShannon",
    "KLDivergence",
    "KeyedEmbedding",
    "LabelledEmbedding",
    "LaplaceNLL",
    "Linear",
    "LinearCrossEntropy",
    "LogCosh",
    "LogNormalNLL",
    "Mean",
    "ModifiedHuber",
    "MultiMargin",
    "MultiOutput",
    "NTXent",
    "NegativeBinomialNLL",
    "PairEmbedding",
    "PairwiseHinge",
    "PairwiseLogistic",
    "Poisson",
    "Poly1",
    "PseudoHuber",
    "Quantile",
    "Scorer",
    "SigLIP",
    "SimPO",
    "SmoothL1",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "SquaredLogError",
    "StudentTNLL",
    "SupervisedContrastive",
    "SymmetricCrossEntropy",
    "Triplet",
    "TripletEmbedding",
    "Tweedie",
    "ZeroInflatedPoissonNLL",
    "check_gradient",
    "exp",
    "expm1",
    "get",
    "log",
    "log1p",
    "log_cosh",
    "log_sigmoid",
    "losses",
    "pow",
    "register",
    "sigmoid",
    "softplus",
    "sqrt",
    "stop_gradient",
    "tanh",
]


def __getattr__(name: str) -> Any:
    """Metrics and what trains are imported when they are asked for: they bring Numba along."""
    if name == "metrics" or name in ("Mean", "Scorer"):
        from importlib import import_module

        metrics = import_module(f"{__name__}.metrics")
        return metrics if name == "metrics" else getattr(metrics, name)
    if name == "train":
        from importlib import import_module

        return import_module(f"{__name__}.train")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
