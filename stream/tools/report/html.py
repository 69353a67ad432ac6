"""A finished call or stream as one HTML file that needs nothing else, and as a picture.

The file holds no scripts, loads nothing and may be mailed; whoever opens it offline sees the same. It says on which
models it rests and what was lost, so that nobody takes it for more than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from stream import __version__
from stream.errors import SettingsError
from stream.events import Event, read_event
from stream.events.labels import ALERT_LABELS
from stream.tools.report.session import SessionRecord, recordings
from stream.tools.report.timeline import clock_text, stacked, timeline

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f4f1; color: #1d1f24; font-variant-numeric: tabular-nums;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 48px; }
header { margin-top: 40px; } header:first-child { margin-top: 0; }
h1 { font-size: 26px; margin: 0; letter-spacing: -.02em; } h2 { font-size: 15px; margin: 0 0 12px; }
header p, .soft { color: #5b5f68; margin: 4px 0 0; }
section { background: #fff; border: 1px solid #e0dfd9; border-radius: 12px; padding: 18px 20px; margin-top: 16px;
  overflow-x: auto; }
svg { display: block; width: 100%; min-width: 620px; height: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-size: 13px; color: #5b5f68; }
th, td { padding: 6px 18px 6px 0; border-bottom: 1px solid #e0dfd9; } tr:last-child td { border: 0; }
.num { text-align: right; } .whole { white-space: nowrap; } .bad { color: #b3261e; } summary { cursor: pointer; }
.tiles { display: grid; gap: 10px; margin: 0 0 14px; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); }
.tiles div { background: #eeeeea; border-radius: 10px; padding: 10px 14px; }
.tiles b { display: block; font-size: 20px; }
.soft { margin-top: 20px; } @media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def write_report(file: Path, *, out: Path, png: Path | None = None, only: str | None = None) -> list[Path]:
    """Draw a file of events. Returns what was written; raises `SettingsError` for a file that holds no events."""
    found = recordings(read_file(file))
    if only is not None:
        names = ", ".join(dict.fromkeys(one.name for one in found))
        found = [one for one in found if one.name == only]
        if not found:
            raise SettingsError(f"{file} holds nothing of {only!r}; it holds {names}")
    if not found:
        raise SettingsError(f"{file} holds no event of a stream or call; record one with --sink {file.name}")
    if out.resolve() == file.resolve() or (png is not None and png.resolve() in (file.resolve(), out.resolve())):
        raise SettingsError("the report would overwrite what it is made from; give it another name with --out")
    contents = [(out, html(found, title=file.stem).encode())]
    if png is not None:
        contents.append((png, stacked([timeline(one) for one in found]).png()))
    for path, content in contents:
        try:
            path.write_bytes(content)
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from None
    return [path for path, _ in contents]


def read_file(file: Path) -> Iterator[Event]:
    """The events of a file, one a line; a last line that was cut off is passed over."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield read_event(line)
                except ValueError as fault:
                    if not line.endswith("\n"):  # the run was killed while it wrote
                        return
                    raise SettingsError(f"{file}, line {number}: {fault}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{file} cannot be read: {reason}") from None


def html(found: Sequence[SessionRecord], *, title: str) -> str:
    """The page."""
    return page("".join(_section(one) for one in found), title=title)


