"""Judges: scores, people real and simulated, language models here and behind an endpoint, and what they get wrong."""

import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from cxrobust import files
from cxrobust.errors import DataError
from cxrobust.radiology_reports.judges import NO_REFERENCE, Case, Desk, by_grades, grading, judge
from cxrobust.radiology_reports.judges.asking import INSTRUCTIONS, NONSENSE, verdict
from cxrobust.radiology_reports.judges.people import NOT_ASKED

REFERENCE = "Small left pleural effusion. No pneumothorax."
RIGHT, WRONG, PARTLY = "There is a small effusion.", "Large pneumothorax.", "Pleural effusion and pneumothorax."
CASE = Case(image="a", reference=REFERENCE, texts=(RIGHT, WRONG, PARTLY))


def make(kind, **settings):
    table = {"name": "j", "kind": kind, **settings}
    return judge[kind].model_validate_json(json.dumps(table))


def choices(judgement):
    return [one.choice for one in judgement.decisions]


def test_the_labelers_f1_prefers_the_report_of_the_same_findings():
    (found,) = make("score", score="labeler-f1").judge([CASE], Desk())
    assert found.grades == (1.0, 0.0, pytest.approx(2 / 3))
    assert choices(found) == ["first", "first", "second"]


def test_word_overlap_by_hand_and_ties_within_the_margin():
    (found,) = make("score", score="word-overlap", tie=0.2).judge(
        [Case(image="a", reference="no effusion seen", texts=("no effusion", "effusion seen today", "clear"))], Desk()
    )
    assert found.grades == (pytest.approx(0.8), pytest.approx(2 / 3), 0.0)
    assert choices(found) == ["tie", "first", "first"]


@pytest.mark.parametrize("pair", [(0.6, 0.4), (0.8, 0.6), (0.3, 0.1), (1.0, 0.8)])
def test_rounding_decides_no_tie(pair):
    """All of these differ by 0.2, and 0.8 - 0.6 is more than 0.2 in binary."""
    assert choices(by_grades(pair, ("", ""), tie=0.2)) == ["tie"]
    assert choices(by_grades(pair, ("", ""), tie=0.1999)) == ["first"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("score", {"score": "labeler-f1"}), ("score", {"score": "word-overlap"}), ("simulated-person", {"noise": 0.1})],
)
def test_identity_of_a_judge_by_rules_of_ours_changes_with_their_source(kind, settings, monkeypatch):
    before = make(kind, **settings).identity()
    assert make(kind, **settings).identity() == before
    hashed = files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: "" if path.name == "labeler.py" else hashed(path))
    after = make(kind, **settings).identity()
    assert {key for key in before if before[key] != after[key]} == {"source"}


def test_what_cannot_be_scored_has_no_grade_and_a_reason():
    without = Case(image="b", reference=None, texts=(RIGHT, WRONG))
    foreign = Case(image="c", reference=REFERENCE, texts=("Kein Erguss.", RIGHT))
    german = Case(image="d", reference="Unauffälliger Befund.", texts=(RIGHT, WRONG))
    found = make("score", score="labeler-f1").judge([without, foreign, german], Desk())
    assert found[0].grades == (None, None)
    assert set(found[0].reasons) == {NO_REFERENCE}
    assert found[1].grades == (None, 1.0)
    assert found[1].reasons == ("a report that is not English", "")
    assert choices(found[1]) == [None]
    assert found[2].reasons == ("a reference that is not English",) * 2


def test_an_unknown_score_is_refused_with_those_that_are_known():
    with pytest.raises(ValidationError, match="did you mean 'labeler-f1'"):
        make("score", score="labeller-f1")


