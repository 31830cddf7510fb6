"""The embedded labeler, on cases that each would catch a rule gone wrong, and on the committed sentences."""

import csv
from hashlib import sha256
from pathlib import Path

import pytest

from cxrobust.radiology_reports.labeler import Label, label_report, mentions, sentences, speaks_english
from cxrobust.radiology_reports.phrases import OBSERVATIONS

P, N, U = Label.POSITIVE, Label.NEGATIVE, Label.UNCERTAIN
SENTENCES = Path(__file__).parent / "sentences.csv"
DOCUMENTED = Path(__file__).parent.parent.parent / "docs" / "radiology-reports.md"


def read(text):
    return {name: label for name, label in label_report(text).items() if name != "No Finding"}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("No pneumonia, effusion, or edema.", {"Edema": N, "Pneumonia": N, "Pleural Effusion": N}),
        ("No pneumothorax, small left effusion.", {"Pneumothorax": N, "Pleural Effusion": P}),
        ("No consolidation, large effusion, or pneumothorax.",
         {"Consolidation": N, "Pneumothorax": N, "Pleural Effusion": N}),
        ("No effusion but a small apical pneumothorax.", {"Pneumothorax": P, "Pleural Effusion": N}),
        ("No significant change in the right effusion.", {"Pleural Effusion": P}),
        ("The effusion has resolved.", {"Pleural Effusion": N}),
        ("The effusion has not resolved.", {"Pleural Effusion": P}),
        ("A tiny pneumothorax cannot be excluded.", {"Pneumothorax": U}),
        ("Pneumothorax is not seen.", {"Pneumothorax": N}),
        ("Opacity may represent atelectasis or pneumonia.", {"Lung Opacity": P, "Atelectasis": U, "Pneumonia": U}),
        ("Heart is mildly enlarged without edema.", {"Cardiomegaly": P, "Edema": N}),
        ("Heart size is normal.", {"Cardiomegaly": N}),
        ("The heart is borderline enlarged.", {"Cardiomegaly": U}),
        ("Cardiomediastinal silhouette is within normal limits.", {"Enlarged Cardiomediastinum": N, "Cardiomegaly": N}),
        ("Mediastinal contours are unremarkable.", {"Enlarged Cardiomediastinum": N}),
        ("The endotracheal tube has been removed.", {"Support Devices": N}),
        ("History of pneumonia.", {}),
        ("If pneumonia is suspected, a CT may help.", {}),
        ("Pericardial effusion on echocardiography; massive cardiac history.", {}),
        ("Pleural oedema and tumour", {"Edema": P, "Lung Lesion": P}),
        ("It is difficult to exclude a small pneumothorax.", {"Pneumothorax": U}),
        ("The mediastinum is impossible to assess next to the right upper lobe mass.", {"Lung Lesion": P}),
        ("No displaced fracture, but a nondisplaced one cannot be excluded.", {"Fracture": U}),
        ("No large pneumothorax, though a tiny one is seen at the left apex.", {"Pneumothorax": P}),
        ("The heart is normal, and a large one is not seen.", {"Cardiomegaly": N}),
        ("Following extubation there is new atelectasis.", {"Support Devices": N, "Atelectasis": P}),
        ("The right chest tube has been withdrawn by 3 cm.", {"Support Devices": P}),
        ("The right chest tube has been withdrawn.", {"Support Devices": N}),
        ("No effusion, but supine films are insensitive for pneumothorax.", {"Pleural Effusion": N}),
        ("Patchy left opacity. ? early edema.", {"Lung Opacity": P, "Edema": U}),
        ("Effusion? Pneumothorax is seen.", {"Pleural Effusion": U, "Pneumothorax": P}),
        ("Infection at the left base must also be considered.", {"Pneumonia": U}),
        ("Large effusion, and CT should be considered.", {"Pleural Effusion": P}),
        ("Sarcoidosis is a consideration; lung capacities are low.", {}),
        ("Atypical infection is another consideration.", {"Pneumonia": U}),
        ("The left hemidiaphragm is not seen due to a pleural effusion.", {"Pleural Effusion": P}),
        ("The bases are not well seen secondary to atelectasis.", {"Atelectasis": P}),
        ("Small left effusion and pneumonia cannot be excluded.", {"Pleural Effusion": P, "Pneumonia": U}),
        ("Small effusions and edema are not excluded.", {"Pleural Effusion": U, "Edema": U}),
        ("Stable nodule, pneumothorax is not seen.", {"Lung Lesion": P, "Pneumothorax": N}),
    ],
)  # fmt: skip
def test_what_a_sentence_says(text, labels):
    assert read(text) == labels


def test_the_strongest_of_several_mentions_counts_in_any_order():
    said = ["No effusion.", "Possible effusion.", "Small effusion."]
    assert read(" ".join(said))["Pleural Effusion"] == read(" ".join(reversed(said)))["Pleural Effusion"] == P
    assert read(" ".join(said[:2]))["Pleural Effusion"] == read(" ".join(said[1::-1]))["Pleural Effusion"] == U


