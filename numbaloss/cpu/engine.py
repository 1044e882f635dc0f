"""The engine of CPU threads: which module computes which structure of losses."""

STRUCTURES = {
    "elementwise": "elementwise",
    "rows": "softmax",
    "vectors": "embedding_rows",
    "batch": "embedding_batch",
    "linear": "linear",
}
