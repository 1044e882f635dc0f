"""Forks beside a thread that compiles: the child computes, or says why it cannot."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

START = """
import json, os, signal, threading, time, warnings
import numpy as np
import numbaloss as nl
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock
warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads, TBB of any fork

prediction, target = np.arange(4.0), np.ones(4)

class Mine(nl.Elementwise):
    def value(self, prediction, target):
        return nl.log_cosh(prediction - target)

def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # in the place of a hang
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1]
"""


def test_a_fork_waits_for_a_compilation_of_another_thread(run, shared_cache):
    script = (
        START
        + """
compiling, results = threading.Event(), []

class Listener(event.Listener):
    def on_start(self, one):
        compiling.set()
    def on_end(self, one):
        pass

def compile():
    results.append(Mine()(prediction, target))

event.register("numba:run_pass", Listener())
thread = threading.Thread(target=compile)
thread.start()
assert compiling.wait(60)
# One that is not loaded yet, and one that has to be compiled.
children = [
    forked(lambda: nl.SquaredError()(prediction, target) == 1.5),
    forked(lambda: nl.SquaredError()(prediction, target) == 1.5 and Mine()(prediction, target) > 0),
]
thread.join()
# The lock is free again, here too.
again = nl.SquaredError()(prediction, target)
print(json.dumps([children, len(results), again, global_compiler_lock.is_locked()]))
"""
    )
    assert run(script, NUMBALOSS_CACHE_DIR=shared_cache) == [[0, 0], 1, 1.5, False]


def test_a_child_of_a_fork_that_waited_in_vain_says_so(run, shared_cache):
    script = (
        START
        + """
from numbaloss import forking
forking.WAIT = 0.2
loaded = nl.SquaredError()
loaded(prediction, target)
hold, held = threading.Event(), threading.Event()

def work():
    with global_compiler_lock:
        held.set()
        hold.wait(60)

thread = threading.Thread(target=work)
thread.start()
held.wait(60)

def child():
    if loaded(prediction, target) != 1.5:
        return False
    try:
        Mine()(prediction, target)
    except RuntimeError as error:
        return "forked while another thread" in str(error)

started = time.monotonic()
torn = forked(child)
waited = time.monotonic() - started
hold.set()
thread.join()
# From several threads at once, and with nothing in the way.
children = []
forks = [threading.Thread(target=lambda: children.append(forked(lambda: True))) for _ in range(4)]
for one in forks: one.start()
for one in forks: one.join()
print(json.dumps([torn, waited >= 0.2, children, Mine()(prediction, target) > 0]))
"""
    )
    assert run(script, NUMBALOSS_CACHE_DIR=shared_cache) == [0, True, [0] * 4, True]