def test_any_score_of_reports_judges_and_one_without_a_better_side_does_not():
    pytest.importorskip("rouge_score")
    texts = ("small left effusion", "no pneumothorax is seen today", "clear lungs")
    (found,) = make("score", score="rouge-l").judge([Case(image="a", reference=REFERENCE, texts=texts)], Desk())
    assert found.grades[0] == pytest.approx(2 * 3 / (3 + 6))  # in common: small left effusion, of 3 and of 6 words
    assert found.grades[2] == 0
    (found,) = make("score", score="f1-14-micro").judge(
        [Case(image="a", reference=REFERENCE, texts=(RIGHT, WRONG))], Desk()
    )
    assert found.grades == (1.0, 0.0)
    with pytest.raises(ValidationError, match="no report is better"):
        make("score", score="words")


def test_a_score_that_needs_settings_takes_those_of_the_study_and_keeps_its_grades(tmp_path, monkeypatch):
    with pytest.raises(ValidationError, match=r"needs settings: write them in \[scores.bertscore\]"):
        make("score", score="bertscore")
    from cxrobust.radiology_reports.scores.chexpert import Chexpert

    asked = []
    by_score = grading._by_score
    monkeypatch.setattr(grading, "_by_score", lambda *given: asked.append(len(given[2])) or by_score(*given))
    case = Case(image="a", reference="Effusion.", texts=("Possible effusion.", "Nodule.", "Kein Befund."))
    for uncertain, grade in (("positive", 1.0), ("negative", 0.0)):
        table = json.dumps({"name": "j", "kind": "score", "score": "f1-14-micro"})
        scorers = {"chexpert": Chexpert(uncertain=uncertain)}
        one = judge["score"].model_validate_json(table, context={"scorers": scorers})
        (found,) = one.judge([case], Desk(answers=tmp_path))
        assert found.grades == (grade, 0.0, None)
        assert found.reasons[2] == "report not English"
        assert one.judge([case], Desk(answers=tmp_path)) == [found]
    assert asked == [3, 3]  # each settings once, and what is kept never again


def test_a_score_of_which_less_is_better_prefers_the_report_with_less_of_it(tmp_path):
    """Errors that answers of GREEN count; ids are places among the reports that are scored together."""
    from cxrobust.radiology_reports.scores.green import Green

    counts = {RIGHT: 0, WRONG: 4, PARTLY: 1}
    form = "[Clinically Significant Errors]:\n(a) False report: {}.\n\n[Matched Findings]:\n2. A; B"
    lines = [{"id": str(place), "answer": form.format(counts[text])} for place, text in enumerate(CASE.texts)]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(map(json.dumps, lines)))
    for score, grades in (("green-errors", (0.0, -4.0, -1.0)), ("green", (1.0, 2 / 6, 2 / 3))):
        table = json.dumps({"name": "j", "kind": "score", "score": score})
        one = judge["score"].model_validate_json(table, context={"scorers": {"green": Green(answers=answers)}})
        (found,) = one.judge([CASE], Desk())
        assert found.grades == pytest.approx(grades)
        assert choices(found) == ["first", "first", "second"]


def test_a_simulated_person_errs_as_often_as_stated_and_always_alike():
    cases = [Case(image=str(i), reference=REFERENCE, texts=(RIGHT, WRONG)) for i in range(2000)]
    noisy = make("simulated-person", noise=0.25)
    found = [choices(one)[0] for one in noisy.judge(cases, Desk())]
    assert 0.22 < found.count("second") / len(found) < 0.28
    turned = [Case(image=one.image, reference=REFERENCE, texts=(WRONG, RIGHT)) for one in reversed(cases)]
    again = [choices(one)[0] for one in noisy.judge(turned, Desk())][::-1]
    assert [{"first": "second", "second": "first"}[one] for one in again] == found
    assert {choices(one)[0] for one in make("simulated-person", noise=0.0).judge(cases[:50], Desk())} == {"first"}
    other = [choices(one)[0] for one in make("simulated-person", noise=0.25, seed=1).judge(cases, Desk())]
    assert other != found


