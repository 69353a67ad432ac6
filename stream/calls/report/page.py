"""A finished call or stream as one self-contained HTML page.

The page has no scripts, loads nothing and can be mailed or opened offline. It names the models and the lost audio, so
that readers can judge its reliability.
"""

from __future__ import annotations

import html as markup
from collections.abc import Sequence

from stream import __version__
from stream.calls.report.drawing import INK, LINE, SOFT, SUNK
from stream.calls.report.session import SessionRecord
from stream.calls.report.timeline import ALERT_COLOUR, SPEAKER_COLOURS, clock_text, timeline
from stream.events import CallParty
from stream.events.text import printable

CALL_HEADS = ("Share of speech", "Response time", "Angry speech")

STYLE = """
:root { color-scheme: light dark; --line: #e0dfd9; --soft: #5b5f68; }
body { margin: 0; background: #f4f4f1; color: #1d1f24; font-variant-numeric: tabular-nums;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 48px; }
header { margin-top: 40px; } header:first-child { margin-top: 0; }
h1 { font-size: 26px; margin: 0; letter-spacing: -.02em; } h2 { font-size: 15px; margin: 0 0 12px; }
header p, .soft { color: var(--soft); margin: 4px 0 0; }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; margin-top: 16px;
  overflow-x: auto; }
svg { display: block; width: 100%; min-width: 620px; height: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-size: 13px; color: var(--soft); }
th, td { padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line); } tr:last-child td { border: 0; }
.num { text-align: right; } .whole { white-space: nowrap; } .bad { color: #b3261e; } summary { cursor: pointer; }
.tiles { display: grid; gap: 10px; margin: 0 0 14px; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); }
.tiles div { background: #eeeeea; border-radius: 10px; padding: 10px 14px; }
.tiles b { display: block; font-size: 20px; }
.soft { margin-top: 20px; } @media print { body { background: #fff; } section { break-inside: avoid; } }
@media screen and (prefers-color-scheme: dark) {
:root { --line: #282c35; --soft: #a9b0bc; } body { background: #101216; color: #eceef2; }
section { background: #181b21; } .tiles div { background: #12151a; } .bad { color: #ff8a7c; } }
"""

DARK = ("#eceef2", "#a9b0bc", "#282c35", "#12151a", "#ff8a7c")
DARK_SPEAKERS = ("#8296ff", "#3fb8ae", "#dba25a", "#d783bb", "#93b85e", "#ab91f2", "#e08673", "#72b2d8")
DARK_OF = dict(zip((INK, SOFT, LINE, SUNK, ALERT_COLOUR), DARK, strict=True)) | dict(
    zip(SPEAKER_COLOURS, DARK_SPEAKERS, strict=True)
)
"""Colours of a drawing and what a dark page has in their places."""


def html(records: Sequence[SessionRecord], *, title: str) -> str:
    """Return the page of the given records."""
    return page("".join(_section(one) for one in records), title=title)


