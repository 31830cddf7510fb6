# Reference values of the classical methods, from packages that share no code with this project.
# R 4.2 with pROC and survival; run in this folder: Rscript make.R
# Writes inputs.csv (images in patients) and values.json (flat: name -> number or vector).

suppressMessages({
  library(pROC); library(survival)
})
set.seed(20250611)
RNGkind(sample.kind = "Rejection")

# ---- inputs: three kinds of patients (positives only, negatives only, both), ties, unequal cluster sizes ----
n_patients <- 30
size <- sample(1:5, n_patients, replace = TRUE)
patient <- rep(seq_len(n_patients) - 1, size)
n <- length(patient)
u <- rnorm(n_patients)[patient + 1]
label <- as.integer(plogis(2 * u + rnorm(n, 0, 0.7)) > 0.55)
made <- function(signal) round(plogis(signal * label + 0.8 * u + rnorm(n)), 2)
d <- data.frame(patient, label, a = made(1.6), b = made(0.9), c = made(1.2), d = made(0.3))
d$first <- as.integer((d$a > 0.5) == (d$label == 1))
d$second <- as.integer((d$b > 0.5) == (d$label == 1))
d$third <- as.integer((d$d > 0.5) == (d$label == 1))
d$shift <- round(0.15 + 0.5 * rnorm(n_patients)[patient + 1] + 0.4 * rnorm(n), 1)
write.csv(d, "inputs.csv", row.names = FALSE, quote = FALSE)
d <- read.csv("inputs.csv") # the very numbers that the tests read

out <- list()

# ---- DeLong: pROC ----
roc_of <- function(x) roc(d$label, d[[x]], levels = c(0, 1), direction = "<", quiet = TRUE)
rocs <- lapply(c(a = "a", b = "b", c = "c", d = "d"), roc_of)
out$delong_auc <- sapply(rocs, function(r) as.numeric(auc(r)))
out$delong_var <- sapply(rocs, function(r) pROC::var(r, method = "delong"))
out$delong_cov_ab <- pROC::cov(rocs$a, rocs$b, method = "delong")
tested <- roc.test(rocs$a, rocs$b, method = "delong", paired = TRUE)
out$delong_z <- unname(tested$statistic)
out$delong_p <- tested$p.value
out$delong_ci_identity <- as.numeric(ci.auc(rocs$a, method = "delong"))[c(1, 3)]
out$delong_ci_difference <- as.numeric(tested$conf.int)
a_hat <- out$delong_auc[["a"]]
out$delong_ci_logit <- plogis(qlogis(a_hat) + c(-1, 1) * qnorm(0.975) * sqrt(out$delong_var[["a"]]) / (a_hat * (1 - a_hat)))
sigma <- outer(names(rocs), names(rocs), Vectorize(function(i, j)
  if (i == j) pROC::var(rocs[[i]], method = "delong") else pROC::cov(rocs[[i]], rocs[[j]], method = "delong")))
w <- c(1, -1, -1, 1)
out$delong_did <- sum(w * out$delong_auc)
out$delong_did_var <- drop(t(w) %*% sigma %*% w)

# ---- clustered AUROC: survival's infinitesimal jackknife over patients, which has no small-sample factors ----
influences <- sapply(names(rocs), function(x) {
  fit <- concordance(d$label ~ d[[x]], cluster = d$patient, influence = 1)
  stopifnot(abs(fit$concordance - out$delong_auc[[x]]) < 1e-12)
  stopifnot(abs(sum(fit$dfbeta^2) - fit$var) < 1e-12)
  fit$dfbeta
})
out$cluster_influence_cov <- as.vector(crossprod(influences))
both <- with(d, patient %in% intersect(patient[label == 1], patient[label == 0]))
e <- d[both, ]
out$both_patients <- length(unique(e$patient))
infl_both <- sapply(names(rocs), function(x) concordance(e$label ~ e[[x]], cluster = e$patient, influence = 1)$dfbeta)
out$both_influence_cov <- as.vector(crossprod(infl_both))

