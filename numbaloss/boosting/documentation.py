"""Docstrings that boosters share: written once, with the words of a library, and shown for each."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Callable[..., Any])

TEXTS = {
    "regressor": """
        {library} by any loss of numbers: it owns start, link, weights and the metric.

        Parameters
        ----------
        loss : Elementwise
            A loss of margins.
        hessian : str or float
            See :func:`numbaloss.boosting.derivatives`.
        **options
            {options}

        Attributes
        ----------
        start_ : float or array
            The best constant margin, from which trees go on.
        model_ : {model}
        """,
    "classifier": """
        {library} by any loss of classes: it owns start, link, weights, labels and the metric.

        Parameters
        ----------
        loss : Softmax, or Elementwise of two classes
            A loss of margins.
        hessian : str or float
            See :func:`numbaloss.boosting.derivatives`.
        **options
            {options}

        Attributes
        ----------
        classes_ : array
            The labels, in the order of columns.
        start_ : float or array
            The best constant margin, from which trees go on.
        model_ : {model}
        """,
    "metric": """
        A metric for {place}: the mean loss, lower is better.

        Parameters
        ----------
        loss : Elementwise or Softmax
            A loss of margins.
        predictions : {{"margin", "mean"}}
            What {library} hands to metrics: margins beside an objective of one's own, means and
            probabilities beside one of its own.

        Returns
        -------
        callable of {arguments}, which pickles
        """,
    "check": """
        Look at a loss and a {data} before training: what usually goes wrong, in one report.

        Parameters
        ----------
        loss : Elementwise or Softmax
        {argument}
            With its labels and weights.
        hessian : str or float
            As in :func:`objective`.

        Returns
        -------
        Report
            ``print`` shows it; ``report.problems`` is empty where all is well.
        """,
}


def documented(text: str, **words: str) -> Callable[[Documented], Documented]:
    """Give a function or a class one of the texts, in front of what it says itself.

    Where it says ``Parameters`` first, these are further ones.
    """

    def give(of: Documented) -> Documented:
        said, own = cleandoc(TEXTS[text]).format(**words), cleandoc(of.__doc__ or "")
        more, of_parameters, rest = own.partition("Parameters\n----------\n")
        if of_parameters and not more:
            front, returns, back = said.partition("\n\nReturns\n")
            said = f"{front}\n{rest}{returns}{back}"
        elif own:
            said = f"{said}\n\n{own}"
        of.__doc__ = f"{said}\n"
        return of

    return give
