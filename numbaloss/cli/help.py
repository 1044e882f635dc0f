"""What ``--help`` says: written to be read from the top."""

MAIN_HELP = """\
Losses of machine learning, with their gradients, over files of any size.

\b
numbaloss list                         what losses there are
numbaloss list huber                   one of them in full
numbaloss score FILE --loss huber      losses and metrics of predictions
numbaloss train FILE --loss huber      a model that learns by it
numbaloss predict FOLDER FILE          predictions of that model
numbaloss devices                      processors and GPUs to compute on
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

LIST_HELP = """\
All losses: names, parameters with their defaults, use.

With names, these losses in full: formula, parameters and their ranges, what
they take, notes, references, examples.
"""

SCORE_HELP = """\
Losses and metrics of the predictions in FILE, in one pass and little memory.

FILE is text (.csv, .tsv), JSON lines (.jsonl), these also as .gz, .bz2, .zst;
Parquet; Arrow (.arrow, .feather, .arrows); .npy (named fields; or two
dimensions, whose columns have numbers) or .npz (named arrays, of one or two
dimensions). Several files, patterns ('rows/*.csv') and folders are one table;
folders that are called country=de are a column, country. - is standard input.
--format names a format that neither the name nor the first bytes tell. Null,
empty and NA count as NaN.

Text has a line of names. Comma, semicolon, tab or | between its fields is found,
--delimiter names another character; --decimal , reads decimal commas. It is
UTF-8, or UTF-16 with its mark; --encoding cp1252 names another encoding.

\b
A loss is written
  huber                            a name or an alias, see `numbaloss list`
  huber:delta=1.5                  with parameters, separated by commas
  ce:class_weight=1/2/0.5          an array of numbers
  "huber:delta=1.5 + 0.1*log_cosh" a weighted sum
  my_losses.py:Quartic:scale=2     a class of your own, in a file
  my_package.losses:Quartic        or in a module

Metrics are written likewise, roc_auc or f_beta:beta=2, with or without losses:
accuracy, f_beta, roc_auc, log_loss, mae, r2, ndcg and others, of what the losses
take: probabilities for log_loss, for accuracy too (or threshold=0 for logits).
Without losses, integers and texts among predictions are labels.

--by COLUMN scores the rows of each text in a column apart. --compare COLUMN
takes a second prediction: differences of rows tell which one is better, if they
are beyond two standard errors. --bins N shows how often probabilities come
true. --results OUT.csv writes the figures as a table, to .parquet or .json too.

--workers N are processes that share the files, and the row groups of Parquet;
--dask tcp://HOST:8786 lets a cluster do it, which sees the files under the same
names. The results are the same, to the last bit.

\b
Losses of many classes, cross_entropy for one, take a row of predictions:
  --prediction a,b,c           columns, or the option given many times
  --prediction 'logit_*'       columns that match, in the order of the file
  --prediction scores          a column of lists, an array of two dimensions
  --prediction 0:10            of a plain .npy, whose columns have numbers

Their target is a column of labels; or, for probabilities or the logits of a
teacher, columns written in the same ways. A pattern leaves out columns that
other options name.

\b
Labels are
  the places of the classes, from 0, in the order of the columns;
  with --classes what it lists, numbers or text, for the columns in order;
  with a pattern whose star stands for numbers, these numbers: logit_7 is 7,
  wherever its column is; if it stands for names, the names, where labels are
  text. Text labels without names are an error.

Losses of two classes take a number a row and targets of 0 and 1: --classes
no,yes says what the target calls them, in this order.

Rows whose label is the loss's ignore_index, -100, do not count. A missing
label is an error; --skip-nan leaves its row out. Of the rows that count, mean
takes the number, weighted_mean the weights, times the class weights of labels.

The gradient norm is the length of the gradient of the reduced value. A row is
not finite where its value is NaN or infinite; it makes the whole value so.
Rows count from 0. Predictions in half or single precision are computed in
float32, all others, integers and text included, in float64.

With --output, every row of FILE gets one row of results. Values are weighted,
not reduced; gradients and hessians are those of that value by its prediction,
whatever the --reduction. Columns are called huber_value, huber_gradient,
huber_hessian. Sums, and losses of one name with different parameters, are
called as they are written: huber_delta_1.5_value. A .npy with one column is a
plain array, with several it has named fields. Derivatives by many classes get
a column a class, brier_gradient_cat or brier_gradient_0; in .npy a dimension.
The file appears when it is complete. It replaces nothing that is read, and does
not go into a folder that is read.

With --device cuda the losses are computed on a GPU: the next batch of rows is
read and decoded meanwhile. Only a few batches are ever in memory. Numbers are
those of the CPU to rounding. It pays for losses that are costly, for rows of
many classes for one; reading the file often takes longer than either.

In JSON, NaN and infinities are the strings "nan", "inf" and "-inf".

\b
Examples:
  numbaloss score examples/data/diabetes_predictions.csv \\
      --prediction ridge --loss mse --loss mae
  numbaloss score examples/data/breast_cancer_predictions.parquet \\
      --prediction logit --loss binary_cross_entropy --json
  numbaloss score examples/data/digits_predictions.parquet \\
      --prediction 'logit_*' --loss cross_entropy --loss brier
  numbaloss score 'rows/*.parquet' --metric roc_auc --by country --workers 4
"""

DEVICES_HELP = """\
What losses can be computed on here: the processor, and CUDA GPUs.

Where no GPU can be used it says why, and the command that mends it.
"""

WARMUP_HELP = """\
Compile losses to machine code now, so that later programs load it from disk.

Without names, all registered losses; a container image wants this in its
build. Rows of fewer than 16 classes have code for their number: --classes
names those that are wanted, where it need not be all. The code is kept per
version of numbaloss, Numba and processor. NUMBALOSS_CACHE_DIR names another
place for it.

--device cuda compiles for the GPU here, or with --compute-capability for one
that is elsewhere: all but losses of all pairs of a batch, and linear ones.
"""