# ---- McNemar: base R ----
table_of <- function(b, c) matrix(c(5, c, b, 7), 2)
pairs <- list(c(1, 7), c(6, 16), c(25, 2), c(12, 2), c(4, 4), c(0, 5), c(9, 0), c(50, 72))
out$mcnemar_b <- sapply(pairs, `[`, 1)
out$mcnemar_c <- sapply(pairs, `[`, 2)
out$mcnemar_exact_p <- sapply(pairs, function(p) binom.test(p[1], sum(p))$p.value)
out$mcnemar_midp <- sapply(pairs, function(p) {
  point <- dbinom(p[1], sum(p), 0.5)
  if (p[1] == p[2]) 1 - point / 2 else binom.test(p[1], sum(p))$p.value - point
})
out$mcnemar_chi2 <- sapply(pairs, function(p) unname(mcnemar.test(table_of(p[1], p[2]), correct = FALSE)$statistic))
out$mcnemar_chi2_p <- sapply(pairs, function(p) mcnemar.test(table_of(p[1], p[2]), correct = FALSE)$p.value)

# ---- signed rank: base R, and base R's analysis of variance for the correlation ----
z <- d$shift
values_of <- function(test) unname(c(test$statistic, test$p.value))
distinct <- c(0.31, -0.12, 0.45, 0.07, -0.52, 0.66, 0.28, 0.93, -0.19, 0.84, 0.4, 0.11, -0.03, 0.75)
out$signed_exact_values <- distinct
out$signed_exact <- values_of(wilcox.test(distinct, exact = TRUE))
nonzero <- z[z != 0]
out$signed_n_zero <- sum(z == 0)
out$signed_normal <- values_of(wilcox.test(nonzero, exact = FALSE, correct = FALSE))
# hundredths as whole numbers, so that ties are ties
out$signed_paired <- suppressWarnings(values_of(
  wilcox.test(round(100 * d$a), round(100 * d$b), paired = TRUE, exact = FALSE, correct = FALSE)))
p <- d$patient[z != 0]
s <- sign(nonzero) * rank(abs(nonzero))
table_aov <- anova(lm(s ~ factor(p)))
g <- as.vector(table(p)); m <- length(g); G <- sum(g)
within <- table_aov[["Mean Sq"]][2]; between <- table_aov[["Mean Sq"]][1]
g0 <- (G - sum(g^2) / G) / (m - 1)
component <- max(0, (between - within) / g0)
rho <- component / (component + within)
rho <- min(1, rho * (1 + (1 - rho^2) / (m - 5 / 2)))
means <- tapply(s, p, mean)
weight <- g / (stats::var(s) * (1 + (g - 1) * rho))
out$signed_rho <- rho
out$signed_clustered_z <- sum(weight * means) / sqrt(sum(weight^2 * means^2))

# ---- Cochran's Q: the generalised Cochran-Mantel-Haenszel test with images as strata ----
regimes <- c("first", "second", "third")
long <- data.frame(image = factor(rep(seq_len(n), 3)), regime = factor(rep(regimes, each = n)),
                   outcome = factor(unlist(d[regimes])))
mixed <- rowSums(d[regimes]) %in% 1:2
q <- mantelhaen.test(table(long$outcome, long$regime, long$image)[, , mixed])
out$cochran <- unname(c(q$statistic, q$parameter, q$p.value))
exact_p <- function(i, j) binom.test(sum(d[[i]] > d[[j]]), sum(d[[i]] != d[[j]]))$p.value
raw <- c(exact_p("first", "second"), exact_p("first", "third"), exact_p("second", "third"))
out$pairwise_raw <- raw

# ---- equivalence: base R's normal distribution, both sides apart ----
estimates <- c(0.004, -0.015, 0.03, 0); errors <- c(0.005, 0.01, 0.02, 0.004); margin <- 0.02
out$tost_estimate <- estimates
out$tost_se <- errors
out$tost_p <- pmax(pnorm((estimates + margin) / errors, lower.tail = FALSE), pnorm((estimates - margin) / errors))
out$noninferior_higher_p <- pnorm((estimates + margin) / errors, lower.tail = FALSE)
out$noninferior_lower_p <- pnorm((estimates - margin) / errors)

# ---- written by hand, so that R needs no further package ----
text <- function(v) {
  v <- sub("Inf", "Infinity", trimws(formatC(unname(v), digits = 17, format = "g")))
  if (length(v) == 1) v else paste0("[", paste(v, collapse = ", "), "]")
}
lines <- mapply(function(name, v) sprintf("  \"%s\": %s", name, text(v)), names(out), out)
writeLines(c("{", paste(lines, collapse = ",\n"), "}"), "values.json")
