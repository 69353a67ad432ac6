"""`tonewatch evaluate` as a command: figures on standard output, a page, and one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.types import Task
from tests.support.command import rejection, run_command
from tests.support.tones import ToneModel, tone, tone_loader, tone_loader_with_vad, wav

pytestmark = pytest.mark.slow

LEVELS = {"neutral": 0.2, "happy": 0.4, "angry": 0.6, "sad": 0.9}
NO_TABLE = "{} has no calibration, so there is no reliability table."
PITCHES = {"ann": 300.0, "bob": 1_300.0, "cat": 2_300.0}


def evaluate(*words: object) -> str:
    """Return the standard output of a successful command."""
    result = run_command("evaluate", *words)
    assert result.code == 0, result.errors
    return result.output


def figures(*words: object) -> Any:
    """Return what `--json` prints, which must be strict JSON and nothing else."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(evaluate(*words, "--json"), parse_constant=refuse)


def rejected(*words: object, code: int = 2) -> str:
    return rejection("evaluate", *words, code=code)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three people, two takes of four emotions each, and a corpus of one silent recording."""
    lines = ["path,speaker,emotion,set"]
    for who, hz in PITCHES.items():
        for emotion, level in LEVELS.items():
            name = f"{who}-{emotion}.wav"
            wav(tmp_path / name, tone(hz, 3.5, level=level, seed=len(lines)))
            lines.append(f"{name},{who},{emotion},tones")
    wav(tmp_path / "silence.wav", np.zeros(32_000, np.float32))
    lines.append("silence.wav,,sad,silence")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def conversation(tmp_path: Path) -> tuple[Path, Path]:
    """A conversation of two tones in a folder, with its RTTM."""
    turns = [("ann", 0.0, 5.0), ("bob", 6.5, 11.5), ("ann", 13.0, 18.0)]
    audio = np.zeros(20 * 16_000, np.float32)
    for who, start, end in turns:
        part = tone(PITCHES[who], end - start)
        audio[int(start * 16_000) : int(start * 16_000) + len(part)] = part
    wav(tmp_path / "audio" / "talk.wav", audio)
    rttm = tmp_path / "talk.rttm"
    rttm.write_text("".join(f"SPEAKER talk 1 {s} {e - s} <NA> <NA> {who} <NA> <NA>\n" for who, s, e in turns))
    return tmp_path / "audio", rttm


@pytest.mark.usefixtures("tone_models")
class TestEmotion:
    def test_figures(self, manifest: Path) -> None:
        found = figures("emotion", manifest)["emotion-campplus"]
        assert list(found) == ["tones", "silence"]
        assert found["tones"]["unweighted_average_recall"] == 1.0
        assert found["tones"]["scored"] == 12
        assert set(found["tones"]["by_speaker"]) == set(PITCHES)
        assert found["silence"] == {"utterances": 1, "scored": 0, "left_out": {}}

    def test_table_and_page(self, manifest: Path, tmp_path: Path) -> None:
        page = tmp_path / "emotion.html"
        text = evaluate("emotion", manifest.parent, "--html", page)
        assert "UAR, answered" in text
        assert text.splitlines()[4].startswith("High against low arousal"), "after a heading and a line for each corpus"
        assert text.splitlines()[2].split()[:5] == ["emotion-campplus", "silence", "1", "0", "–"]
        html = page.read_text(encoding="utf-8")
        assert html.count("<svg") == 2
        assert "rolling: flaps_per_minute" in html

    def test_recordings_without_labels_show_the_labels_they_get(self, manifest: Path) -> None:
        rows = manifest.read_text(encoding="utf-8").splitlines()
        loud = next(row.split(",")[0] for row in rows if "angry" in row)
        manifest.write_text(f"path,speaker,set\n{loud},ann,noise\nsilence.wav,,noise\n")
        found = figures("emotion", manifest)["emotion-campplus"]["noise"]
        assert (found["utterances"], found["scored"], found["with_an_emotion"]) == (2, 1, 0.5)
        assert found["live"]["angry"] == 1.0
        assert "share of each live label" in evaluate("emotion", manifest)

    @pytest.mark.long
    def test_a_telephone_and_joined_recordings_add_figures(self, manifest: Path) -> None:
        found = figures("emotion", manifest, "--only", "tones", "--telephone", "--changes")["emotion-campplus"]
        assert list(found) == ["tones", "tones, telephone"]
        changes = found["tones"]["changes"]
        assert changes["label_changes_per_minute"] == 0.0
        assert changes["steady_minutes"] > 0

    def test_two_models(self, manifest: Path) -> None:
        found = figures("emotion", manifest, "--only", "tones", "--compare", "one", "two")
        assert list(found) == ["one", "two"]
        assert found["one"] == found["two"]

    def test_two_folders_of_equal_name_have_two_labels(self, manifest: Path) -> None:
        found = figures("emotion", manifest, "--only", "tones", "--compare", "old/model", "new/model")
        assert list(found) == ["model", "model (new/model)"]

    def test_errors(self, manifest: Path, tmp_path: Path) -> None:
        assert "unknown corpus 'x'" in rejected("emotion", manifest, "--only", "x")
        assert "is neither a manifest nor a folder" in rejected("emotion", tmp_path / "absent.csv")
        assert "no model called 'absent'" in rejected("emotion", manifest, "--model", "absent")
        assert "needs a model for emotion; set models.emotion.name" in rejected("emotion", manifest, "--model", "")
        assert "exclude each other" in rejected("emotion", manifest, "--model", "one", "--compare", "one", "two")
        assert "unknown setting" in rejected("emotion", manifest, "--set", "gate.high=1")
        manifest.write_text("file,speaker\nsilence.wav,ann\n")
        assert "has no column `path`" in rejected("emotion", manifest)

    def test_a_file_without_audio_is_named(self, manifest: Path) -> None:
        (manifest.parent / "silence.wav").write_text("hello")
        message = rejected("emotion", manifest, code=1)
        assert "cannot read audio from" in message
        assert "silence.wav" in message

    def test_a_failure_to_write_the_page_loses_no_figures(self, manifest: Path, tmp_path: Path) -> None:
        page = tmp_path / "absent" / "x.html"
        words = ["evaluate", "emotion", str(manifest), "--only", "tones", "--json", "--html", str(page)]
        result = run_command(*words)
        assert result.code == 1
        assert "x.html cannot be written" in result.errors
        assert "tones" in json.loads(result.output)["emotion-campplus"]


@pytest.mark.usefixtures("tone_models")
class TestSpeaker:
    def test_figures(self, manifest: Path, tmp_path: Path) -> None:
        page = tmp_path / "speaker.html"
        found = figures("speaker", manifest, "--html", page)["speaker-campplus"]
        assert found["recordings"] == 12, "a recording without a speaker is left out"
        row = found["corpora"]["tones"]["3"]
        assert row["eer"] == 0.0
        assert (row["pairs_same"], row["pairs_different"]) == (3 * 6, 3 * 16)
        assert page.read_text(encoding="utf-8").count("<svg") == 2

    def test_table(self, manifest: Path) -> None:
        text = evaluate("speaker", manifest, "--compare", "one", "two")
        assert "minDCF" in text
        *rows, one, two = text.splitlines()
        assert len(rows) == 1 + 2 * 5, "a row for each of two models and 1, 1.5, 2, 3 s and all"
        assert (one, two) == (NO_TABLE.format("one"), NO_TABLE.format("two"))

    def test_reliability_table(self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = ToneModel(Task.SPEAKER)
        model.info = replace(model.info, calibration=(20.0, 0.5, 0.0))
        monkeypatch.setattr("stream.app.assembly.load_models", tone_loader({Task.SPEAKER: model}))
        page = tmp_path / "speaker.html"
        words = ("speaker", manifest, "--speech", 2, "--speech", 1)
        found = figures(*words)["tone-speaker"]
        assert list(found["corpora"]["tones"]) == ["2", "1"]
        table = found["reliability"]["tones"]["2"]
        # four recordings of 3.5 s a person, each a crop of 2 s, and three of 1 s
        assert (table["trials_same"], table["trials_different"]) == (3 * 4, 3 * 2 * 4)
        assert found["reliability"]["tones"]["1"]["trials_same"] == 3 * 4 * 3
        assert table["bins"][-1]["same_share"] == 1.0
        assert table["expected_calibration_error"] < 0.01
        text = evaluate(*words, "--html", page)
        assert "Share of the same person" in text
        assert "1.00 (12)" in text
        assert "1.00 (12)" in page.read_text(encoding="utf-8")
        assert "speakers.threshold replaces" in evaluate(*words, "--set", "speakers.threshold=0.5")

    def test_joined_recordings_and_a_cohort(self, manifest: Path, tmp_path: Path) -> None:
        for number, hz in enumerate((700.0, 3_000.0, 4_000.0)):
            wav(tmp_path / "strangers" / f"p{number}" / "1.wav", tone(hz, 3.0))
        words = ("speaker", manifest, "--join", 2, "--cohort", tmp_path / "strangers")
        row = figures(*words)["speaker-campplus"]["corpora"]["tones"]
        assert (row["5"]["pairs_same"], row["5"]["pairs_different"]) == (3, 12), "two of seven seconds each"
        assert row["5"]["as_norm"]["eer"] == 0.0
        assert "EER, AS-norm" in evaluate(*words)

    def test_trials(self, manifest: Path, tmp_path: Path) -> None:
        trials = tmp_path / "trials.txt"
        trials.write_text("1 ann-sad.wav ann-happy.wav\n0 ann-sad.wav bob-sad.wav\n")
        found = figures("speaker", trials)["speaker-campplus"]
        row = found["corpora"]["trials"]["all"]
        assert found["reliability"] is None
        assert "a list of trials is scored on all speech" in evaluate("speaker", trials)
        assert (row["pairs_same"], row["pairs_different"], row["eer"]) == (1, 1, 0.0)
        moved = manifest.parent / "lists" / "trials.txt"
        moved.parent.mkdir()
        trials.rename(moved)
        assert "set the folder of the recordings with --root" in rejected("speaker", moved)
        assert figures("speaker", moved, "--root", manifest.parent)

    def test_errors(self, manifest: Path, tmp_path: Path) -> None:
        assert "no speaker with 9 recordings; reduce --join" in rejected("speaker", manifest, "--join", 9)
        assert "no speaker" in rejected("speaker", manifest, "--only", "silence")
        for who in ("ann", "bob"):
            wav(tmp_path / "quiet" / who / "1.wav", np.zeros(32_000, np.float32))
        assert "no pair to score" in rejected("speaker", tmp_path / "quiet")
        assert "has enough speech for a cohort" in rejected("speaker", manifest, "--cohort", tmp_path / "quiet")


@pytest.mark.usefixtures("tone_models")
class TestIdentify:
    def test_figures(self, tmp_path: Path) -> None:
        wav(tmp_path / "bass" / "1.wav", tone(200, 3.0))
        wav(tmp_path / "treble" / "1.wav", tone(1_700, 3.0))
        wav(tmp_path / "other" / "1.wav", tone(900, 3.0))
        page = tmp_path / "identify.html"
        found = figures("identify", tmp_path, "--html", page)["speaker-id-voxceleb1"]
        assert found["accuracy"] == 1.0
        assert (found["recordings"], found["strangers_left_out"]) == (2, 1)
        assert "accuracy" in page.read_text(encoding="utf-8")
        assert "accuracy" in evaluate("identify", tmp_path)
        assert list(figures("identify", tmp_path, "--set", "models.identity.name=mine")) == ["mine"]

    def test_rejected(self, manifest: Path) -> None:
        assert "has none of these speakers among its 4 labels; it has bass, tenor" in rejected("identify", manifest)


@pytest.mark.usefixtures("tone_models")
class TestStream:
    def test_figures(self, conversation: tuple[Path, Path], tmp_path: Path) -> None:
        folder, rttm = conversation
        page = tmp_path / "stream.html"
        found = figures("stream", folder, "--rttm", rttm, "--html", page)["speaker-campplus"]
        assert list(found["recordings"]) == ["talk"]
        for key in ("der", "jer", "right_share_live", "time_to_right_speaker_s", "flaps_per_minute", "speakers"):
            assert found["all"][key] is not None, key
        assert found["all"]["der"] < 0.2
        assert found["all"]["speech_s"] == pytest.approx(15 - 6 * 0.25), "a quarter of a second inside each boundary"
        assert page.read_text(encoding="utf-8").count("<svg") == 1

    def test_two_models_side_by_side(self, conversation: tuple[Path, Path]) -> None:
        preset = ("--preset", "wav2vec2")  # which names no model for emotion
        assert list(figures("stream", conversation[0], "--rttm", conversation[1], *preset)) == ["speaker-wav2vec2"]
        text = evaluate("stream", conversation[0] / "talk.wav", "--rttm", conversation[1], "--compare", "one", "two")
        heading = text.splitlines()[0].split()
        assert heading == ["figure", "one", "two"]

    def test_scored_part_collar_and_overlap(self, conversation: tuple[Path, Path], tmp_path: Path) -> None:
        uem = tmp_path / "talk.uem"
        uem.write_text("talk 1 0.0 10.0\n")
        words = ("stream", conversation[0], "--rttm", conversation[1], "--uem", uem, "--collar", 0, "--no-overlap")
        assert figures(*words)["speaker-campplus"]["all"]["speech_s"] == 8.5
        uem.write_text("talk 1 0.0\n")
        assert "line 1: invalid UEM" in rejected(*words)

    def test_known_people(self, conversation: tuple[Path, Path], tmp_path: Path) -> None:
        enrolment = wav(tmp_path / "ann.wav", tone(PITCHES["ann"], 6.0, seed=5))
        words = ("stream", conversation[0], "--rttm", conversation[1], "--set", "speakers.threshold=0.6")
        found = figures(*words, "--enroll", f"ann={enrolment}")["speaker-campplus"]["all"]
        assert found["named_right_share"] > 0.5
        assert found["false_name_rate"] is not None
        wav(conversation[0] / "talk" / "ann.wav", tone(PITCHES["ann"], 6.0, seed=5))
        assert figures(*words, "--known")["speaker-campplus"]["all"]["named_right_share"] > 0.5

    def test_errors(self, conversation: tuple[Path, Path], tmp_path: Path) -> None:
        folder, rttm = conversation
        assert "invalid --enroll 'ann'; use NAME=FILE" in rejected("stream", folder, "--rttm", rttm, "--enroll", "ann")
        assert "cannot be read as RTTM" in rejected("stream", folder, "--rttm", tmp_path / "absent.rttm")
        other = tmp_path / "other.rttm"
        other.write_text("SPEAKER meeting 1 0 2 <NA> <NA> ann <NA> <NA>\n")
        assert "the reference has no recording 'talk'; it has meeting" in rejected(
            "stream", folder / "talk.wav", "--rttm", other
        )
        assert "no recording of the reference found" in rejected("stream", folder, "--rttm", other)
        wav(tmp_path / "short.wav", tone(300, 0.5))
        words = ("stream", folder, "--rttm", rttm, "--enroll", f"ann={tmp_path / 'short.wav'}")
        assert "at least 3 s needed" in rejected(*words)
        (folder / "talk.wav").write_text("hello")
        message = rejected("stream", folder, "--rttm", rttm, code=1)
        assert "cannot read audio from" in message
        assert "talk.wav" in message
        (folder / "talk.wav").unlink()
        assert "no such file" in rejected("stream", folder / "talk.wav", "--rttm", rttm, code=1)


def test_the_bundled_conversation_behind_the_real_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.demo.conversation import AUDIO  # noqa: PLC0415

    monkeypatch.setattr("stream.app.assembly.load_models", tone_loader_with_vad)
    rttm = tmp_path / "x.rttm"
    rttm.write_text(f"SPEAKER {AUDIO.stem} 1 1.0 3.0 <NA> <NA> ann <NA> <NA>\n")
    uem = tmp_path / "x.uem"
    uem.write_text(f"{AUDIO.stem} 1 0 5\n")
    found = figures("stream", AUDIO, "--rttm", rttm, "--uem", uem)["speaker-campplus"]["all"]
    assert found["audio_s"] == 5.0
    assert found["missed"] < 0.5, "the gate passes the speech"


@pytest.mark.parametrize(("library", "command"), [("sklearn", "emotion x"), ("pyannote", "stream x --rttm x")])
def test_a_missing_extra_is_named(library: str, command: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from stream.cli.main import app; "
        f"app(['evaluate', *{command.split()!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"tonewatch: evaluation needs {library}" in done.stderr
    assert "pip install '.[evaluate]'" in done.stderr
    assert done.stderr.count("\n") == 1
