"""Clean and perturbed predictions: data sets, models, perturbations and the engine that runs them.

Nothing here imports torch until a model is loaded, so predictions made elsewhere are analysed without it.
"""
