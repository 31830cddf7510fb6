# Reference values of intervals and of adjusted p-values, from R's boot and stats, which share no code with this project.
# R 4.2 with boot; run in this folder: Rscript make.R
# Reads ../classical/reference/inputs.csv. Writes counts.txt (a line a resample, a digit a patient: how often it was
# drawn, by boot itself) and values.json (flat: name -> number or vector).

suppressMessages(library(boot))
set.seed(20260301)
RNGkind(sample.kind = "Rejection")
d <- read.csv("../classical/reference/inputs.csv")
n <- max(d$patient) + 1
n_resamples <- 999

# ---- quantities as functions of the patients' weights, for which boot differentiates by itself ----
brier <- function(w) sum(w * (d$a - d$label)^2) / sum(w)
positive <- d$label == 1
above <- function(x) {
  pairs <- outer(x[positive], x[!positive], ">") + outer(x[positive], x[!positive], "==") / 2
  function(w) drop(w[positive] %*% pairs %*% w[!positive]) / (sum(w[positive]) * sum(w[!positive]))
}
auroc_a <- above(d$a); auroc_b <- above(d$b)
quantities <- function(patients, weights) {
  w <- weights[d$patient + 1]
  c(brier = brier(w), auroc = auroc_b(w), difference = auroc_a(w) - auroc_b(w))
}
drawn <- boot(seq_len(n), quantities, R = n_resamples, stype = "w")
counts <- boot.array(drawn)
stopifnot(max(counts) < 10, rowSums(counts) == n, !anyNA(drawn$t))
# boot counts resamples below the estimate for the bias, and has no rule for equals: there are none
stopifnot(min(abs(sweep(drawn$t, 2, drawn$t0))) > 1e-9)
writeLines(apply(counts, 1, paste, collapse = ""), "counts.txt")

out <- list()
levels <- c(0.9, 0.95)
for (i in seq_along(drawn$t0)) {
  name <- names(drawn$t0)[i]
  # a difference quotient; with this step it is right to about 6 digits
  influence <- empinf(drawn, index = i, type = "inf", eps = 1e-6) / n
  influence <- influence - mean(influence)
  variance <- function(w) n / (n - 1) * (sum(w * influence^2) - sum(w * influence)^2 / n)
  # the second index stands for variances, which are given
  found <- boot.ci(drawn, conf = levels, type = c("perc", "basic", "bca", "stud"), index = c(i, i), L = influence,
                   var.t0 = variance(rep(1, n)), var.t = apply(counts, 1, variance))
  out[[paste0(name, "_value")]] <- drawn$t0[i]
  out[[paste0(name, "_bootstrap_se")]] <- sd(drawn$t[, i])
  out[[paste0(name, "_influence")]] <- influence
  out[[paste0(name, "_percentile")]] <- as.vector(t(found$percent[, 4:5]))
  out[[paste0(name, "_basic")]] <- as.vector(t(found$basic[, 4:5]))
  out[[paste0(name, "_bca")]] <- as.vector(t(found$bca[, 4:5]))
  out[[paste0(name, "_studentized")]] <- as.vector(t(found$student[, 4:5]))
}

# ---- p.adjust: ties, 0, 1, and sizes of a family ----
p <- list(four = c(0.01, 0.04, 0.03, 0.005),
          ties = c(0.02, 0.02, 0.5, 0.001, 0.02, 1, 0.03, 0.0101),
          edges = c(0, 1, 0.2, 0),
          one = 0.04,
          many = round(((1:40) * 0.6180339887) %% 1, 3)^2)
for (family in names(p)) {
  out[[paste0("p_", family)]] <- p[[family]]
  for (method in c("holm", "hommel", "bonferroni", "BH", "BY")) {
    out[[paste0("adjusted_", family, "_", method)]] <- p.adjust(p[[family]], method)
  }
}

# ---- written by hand, so that R needs no further package ----
text <- function(v) {
  v <- trimws(formatC(unname(v), digits = 17, format = "g"))
  if (length(v) == 1) v else paste0("[", paste(v, collapse = ", "), "]")
}
lines <- mapply(function(name, v) sprintf("  \"%s\": %s", name, text(v)), names(out), out)
writeLines(c("{", paste(lines, collapse = ",\n"), "}"), "values.json")