def test_people_vote_by_text_in_any_order(tmp_path):
    rows = [
        {"image": "a", "first": RIGHT, "second": WRONG, "preferred": "first"},
        {"image": "a", "first": WRONG.replace(" ", "\n"), "second": RIGHT, "preferred": "second"},
        {"image": "a", "first": RIGHT, "second": WRONG, "preferred": "second"},
        {"image": "a", "first": PARTLY, "second": RIGHT, "preferred": ""},
        {"image": "a", "first": PARTLY, "second": WRONG, "preferred": "tie"},
        {"image": "b", "first": PARTLY, "second": RIGHT, "preferred": "first"},
    ]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (found,) = make("people", file=str(file)).judge([CASE], Desk())
    assert choices(found) == ["first", None, "tie"]
    assert found.decisions[1].why == NOT_ASKED
    assert found.grades == (1.0, 0.25, 0.5)


@pytest.mark.parametrize(
    ("first", "second", "tie", "meant"),
    [
        (1, 1, 0, "tie"),
        (1, 0, 1, "first"),  # as many say that neither is better: the report that somebody prefers
        (0, 1, 1, "second"),
        (2, 1, 2, "first"),
        (1, 2, 2, "second"),
        (1, 0, 2, "tie"),
        (1, 1, 3, "tie"),
        (2, 2, 1, "tie"),
        (3, 2, 0, "first"),
    ],
)
@pytest.mark.parametrize("texts", [(RIGHT, WRONG), (WRONG, RIGHT)])
def test_votes_of_people_are_counted_as_documented(first, second, tie, meant, texts, tmp_path):
    """Whichever report stands first in the alphabet, in the file and among the samples."""
    votes = ["first"] * first + ["second"] * second + ["tie"] * tie
    rows = [{"image": "a", "first": texts[0], "second": texts[1], "preferred": vote} for vote in votes]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    case, turned = (Case(image="a", reference=REFERENCE, texts=order) for order in (texts, texts[::-1]))
    (found, other) = make("people", file=str(file)).judge([case, turned], Desk())
    assert choices(found) == [meant]
    assert choices(other) == [{"first": "second", "second": "first", "tie": "tie"}[meant]]


def test_lines_of_people_on_reports_that_are_none_of_these_are_named(tmp_path):
    rows = [
        {"image": "a", "first": RIGHT, "second": WRONG, "preferred": "first"},
        {"image": "a", "first": RIGHT, "second": f"{WRONG} Edited.", "preferred": "first"},
        {"image": "z", "first": RIGHT, "second": WRONG, "preferred": "tie"},
        {"image": "a", "first": "x", "second": "y", "preferred": ""},
        {"image": "a", "first": "x", "second": "y", "preferred": "tie"},
    ]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert make("people", file=str(file)).strays([CASE]) == [
        "line 2: no such second report",
        "line 3: no image 'z'",
        "line 5: no such first and second report",
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"image": "a", "first": "x", "second": "y", "preferred": "left"}], "line 1: preferred is 'left'"),
        ([{"image": "a", "first": "x", "second": "y", "prefered": "tie"}], "did you mean 'prefered'"),
        ([{"image": "a", "first": "x ", "second": "x", "preferred": "tie"}], "line 1: both reports are the same"),
    ],
)
def test_a_file_of_preferences_that_is_wrong_is_refused_by_line(tmp_path, rows, said):
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(said)):
        make("people", file=str(file)).check()