def test_no_finding_is_positive_where_devices_alone_are_affirmed():
    assert label_report("Pacemaker in place. No effusion.")["No Finding"] == P
    assert "No Finding" not in label_report("Possible effusion.")
    assert label_report("") == label_report("  \n") == {}


def test_sections_that_ask_or_look_back_are_not_read():
    text = "INDICATION: Rule out pneumonia.\nCOMPARISON: ___ with effusion. FINDINGS: 1. Clear lungs.\n2. No fracture."
    assert read(text) == {"Lung Opacity": N, "Fracture": N}
    assert sentences("Comparison: none. The heart is big.") == ["the heart is big"]


def test_every_mention_tells_its_sentence():
    [one] = mentions("The heart is fine. There is no evidence of a left effusion!")
    assert (one.observation, one.label, one.text) == ("Pleural Effusion", N, "effusion")
    assert one.sentence == "there is no evidence of a left effusion"


def test_observations_stand_in_chexperts_order():
    found = label_report("Pacemaker. Fracture. Edema. Cardiomegaly.")
    assert list(found) == [name for name in OBSERVATIONS if name in found]


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Clear.", True),
        ("no ptx", True),
        ("No acute disease.", True),
        ("Unremarkable.", True),
        ("ET tube in place, pas de deux. Lungs are clear.", True),
        ("Herzgröße normal, kein Erguss.", False),
        ("El corazón es normal, sin derrame.", False),
        ("Pas de pneumothorax.", False),
        ("Aucun pneumothorax. Absence de consolidation.", False),
        ("Absence d'opacité, de consolidation, et de pneumothorax.", False),
        ("Effusion, told to Dr. D'Angelo.", True),
        ("Absence of consolidation, ET tube at T4, de novo effusion.", True),
        ("Kein Nachweis einer Stauung.", False),
        ("心影正常", False),
        ("12345 ###", False),
        *((text, True) for text in ("Emphysema.", "COPD.", "Hyperinflation.", "Scoliosis.", "Negative.", "As above.")),
        *((text, True) for text in ("Tortuous aorta.", "Osseous structures intact.", "No change.", "None.")),
        *(
            (text, False)
            for text in (
                "COPD bekannt.",
                "Emfyseem.",
                "Le restanti immagini negative.",
                "Skoliose.",
                "Spondylosis deformans.",
                "Skelet intact.",
            )
        ),
        *((text, False) for text in ("Enfisema.", "Herz regelrecht.", "Normalbefund.", "Sans changement.", "")),
    ],
)
def test_reports_in_another_language_are_told_apart(text, english):
    assert speaks_english(text) is english


def test_a_long_report_is_read_to_its_end():
    assert read("The lungs are clear. " * 2500 + "Small effusion.")["Pleural Effusion"] == P


def test_the_committed_sentences_are_read_as_well_as_the_documentation_says():
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["text"] for row in rows}) >= 500
    not_english = [row["text"] for row in rows if not speaks_english(row["text"])]
    assert len(not_english) == 12  # these have no word of English alone, nor a finding
    documented = DOCUMENTED.read_text(encoding="utf-8")
    for odd, half in ((1, "tuning"), (0, "held out")):
        mine = [row for row in rows if sha256(row["text"].encode()).digest()[0] % 2 == odd]
        pairs = []
        for row in mine:
            given = (one.strip().split("=") for one in row["labels"].split(";") if one.strip())
            pairs.append(({name: Label[value.upper()] for name, value in given}, read(row["text"])))
        right = sum(wanted == found for wanted, found in pairs)
        head = f"Of the {len(mine)} texts of the {half} half, {right} ({right / len(mine):.0%}) have every label right:"
        assert head in documented
        table = documented[documented.index(head) :].split("\n\n")[1].splitlines()[2:]
        assert [line.split(" | ")[0].strip("| *") for line in table] == [*OBSERVATIONS[1:], "all"]
        for line, names in zip(table, [*([one] for one in OBSERVATIONS[1:]), OBSERVATIONS[1:]], strict=True):
            assert line.strip("| ").split(" | ")[1:] == [
                precision_and_recall(pairs, names, label) for label in (P, N, U)
            ]


def precision_and_recall(pairs, names, label):
    """Both in percent, and of how many that were wanted: over some observations together."""
    cells = [(wanted.get(name) is label, found.get(name) is label) for wanted, found in pairs for name in names]
    n_right = sum(both == (True, True) for both in cells)
    n_wanted, n_found = (sum(both[place] for both in cells) for place in (0, 1))
    return f"{100 * n_right / n_found:.0f}, {100 * n_right / n_wanted:.0f} ({n_wanted})"


def test_a_sentence_that_repeats_itself_is_read_in_parts_and_in_time():
    told = label_report("no pneumothorax. " + "pleural effusion " * 600)
    assert told == {"Pneumothorax": Label.NEGATIVE, "Pleural Effusion": Label.POSITIVE}
