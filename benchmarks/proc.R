# Intervals of AUROCs by pROC, one line a cell: seconds, lower end, upper end. Reading the file is not timed.
#
#     Rscript proc.R CELLS.csv bootstrap|delong N_RESAMPLES     (columns: label, probability, label, probability, ...)

suppressPackageStartupMessages(library(pROC))
arguments <- commandArgs(TRUE)
cells <- read.csv(arguments[1])
set.seed(1)
for (k in seq(1, ncol(cells), 2)) {
  seconds <- system.time({
    curve <- roc(cells[[k]], cells[[k + 1]], levels = c(0, 1), direction = "<", quiet = TRUE)
    ends <- if (arguments[2] == "delong") ci.auc(curve, method = "delong") else
      ci.auc(curve, method = "bootstrap", boot.n = as.integer(arguments[3]), progress = "none")
  })[["elapsed"]]
  cat(sprintf("%.9f %.17g %.17g\n", seconds, ends[1], ends[3]))
}