def page(parts: str, *, title: str) -> str:
    """A page that needs nothing else around elements; `parts` is HTML, `title` text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)} · tonewatch</title><style>{STYLE}</style></head><body><main>"
        f"{parts}<p class=soft>Emotion is a guess about the sound of a voice, not what somebody feels. An agent’s is "
        "not inferred unless the operator opted in: EU AI Act, Article 5(1)(f). "
        f"Made by tonewatch {__version__}.</p></main></body></html>"
    )


def _section(recording: SessionRecord) -> str:
    began = recording.began.strftime("%d %B %Y, %H:%M:%S UTC") if recording.began else "an unknown time"
    lost_s = sum(end - start for start, end, why in recording.gaps if why != "paused")
    notes = [] if recording.complete else ["the recording breaks off before the end"]
    notes += [f"{lost_s:.1f} s of sound were lost"] if lost_s else []
    bad = f'<p class="bad">{escape("; ".join(notes).capitalize())}.</p>' if notes else ""
    models = ", ".join(f"{name} @ {revision[:12]}" for name, revision in recording.models.items())
    tiles = "".join(
        f"<div><b>{seconds_s / max(recording.end_s, 0.001):.0%}</b>{escape(name)}, {seconds_s:.1f} s</div>"
        for name, seconds_s in recording.partition()
    )
    return (
        f"<header><h1>{escape(recording.name)}</h1>"
        f"<p>{escape(began)} · {clock_text(recording.end_s)} · {escape(models)}</p>{bad}</header>"
        f"<section><h2>Timeline</h2>{timeline(recording).svg()}</section>"
        f'<section><h2>Where the time went</h2><div class="tiles">{tiles}</div>{_people(recording)}</section>'
        f"{_alerts(recording)}{_turns(recording)}"
    )


def _people(recording: SessionRecord) -> str:
    rows = []
    parties = {party.party: party for party in recording.call.parties} if recording.call is not None else {}
    for who in recording.people:
        party = next((party for name, party in parties.items() if name == who), None)
        feelings = recording.emotions(who) or (party.emotion.shares if party and party.emotion else {})
        told = ", ".join(f"{label} {share:.0%}" for label, share in feelings.items()) or (
            "not inferred" if who == "agent" else "–"
        )
        turns = sum(turn.who == who for turn in recording.turns)
        talk_s = party.talk_s if party else recording.talk_s(who)
        interruptions = str(party.interruptions) if party else "–"
        longest_s = max((turn.end_s - turn.start_s for turn in recording.turns if turn.who == who), default=0.0)
        longest_s = party.longest_monologue_s if party else longest_s
        cells = [f"{talk_s:.1f} s", str(turns), f"{longest_s:.1f} s", interruptions]
        rows.append(
            f"<tr><td><b>{escape(who or 'unknown')}</b></td>"
            + "".join(f'<td class="num">{cell}</td>' for cell in cells)
            + f"<td>{escape(told)}</td></tr>"
        )
    heads = "".join(f'<th class="num">{head}</th>' for head in ("Talked", "Turns", "Longest", "Interruptions"))
    top = f"<thead><tr><th>Who</th>{heads}<th>Emotion of turns</th></tr></thead>"
    return f"<table>{top}<tbody>{''.join(rows)}</tbody></table>"


def _alerts(recording: SessionRecord) -> str:
    if not recording.alerts:
        return "<section><h2>Alerts</h2>None.</section>" if recording.call is not None else ""
    rows = "".join(
        f"<tr><td>{clock_text(alert.start_s)}–{clock_text(alert.end_s)}</td>"
        f"<td>{escape(ALERT_LABELS.get(alert.kind, alert.kind))}</td><td>{escape(alert.who or 'both')}</td></tr>"
        for alert in recording.alerts
    )
    return f"<section><h2>Alerts</h2><table><tbody>{rows}</tbody></table></section>"


def _turns(recording: SessionRecord) -> str:
    rows = "".join(
        f"<tr><td>{clock_text(turn.start_s)}–{clock_text(turn.end_s)}</td><td>{escape(turn.who or 'unknown')}</td>"
        f"<td>{escape(', '.join(f'{label} {share:.0%}' for label, share in turn.emotions.items()) or '–')}</td></tr>"
        for turn in recording.turns
    )
    return (
        f"<section><details><summary>All {len(recording.turns)} turns</summary><table>"
        f"<thead><tr><th>When</th><th>Who</th><th>Emotion</th></tr></thead><tbody>{rows}</tbody></table></details></section>"
    )