@pytest.mark.parametrize("content", ["", "image,first,second,preferred\n", "image,first,second,preferred\na,x,y,\n"])
def test_a_file_in_which_nobody_prefers_anything_is_named(tmp_path, content):
    file = tmp_path / "people.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=r"people\.csv: no line says which report somebody prefers"):
        make("people", file=str(file)).check()


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("Verdict: A", "first"),
        ("A names the effusion.\n**Verdict:** B", "second"),
        ("verdict: A ... on reflection\nVerdict: tie", "tie"),
        ("[B]", "second"),
        ("Report A", "first"),
        ("As an AI I cannot say", None),
        ("Verdict: about the same", None),
        ("", None),
        ("Both A and B are fine", None),
        ("Verdict: a tie", "tie"),
        ("a tie", "tie"),
        ("**Verdict**: *Report B*.", "second"),
        ("### Verdict\n\n**B**", "second"),
        ("My verdict rests on the effusion.\nVerdict: B", "second"),
        ("Verdict: A\nThat verdict rests on the effusion.", "first"),
        ("I give a verdict as asked. Verdict: B", "second"),
        ("Verdict: a draw", None),
        ("Verdict: A or B", None),
        ("Verdict: A/B", None),
        ("Verdict: A and B are equal", None),
        ("verdict: a clear win for report B.", None),
        ("Verdict: A\nVerdict: a draw after all", None),
        ("Verdict: A. Verdict: B", None),
        (INSTRUCTIONS, None),
        ('Options: "Verdict: A", "Verdict: B", or "Verdict: tie"', None),
        (f"{INSTRUCTIONS}\n\nVerdict: B", "second"),
        ("<think>Verdict: A</think> I cannot say", None),
        ("<think>Verdict: A", None),
        ("Verdict: A</think>\nVerdict: B", "second"),
        ("<think>\nVerdict: A\n</think>\n\nB", "second"),
    ],
)
def test_a_verdict_is_read_or_nothing_is(answer, meant):
    assert verdict(answer) == meant


