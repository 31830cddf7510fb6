"""The embedded labeler, on cases that each would catch a rule gone wrong, and on the committed sentences."""

import csv
from pathlib import Path

import pytest

from cxrobust.radiology_reports.labeler import Label, label_report, mentions, sentences, speaks_english
from cxrobust.radiology_reports.phrases import OBSERVATIONS

P, N, U = Label.POSITIVE, Label.NEGATIVE, Label.UNCERTAIN
SENTENCES = Path(__file__).parent / "sentences.csv"


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
    right = 0
    assert len(rows) == 867
    assert (
        sum(speaks_english(row["text"]) for row in rows) == 867 - 12
    )  # these have no word of English alone, nor a finding
    for row in rows:
        pairs = (one.strip().split("=") for one in row["labels"].split(";") if one.strip())
        right += read(row["text"]) == {name: Label[value.upper()] for name, value in pairs}
    assert len(rows) == len({row["text"] for row in rows}) >= 500
    assert right / len(rows) > 0.9


def test_a_sentence_that_repeats_itself_is_read_in_parts_and_in_time():
    told = label_report("no pneumothorax. " + "pleural effusion " * 600)
    assert told == {"Pneumothorax": Label.NEGATIVE, "Pleural Effusion": Label.POSITIVE}
