"""What ``--help`` says: written to be read from the top."""

MAIN_HELP = """\
Losses of machine learning, with their gradients, over files of any size.

\b
numbaloss list                         what losses there are
numbaloss score FILE --loss huber      the loss of a file of predictions
numbaloss warmup                       compile everything beforehand

\b
Examples:
  numbaloss score predictions.csv --loss mse --loss huber:delta=1.5
  numbaloss score predictions.parquet --loss binary_cross_entropy \\
      --prediction logit --target label --weight weight --json
  numbaloss score predictions.parquet --loss mae --per-sample --gradient \\
      --output rows.parquet

Exit code: 0 fine; 1 the data is bad, with one line on stderr that says where;
2 the command is wrong; 130 stopped by Ctrl-C.
"""

SCORE_HELP = """\
Losses of the predictions in FILE, all in one pass, in memory for a few rows.

FILE is CSV (.csv, .tsv, also .gz, .bz2, .zst), Parquet (a file or a folder of
them), .npy (named fields; or two dimensions, whose columns have numbers) or
.npz (named arrays). Null, empty and NA count as NaN.

\b
A loss is written
  huber                            a name or an alias, see `numbaloss list`
  huber:delta=1.5                  with parameters, separated by commas
  "huber:delta=1.5 + 0.1*log_cosh" a weighted sum
  my_losses.py:Quartic:scale=2     a class of your own, in a file
  my_package.losses:Quartic        or in a module

The gradient norm is the length of the gradient of the reduced value. A row is
not finite where its value is NaN or infinite; it makes the whole value so.
Rows count from 0. Predictions in half or single precision are computed in
float32, all others, integers and text included, in float64.

With --output, every row of FILE gets one row of results. Values are weighted,
not reduced; gradients and hessians are those of that value by its prediction,
whatever the --reduction. Columns are called huber_value, huber_gradient,
huber_hessian. Sums, and losses of one name with different parameters, are
called as they are written: huber_delta_1.5_value. A .npy with one column is a
plain array, with several it has named fields. The file appears when it is
complete.

In JSON, NaN and infinities are the strings "nan", "inf" and "-inf".

\b
Examples:
  numbaloss score examples/data/diabetes_predictions.csv \\
      --prediction ridge --loss mse --loss mae
  numbaloss score examples/data/breast_cancer_predictions.parquet \\
      --prediction logit --loss binary_cross_entropy --json
"""

WARMUP_HELP = """\
Compile losses to machine code now, so that later programs load it from disk.

Without names, all registered losses; a container image wants this in its
build. The code is kept per version of numbaloss, Numba and processor.
NUMBALOSS_CACHE_DIR names another place for it.
"""