@contextmanager
def endpoint(answer, *, at_once=None):
    """Serve chat completions; `answer` takes the question and returns a text or (status, body).

    After the first `at_once` bytes each comes alone, a while after the one before.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body, dict(self.headers)))
            said = answer(body["messages"][0]["content"])
            status, text = said if isinstance(said, tuple) else (200, None)
            content = text or json.dumps({"choices": [{"message": {"content": said}}]})
            whole = f"HTTP/1.0 {status} said\r\n\r\n{content}".encode()
            try:
                self.wfile.write(whole[:at_once])
                for byte in whole[len(whole[:at_once]) :]:
                    time.sleep(0.1)
                    self.wfile.write(bytes([byte]))
            except OSError:
                pass  # who asked has gone

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shown(question):
    return re.search(r"Report A:\n(.*)\n\nReport B:\n(.*)\n\nEnd", question).groups()


def prefers_effusion(question):
    first, second = ("small" in one for one in shown(question))
    return "Verdict: tie" if first == second else f"One is right.\nVerdict: {'A' if first else 'B'}"


def test_an_endpoint_is_asked_in_both_orders_and_answers_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    with endpoint(prefers_effusion) as (url, asked):
        one = make("endpoint", url=url, model="judge-7b", key_variable="JUDGE_KEY")
        (found,) = one.judge([CASE], Desk(answers=tmp_path))
        (again,) = one.judge([CASE], Desk(answers=tmp_path))
    assert choices(found) == ["first", "first", "tie"]
    assert found.grades == (1.0, 0.25, 0.25)
    assert [d.orders for d in found.decisions] == [("first", "first"), ("first", "first"), ("tie", "tie")]
    assert again == found
    assert len(asked) == 6  # three pairs, twice each, and nothing the second time
    path, body, headers = asked[0]
    assert (path, body["model"], body["temperature"]) == ("/v1/chat/completions", "judge-7b", 0)
    assert headers["Authorization"] == "Bearer s3cret"
    assert REFERENCE in body["messages"][0]["content"]
    written = "".join(file.read_text() for file in tmp_path.iterdir())
    assert "s3cret" not in written + json.dumps(one.identity())


def test_a_judge_that_always_takes_the_first_ties_and_shows_its_bias():
    with endpoint(lambda question: "Verdict: A") as (url, _):
        (found,) = make("endpoint", url=url, model="m").judge([CASE], Desk())
    assert choices(found) == ["tie"] * 3
    assert {d.orders for d in found.decisions} == {("first", "second")}


def test_nonsense_and_timeouts_are_counted_and_asked_again_only_where_nothing_came(tmp_path):
    slow = threading.Event()

    def answer(question):
        if WRONG in question and PARTLY in question:
            return "I like both."
        if PARTLY in question and not slow.is_set():
            time.sleep(0.6)
        return prefers_effusion(question)

    with endpoint(answer) as (url, asked):
        one = make("endpoint", url=url, model="m", timeout=0.25, retries=0)
        (found,) = one.judge([CASE], Desk(answers=tmp_path))
        assert choices(found) == ["first", None, None]
        assert [d.why for d in found.decisions] == ["", "no answer within 0.25 s", NONSENSE]
        assert found.grades == (1.0, 0.0, None)
        slow.set()
        before = len(asked)
        (again,) = one.judge([CASE], Desk(answers=tmp_path))
        assert choices(again) == ["first", "first", None]
        assert len(asked) - before == 2


@pytest.mark.parametrize("at_once", [0, 30])
def test_an_answer_that_comes_a_byte_at_a_time_has_no_more_time_than_any_other(at_once):
    """The head of an answer has 21 bytes: one server drips it, the other what comes after."""
    two = Case(image="a", reference=REFERENCE, texts=(RIGHT, WRONG))
    with endpoint(prefers_effusion, at_once=at_once) as (url, _):
        (found,) = make("endpoint", url=url, model="m", timeout=0.35, retries=0).judge([two], Desk())
    assert [d.why for d in found.decisions] == ["no answer within 0.35 s"]


def test_questions_that_are_refused_are_counted_and_all_of_them_are_an_error(tmp_path, monkeypatch):
    """As vLLM answers one that is longer than the model reads; each names another length."""
    monkeypatch.setattr("cxrobust.radiology_reports.judges.endpoint.MOST_IN_A_ROW", 2)
    long = [Case(image=str(n), reference=REFERENCE, texts=("effusion " * n, RIGHT)) for n in (900, 9000)]

    def answer(question):
        said = json.dumps({"message": f"maximum context length is 4096 tokens, you requested {len(question)}"})
        return (400, said) if len(question) > 5000 else prefers_effusion(question)

    with endpoint(answer) as (url, asked):
        one = make("endpoint", url=url, model="m", at_once=1)
        found = one.judge([*long, CASE], Desk(answers=tmp_path))
        why = 'HTTP status 400 ({"message": "maximum context length is … tokens, you requested …"})'
        assert [[d.why for d in each.decisions] for each in found] == [[why], [why], [""] * 3]
        assert choices(found[2]) == ["first", "first", "tie"]
        assert found[0].grades == (None, None)
        assert len(asked) == 10
        assert one.judge([*long, CASE], Desk(answers=tmp_path)) == found  # those that are refused are asked again
        assert len(asked) == 14
        with pytest.raises(
            DataError,
            match=r"none of 4 questions has an answer, the first with HTTP status 400 \(.*\): correct its keys$",
        ):
            one.judge(long, Desk(answers=tmp_path))


def test_a_message_without_a_text_is_no_answer_and_is_asked_again(tmp_path):
    """As of a model whose thoughts `max_tokens` ends."""
    thinking = json.dumps({"choices": [{"finish_reason": "length", "message": {"content": None}}]})
    done = []

    def answer(question):
        return prefers_effusion(question) if PARTLY not in question or done else (200, thinking)

    with endpoint(answer) as (url, asked):
        one = make("endpoint", url=url, model="m")
        (found,) = one.judge([CASE], Desk(answers=tmp_path))
        assert choices(found) == ["first", None, None]
        assert found.decisions[1].why.startswith("an answer without a text")
        done.append(True)
        (again,) = one.judge([CASE], Desk(answers=tmp_path))
        assert choices(again) == ["first", "first", "tie"]
        assert len(asked) == 10
    never = pytest.raises(
        DataError, match=r"none of 6 questions has an answer, the first with an answer without.*: raise max_tokens$"
    )
    with endpoint(lambda question: (200, thinking)) as (url, _), never:
        make("endpoint", url=url, model="m").judge([CASE], Desk())


def test_half_a_surrogate_pair_in_a_report_or_an_answer_is_a_question_mark(tmp_path):
    said = '{"choices": [{"message": {"content": "\\ud83d Verdict: tie"}}]}'
    half = Case(image="a", reference="Effusion \ud83d.", texts=(RIGHT, f"{WRONG} \ud83d"))
    with endpoint(lambda question: (200, said)) as (url, asked):
        one = make("endpoint", url=url, model="m")
        (found,) = one.judge([half], Desk(answers=tmp_path))
        assert one.judge([half], Desk(answers=tmp_path)) == [found]
    assert choices(found) == ["tie"]
    assert len(asked) == 2
    assert "Effusion ?." in asked[0][1]["messages"][0]["content"]
    (file,) = tmp_path.iterdir()
    assert {json.loads(line)["answer"] for line in file.read_text().splitlines()} == {"? Verdict: tie"}


@pytest.mark.parametrize("body", ['{"choices": [{"message": {"content": ["A"]}}]}', "[" * 100_000])
def test_an_answer_of_another_form_is_none(body):
    two = Case(image="a", reference=REFERENCE, texts=(RIGHT, WRONG))
    with endpoint(lambda question: (200, body)) as (url, _):
        (found,) = make("endpoint", url=url, model="m").judge([two], Desk())
    assert [d.why for d in found.decisions] == ["an answer of another form than chat completions have"]


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_ends_it(tmp_path):
    failed = []

    def busy(question):
        if len(failed) < 2:
            failed.append(question)
            return 503, "busy"
        return prefers_effusion(question)

    with endpoint(busy) as (url, _):
        (found,) = make("endpoint", url=url, model="m", at_once=1).judge([CASE], Desk())
        assert choices(found) == ["first", "first", "tie"]
    for status in (401, 403, 404):
        refused = pytest.raises(DataError, match=rf"HTTP status {status} \(who are you\?\)")
        with endpoint(lambda question, status=status: (status, "who are you?")) as (url, asked), refused:
            make("endpoint", url=url, model="m", at_once=1).judge([CASE], Desk())
        assert len(asked) == 1
    with pytest.raises(DataError, match="cannot be reached"):
        make("endpoint", url="http://127.0.0.1:9/v1", model="m", retries=0).judge([CASE], Desk())


def test_an_endpoint_that_never_answers_ends_after_many_questions(monkeypatch):
    monkeypatch.setattr("cxrobust.radiology_reports.judges.endpoint.MOST_IN_A_ROW", 4)
    ended = pytest.raises(DataError, match="4 questions in a row had no answer")
    with endpoint(lambda question: (200, "no JSON")) as (url, asked), ended:
        make("endpoint", url=url, model="m", at_once=2).judge([CASE], Desk())
    assert len(asked) == 4


def test_an_answer_between_questions_without_one_keeps_an_endpoint_going(monkeypatch):
    """Three of four questions have no answer, and never four in a row."""
    monkeypatch.setattr("cxrobust.radiology_reports.judges.endpoint.MOST_IN_A_ROW", 4)
    seen = []

    def every_fourth(question):
        seen.append(question)
        return "Verdict: tie" if len(seen) % 4 == 0 else (200, "no JSON")

    cases = [Case(image=str(n), reference=REFERENCE, texts=(RIGHT, f"{WRONG} {n}")) for n in range(6)]
    with endpoint(every_fourth) as (url, asked):
        found = make("endpoint", url=url, model="m", at_once=1).judge(cases, Desk())
    assert len(asked) == 12
    assert len(found) == 6


def test_the_key_must_be_there_and_the_address_an_address(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(DataError, match="JUDGE_KEY is not set"):
        make("endpoint", url="http://localhost/v1", model="m", key_variable="JUDGE_KEY").check()
    for url in ("localhost:8000", "file:///etc/passwd", "https://user:key@host/v1"):
        with pytest.raises(ValidationError, match="no address of an endpoint"):
            make("endpoint", url=url, model="m")


def test_a_line_of_answers_that_was_cut_off_is_asked_again(tmp_path):
    with endpoint(prefers_effusion) as (url, asked):
        one = make("endpoint", url=url, model="m")
        (found,) = one.judge([CASE], Desk(answers=tmp_path))
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[:-20])
        assert one.judge([CASE], Desk(answers=tmp_path)) == [found]
        assert len(asked) == 7
        file.write_bytes(file.read_bytes().replace(b"Verdict: A", b"Verdict: B", 1))  # one kept answer is tampered with
        assert one.judge([CASE], Desk(answers=tmp_path)) == [found]
        assert len(asked) == 8


def test_without_a_reference_a_judge_that_needs_one_says_so():
    case = Case(image="a", reference=None, texts=(RIGHT, WRONG))
    with endpoint(lambda question: "Verdict: A" if question.startswith("small") else "Verdict: B") as (url, asked):
        (found,) = make("endpoint", url=url, model="m").judge([case], Desk())
        assert found.reasons == (NO_REFERENCE,) * 2
        assert not asked
        own = make("endpoint", url=url, model="m", instructions="{first} or {second}?")
        (found,) = own.judge([Case(image="a", reference=None, texts=("small {second}", "large"))], Desk())
    assert choices(found) == ["first"]
    assert asked[0][1]["messages"][0]["content"] in {"small {second} or large?", "large or small {second}?"}


@pytest.fixture(scope="module")
def tiny_judge(tmp_path_factory):
    """A causal language model of random weights with a tokenizer of words, as transformers keeps them."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "<s>", "</s>", "Verdict", ":", "A", "B", "tie", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("judge")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder


