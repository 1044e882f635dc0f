"""What ``help`` shows of a structure's methods: every option, and the errors."""

from __future__ import annotations

import re
from inspect import signature

import pytest

import numbaloss as nl
from numbaloss.structures import documentation

STRUCTURES = (
    nl.Elementwise,
    nl.Softmax,
    nl.Linear,
    nl.PairEmbedding,
    nl.TripletEmbedding,
    nl.KeyedEmbedding,
    nl.LabelledEmbedding,
)
METHODS = [
    getattr(cls, name)
    for cls in STRUCTURES
    for name in ("__call__", "value_and_grad", "value_grad_hess", "hess")
    if hasattr(cls, name)
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_help_shows_every_parameter_and_the_errors(method):
    text = method.__doc__
    shown = [
        name.strip()
        for names in re.findall(r"^(\w[\w, ]*?) :", text, re.M)
        for name in names.split(",")
    ]
    taken = [
        name
        for name, one in signature(method).parameters.items()
        if name != "self" and one.kind is not one.VAR_KEYWORD
    ]
    if "options" not in signature(method).parameters:
        assert set(taken) <= set(shown)
        assert "Raises\n------\n" in text
    assert len(shown) == len(set(shown))
    assert not re.search(r"^\{\w+\}$", text, re.M)
    assert not re.search(r"^        \S", text, re.M), "indented as in the source"


def test_users_see_it_on_a_loss_of_theirs():
    class Mine(nl.Elementwise):
        def value(self, prediction, target):
            return prediction - target

    assert "sample_weight : array, optional" in Mine().value_grad_hess.__doc__


def test_a_method_without_a_docstring_stays_so():
    class Plain:
        def method(self):
            return self

    assert documentation.documented(Plain).method.__doc__ is None


def test_every_option_is_used():
    text = "".join((method.__doc__ or "") for method in METHODS)
    for name, entry in documentation.OPTIONS.items():
        assert entry.strip().splitlines()[1].strip()[:40] in text, name
