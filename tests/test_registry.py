"""Losses are found by name."""

import pytest

import numbaloss as nl
from numbaloss import registry


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("huber", nl.Huber),
        ("Huber", nl.Huber),
        ("mse", nl.SquaredError),
        ("bce", nl.BinaryCrossEntropy),
        ("binary_cross_entropy", nl.BinaryCrossEntropy),
        ("binary-cross-entropy", nl.BinaryCrossEntropy),
        ("BinaryCrossEntropy", nl.BinaryCrossEntropy),
        ("smooth_l1", nl.SmoothL1),
        ("pinball", nl.Quantile),
        ("asl", nl.AsymmetricFocal),
    ],
)
def test_losses_are_found_by_name_class_and_alias(name, cls):
    assert type(nl.get(name)) is cls


def test_parameters_go_to_the_loss():
    assert nl.get("huber", delta=1.5) == nl.Huber(1.5)


def test_unknown_names_are_answered_with_close_ones():
    with pytest.raises(ValueError, match="did you mean huber"):
        nl.get("hubber")
    with pytest.raises(ValueError, match="no loss is called 'xyzzy'"):
        nl.get("xyzzy")
    with pytest.raises(TypeError, match="string"):
        nl.get(nl.Huber)


def test_every_public_loss_is_registered_under_its_name():
    for name, cls in nl.losses().items():
        assert getattr(nl, cls.__name__) is cls
        assert registry.snake_case(cls.__name__) == name
        assert cls.__doc__ is not None


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(registry, "_names", dict(registry._names))


def test_a_users_loss_registers_and_registers_again(own_registry):
    def define(factor):
        @nl.register
        class MyOwn(nl.Elementwise):
            aliases = ("mine",)

            def point(self, prediction, target):
                return factor * prediction, factor, 0.0

        return MyOwn

    define(2.0)
    again = define(3.0)
    assert type(nl.get("mine")) is again
    assert nl.get("my_own")([1.0], [0.0]) == 3.0


def test_taken_names_are_refused(own_registry):
    with pytest.raises(ValueError, match="'mse' belongs to SquaredError"):

        @nl.register
        class Another(nl.Elementwise):
            aliases = ("mse",)

    with pytest.raises(ValueError, match="belongs to Huber"):
        nl.register(type("Huber", (nl.Elementwise,), {"__module__": "elsewhere"}))