def test_a_local_model_is_asked_in_both_orders_and_its_nonsense_is_counted(tiny_judge, tmp_path):
    one = make("language-model", model=str(tiny_judge), max_tokens=6)
    (found,) = one.judge([CASE], Desk(answers=tmp_path, device="cpu"))
    (file,) = tmp_path.iterdir()
    answers = [json.loads(line)["answer"] for line in file.read_text().splitlines()]
    assert len(answers) == 6
    assert all(isinstance(answer, str) for answer in answers)
    for decision in found.decisions:  # random weights say what they say; what is no verdict is not made one
        assert (decision.choice is None) == (decision.why == NONSENSE)
    alone = make("language-model", model=str(tiny_judge), max_tokens=6, batch=1)
    assert alone.identity() == one.identity()
    assert alone.judge([CASE], Desk(device="cpu")) == [found]


def test_what_a_local_model_writes_after_the_question_is_its_verdict(tiny_judge, tmp_path):
    """A network without attention writes `Verdict : A` after any last word, whichever report is shown as A."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(tiny_judge)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_judge)
    shutil.copytree(tiny_judge, tmp_path / "judge")
    verdict, colon, first, end = (tokenizer.convert_tokens_to_ids(word) for word in ("Verdict", ":", "A", "</s>"))
    follows = {verdict: colon, colon: first, first: end}
    config = model.config
    config.hidden_size = size = config.vocab_size + -config.vocab_size % 4
    config.head_dim = size // 2
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1 if "norm" in name else 0)
        for token in range(config.vocab_size):
            model.model.embed_tokens.weight[token, token] = 1
            model.lm_head.weight[follows.get(token, verdict), token] = 1
    model.save_pretrained(tmp_path / "judge")
    (found,) = make("language-model", model=str(tmp_path / "judge"), max_tokens=6).judge(
        [CASE], Desk(answers=tmp_path / "answers", device="cpu")
    )
    (file,) = (tmp_path / "answers").iterdir()
    answers = [json.loads(line)["answer"].split() for line in file.read_text().splitlines()]
    assert answers == [["Verdict", ":", "A"]] * 6
    shown_first = ("first", "second")
    assert [(one.choice, one.orders) for one in found.decisions] == [("tie", shown_first)] * 3


def test_a_question_longer_than_the_model_reads_is_counted(tiny_judge):
    long = Case(image="a", reference=REFERENCE, texts=("effusion " * 600, RIGHT))
    (found,) = make("language-model", model=str(tiny_judge), max_tokens=4).judge([long], Desk(device="cpu"))
    assert found.decisions[0].why == "a question longer than the model's 512 tokens"


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        make("language-model", model=str(tmp_path / "nowhere")).check()
