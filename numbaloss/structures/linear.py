"""Losses of a linear layer's logits, which are never all there at once."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from .. import misuse
from ..call.linear import evaluate
from ..core.contracts import LINEAR
from ..core.loss import Loss
from .documentation import documented
from .softmax import Softmax


@documented
class Linear(Loss):
    r"""A loss of rows of logits that are a linear function of hidden vectors.

    .. math:: \ell\left(h W + b,\ t\right)

    with :math:`h` of n rows and H columns, :math:`W` of H rows and C columns. With the 50,000
    to 250,000 classes of a language model the n × C logits and their gradient take more
    memory than all else. Here a block of rows is multiplied, turned into its gradient where
    it lies, and multiplied again: the memory beyond the results is the block's.

    A subclass returns from :meth:`of_logits` the loss that its logits have.

    Notes
    -----
    There is no hessian: its diagonal by hidden vectors and weights does not follow from that
    by the logits.
    """

    contract = LINEAR
    target_domain: ClassVar[Any] = "[0, 1]"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"

    def of_logits(self) -> Softmax:
        """The loss of the logits."""
        raise NotImplementedError(f"{type(self).__name__} has no of_logits(self)")

    def __call__(
        self,
        hidden: Any,
        weight: Any,
        target: Any,
        *,
        bias: Any = None,
        transposed: bool | None = None,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        hidden : array of float16, bfloat16, float32 or float64, shape (..., H)
            Inputs of the layer. Any strides; what products cannot use as it lies is copied
            block by block. Half precisions are computed in float32.
        weight : array of the same dtype, shape (H, C) or (C, H)
            The second is what checkpoints keep (PyTorch's ``Linear.weight``). Half precisions
            and layouts without contiguous rows or columns are converted tile by tile, once a
            block of rows.
        target : array of integers, shape (...), or array of shape (..., C)
            Labels from 0 to C - 1, of any integer dtype, or floats that are whole numbers (not on
            a GPU); or dense targets of any real dtype, a probability a class; of a single row, of
            shape (C,), only a floating one.
        bias : array of the same dtype, shape (C,), optional
            Added to every row of logits.
        transposed : bool, optional
            True for a weight of shape (C, H), False for (H, C). None goes by the shape, which
            needs C to differ from H.
        {sample_weight_of_rows}
        mask : array of bool, optional
            True for rows that count, in the shape of the rows or a leading part of it. Rows
            that do not, and those with the label to ignore, cost no products; on a GPU for large
            layers alone, with ``wait=True`` and a reduction: how many rows are left has to be read
            from there.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            As for the loss of the logits.
        device : {None, "cpu", "cuda"}
            None: where the arrays live. On a GPU, matrices are multiplied by CuPy or PyTorch,
            whichever the arrays come from, and in half precision logits are rounded to it.
            ``"cuda"`` is for arrays on a GPU: those of the host are refused.
        check : bool
            False skips the test of dense targets against their domain, and takes weights below
            0 too. Labels are always tested.
        workspace : int, optional
            Bytes that a block of rows may take beside the results; a block has one row at
            least. Larger ones are faster, up to some 1000 rows. The default is a quarter of
            what the weight takes in the compute type, and 54 MB at least; on a GPU 1 GiB, or a
            quarter of what is free, for logits; rows that are left out cost a copy of the hidden
            vectors of a block, and one of its gradient, beside it.
        {wait}

        Returns
        -------
        float, or array of the shape of the rows for ``reduction="none"``
            The values of half precision come in float32. The mean over no rows is NaN.

        Raises
        ------
        TypeError
            Arrays of other dtypes, or of different ones.
        ValueError
            Shapes that do not fit, or fit in two ways; labels out of range or no whole numbers,
            targets outside the domain, negative weights, unknown options.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        misuse.refuse_autograd(hidden, weight)
        return evaluate(
            self, hidden, weight, target, bias, transposed, sample_weight, mask, reduction, device,
            check, workspace, wait, None, 1.0,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        hidden: Any,
        weight: Any,
        target: Any,
        *,
        bias: Any = None,
        transposed: bool | None = None,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, tuple[Any, ...]]:
        """The loss and its gradients by the hidden vectors, the weight and the bias.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        out : tuple of arrays, optional
            They receive the gradients: one for each, of its shape and dtype, or None for a
            new array. They must not overlap each other or any input.
        {gradient_scale}

        Returns
        -------
        value : float or array
        gradients : tuple of arrays
            By hidden, by weight (in the layout the weight came in) and, where there is one,
            by bias; of the kind and dtype of each. Derivatives of the reduced value, weights
            and divisor included; with ``reduction="none"`` of the sum of the values. Sums
            over rows are taken in the compute type: the weight's gradient in half precision
            needs a float32 array of the weight's size meanwhile, on a GPU where there is more than
            one block of rows (with PyTorch before 2.8, and CuPy, which have no products of halves
            in float32, the product of each block is rounded once).
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, hidden, weight, target, bias, transposed, sample_weight, mask, reduction, device,
            check, workspace, wait, (out,), gradient_scale,
        )  # fmt: skip
