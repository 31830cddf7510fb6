import pytest

from cxrobust.cli import _main
from cxrobust.errors import StudyError
from cxrobust.listing import kinds, listed


@pytest.mark.parametrize("kind", kinds())
def test_every_name_has_a_line_of_its_own(kind: str) -> None:
    names = listed(kind)
    assert len(names) >= 5
    assert all(len(line) > 20 for line in names.values())
    assert len(set(names.values())) == len(names)


def test_a_perturbation_is_an_attack_or_a_corruption() -> None:
    attacks, corruptions = listed("attacks"), listed("corruptions")
    assert {"pgd", "square"} <= set(attacks)
    assert {"jpeg", "rotation"} <= set(corruptions)
    assert not set(attacks) & set(corruptions)


def test_an_unknown_kind_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError, match="unknown kind \\(did you mean 'models'"):
        listed("model")
    assert _main(["list", "metrics"]) == 0
    assert "auroc" in capsys.readouterr().out