def page(parts: str, *, title: str) -> str:
    """Wrap elements into a self-contained page; `parts` is HTML, `title` is text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)} · tonewatch</title><style>{STYLE}{_dark_drawing()}</style></head><body><main>"
        f"{parts}<p class=soft>Emotion is an estimate from the sound of a voice, not a person’s feelings. An agent’s "
        "emotion is not inferred unless the operator opted in: EU AI Act, Article 5(1)(f). "
        f"Made by tonewatch {__version__}.</p></main></body></html>"
    )


def _dark_drawing() -> str:
    """Return the style of drawings in a dark page: their colours are attributes, which styles override."""
    rules = (
        f'[fill="{light}"] {{ fill: {dark}; }} [stroke="{light}"] {{ stroke: {dark}; }}'
        for light, dark in DARK_OF.items()
    )
    return f"@media screen and (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"


def section(title: str, body: str) -> str:
    """Return a section; it is reached by the keyboard, since it scrolls where the page is narrow."""
    return f'<section tabindex="0" aria-label="{title}"><h2>{title}</h2>{body}</section>'


def escape(text: str) -> str:
    """Return text as HTML, with hidden characters as escapes."""
    return markup.escape(printable(text))


def _section(recording: SessionRecord) -> str:
    started = recording.started_at.strftime("%d %B %Y, %H:%M:%S UTC") if recording.started_at else "unknown time"
    lost_s = sum(end - start for start, end, why in recording.gaps if why != "paused")
    notes = [] if recording.complete else ["the recording is incomplete"]
    notes += [f"{lost_s:.1f} s of audio lost"] if lost_s else []
    bad = f'<p class="bad">{escape("; ".join(notes).capitalize())}.</p>' if notes else ""
    models = ", ".join(f"{name} @ {revision[:12]}" for name, revision in recording.models.items())
    tiles = "".join(
        f"<div><b>{seconds_s / max(recording.end_s, 0.001):.0%}</b>{escape(name)}, {seconds_s:.1f} s</div>"
        for name, seconds_s in recording.partition()
    )
    speaking = f'<div class="tiles">{tiles}</div>{_people(recording)}'
    return (
        f"<header><h1>{escape(recording.title)}</h1>"
        f"<p>{escape(started)} · {clock_text(recording.end_s)} · {escape(models)}</p>"
        f"{_call_facts(recording)}{bad}</header>"
        f"{section('Timeline', timeline(recording).svg())}"
        f"{section('Speaking time', speaking)}"
        f"{_alerts(recording)}{_turns(recording)}"
    )


def _people(recording: SessionRecord) -> str:
    rows = []
    parties = {party.party: party for party in recording.call.parties} if recording.call is not None else {}
    for speaker in recording.speakers:
        party = next((party for name, party in parties.items() if name == speaker), None)
        shares = recording.emotions(speaker) or (party.emotion.shares if party and party.emotion else {})
        emotions = ", ".join(f"{label} {share:.0%}" for label, share in shares.items()) or (
            "not inferred" if speaker == "agent" else "–"
        )
        turns = party.turns if party else sum(turn.speaker == speaker for turn in recording.turns)
        speech_s = party.talk_s if party else recording.speech_s(speaker)
        interruptions = str(party.interruptions) if party else "–"
        longest_s = max((turn.end_s - turn.start_s for turn in recording.turns if turn.speaker == speaker), default=0.0)
        longest_s = party.longest_monologue_s if party else longest_s
        cells = [f"{speech_s:.1f} s", str(turns), f"{longest_s:.1f} s", interruptions, *_call_cells(party)]
        rows.append(
            f"<tr><td><b>{escape(speaker or 'unknown')}</b></td>"
            + "".join(f'<td class="num">{cell}</td>' for cell in cells)
            + f"<td>{escape(emotions)}</td></tr>"
        )
    names = ("Speech", "Turns", "Longest", "Interruptions", *(CALL_HEADS if parties else ()))
    heads = "".join(f'<th class="num">{head}</th>' for head in names)
    top = f"<thead><tr><th>Speaker</th>{heads}<th>Emotion of turns</th></tr></thead>"
    return f"<table>{top}<tbody>{''.join(rows)}</tbody></table>"


def _call_cells(party: CallParty | None) -> list[str]:
    """Return the figures that only a call's event has: share of speech, response gap, angry speech."""
    if party is None:
        return []
    gap = "–" if party.response_gap_s is None else f"{party.response_gap_s:.1f} s"
    return [f"{party.talk_share:.0%}", gap, "–" if party.emotion is None else f"{party.emotion.angry_s:.1f} s"]


def _call_facts(recording: SessionRecord) -> str:
    """Return who was on the call, its longest silence, the time on hold, transfers, and how it ended."""
    facts = [f"{name.replace('_', ' ')}: {text}" for name, text in recording.labels.items()]
    facts += [f"call {recording.name}"] if recording.title != recording.name else []
    if recording.call is not None:
        facts.append(f"longest silence {recording.call.longest_silence_s:.1f} s")
    if recording.hold.held_s:
        facts.append(f"on hold for {recording.hold.held_s:.0f} s")
    if recording.hold.transfers:
        facts.append(f"transferred {recording.hold.transfers}×")
    facts += [recording.ending] if recording.ending else []
    return f"<p>{escape(' · '.join(facts))}</p>" if facts else ""


def _alerts(recording: SessionRecord) -> str:
    if not recording.alerts:
        return section("Alerts", "None.") if recording.call is not None else ""
    rows = "".join(
        f"<tr><td>{clock_text(alert.start_s)}–{clock_text(alert.end_s)}</td>"
        f"<td>{escape(alert.label)}</td><td>{escape(alert.speaker)}</td></tr>"
        for alert in recording.alerts
    )
    return section("Alerts", f"<table><tbody>{rows}</tbody></table>")


def _turns(recording: SessionRecord) -> str:
    rows = "".join(
        f"<tr><td>{clock_text(turn.start_s)}–{clock_text(turn.end_s)}</td><td>{escape(turn.speaker or 'unknown')}</td>"
        f"<td>{escape(', '.join(f'{label} {share:.0%}' for label, share in turn.emotions.items()) or '–')}</td></tr>"
        for turn in recording.turns
    )
    table = f"<table><thead><tr><th>Time</th><th>Speaker</th><th>Emotion</th></tr></thead><tbody>{rows}</tbody></table>"
    return section("Turns", f"<details><summary>All {len(recording.turns)} turns</summary>{table}</details>")
