"""Arrays that another thread changes while they are read: wrong numbers, maybe; never a crash."""

SCRIPT = """
import json, sys, threading, time
import numpy as np, numba
import numbaloss as nl

numba.set_num_threads(1)
count, classes = 1 << 16, 5
logits = np.zeros((count, classes), np.float32)
labels = np.zeros(count, np.int64)
loss = nl.CrossEntropy(class_weight=np.ones(classes))
stop = threading.Event()

def change():
    while not stop.is_set():
        labels.fill(0)
        labels.fill(1 << 50)

calls = {
    "weights of classes": lambda: loss(logits, labels, reduction="weighted_mean"),
    "no weights": lambda: nl.CrossEntropy().value_and_grad(logits, labels),
    "linear": lambda: nl.LinearCrossEntropy()(logits[:, :2], np.ones((2, 5), "f4"), labels),
}
for call in calls.values():
    call()
other = threading.Thread(target=change)
other.start()
seen = []
for name, call in calls.items():
    end, outcomes = time.perf_counter() + float(sys.argv[1]), set()
    while time.perf_counter() < end:
        try:
            outcomes.add(type(call()).__name__)
        except ValueError as error:
            outcomes.add(str(error)[:40])
    seen.append(sorted(outcomes))
stop.set()
other.join()
print(json.dumps(seen))
"""


def test_labels_that_change_under_the_scan_are_never_looked_up_out_of_range(run, shared_cache):
    """The weights of the classes are looked up by the very label that has been tested."""
    outcomes = run(SCRIPT, 0.7, NUMBALOSS_CACHE_DIR=shared_cache, NUMBA_NUM_THREADS=1)
    for seen in outcomes:
        assert any("target[" in one or "out of range" in one for one in seen), seen
