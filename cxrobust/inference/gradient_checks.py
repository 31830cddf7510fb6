"""Whether models give the gradients that attacks follow, before any unit is done."""

from collections.abc import Sequence

from cxrobust.errors import DataError
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations.attack import Attack
from cxrobust.inference.unit_checks import source_of
from cxrobust.inference.units import Unit
from cxrobust.study import Study


def check_gradients(study: Study, units: Sequence[Unit]) -> None:
    """Refuse an attack by gradients on a model none of whose gradients reaches the pixels.

    Raises
    ------
    DataError
        Saying why there is none, and what can run on the model.
    """
    models = [regime for regime in study.regimes if isinstance(regime, Regime)]
    attacked: dict[tuple[str, int, str | None], Regime] = {}
    for unit in units:
        one = unit.perturbation
        if isinstance(one, Attack) and one.asks_for_gradient and isinstance(unit.regime, Regime):
            regime, fold = (unit.regime, unit.fold) if one.made_on is None else (source_of(one, models), None)
            attacked[regime.name, regime.replicate, fold] = regime
    for (_, _, fold), regime in attacked.items():
        problem = regime.gradient_problem(fold=fold)
        if problem is not None:
            raise DataError(problem)
