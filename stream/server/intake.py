"""The audio of one connection on its way into its tracks: positions, gaps, stalls, and its pace.

A connection's audio starts at the end of its call's other leg, and is counted from there. When no track of the call has
received audio for `STALL_S`, the tracks are `stalled`. The audio that ends a stall is held for `SETTLE_S`: if far more
than that arrives, it was late and nothing is lost; otherwise the peer sent nothing meanwhile, and a gap of that length
keeps media time on the clock, so that events are dated right at once.
"""

from __future__ import annotations

from stream.server.call_legs import PartyTracks
from stream.server.counts import ProtocolCounters
from stream.server.protocols.base import AudioChunk

STALL_S = 2.0
"""Time without audio after which a call is stalled."""

SETTLE_S = 0.25
"""Time for which the audio after a stall is held."""

MIN_BURST_S = 1.0
"""Audio that arrives in excess of the clock after a stall; more was late, less is the usual jitter."""

MIN_SHIFT_S = 0.25
"""A shorter difference between media time and the clock is not corrected."""

PACE_AFTER_S = 8.0
"""Time over which the pace of the audio is measured."""

HALF_PACE, DOUBLE_PACE = (0.45, 0.55), (1.9, 2.1)
"""Ranges of media time per time of the clock that no jitter explains."""


class AudioIntake:
    """Positions of the chunks of one connection. `timestamped` is that of its protocol."""

    def __init__(self, *, timestamped: bool, counters: ProtocolCounters) -> None:
        self.tracks: PartyTracks = ()
        self._timestamped, self._counters = timestamped, counters
        self._offset_s = 0.0  # start of this connection's audio within the call
        self._offset_frames = 0  # the same, once the rate is known, and what was inserted since
        self._opened_s = self._received_s = 0.0  # monotonic
        self._age_s = 0.0  # of the first audio
        self._audio_frames = 0  # of the first track
        self._held: list[AudioChunk] = []
        self._resumed_s = 0.0  # arrival of the first chunk held
        self._reason = ""
        self._has_no_pace = False  # interrupted, or returned already

    @property
    def rate_hz(self) -> int:
        """Sample rate; 0 while it is unknown."""
        return self.tracks[0][1].rate_hz if self.tracks else 0

    @property
    def is_interrupted(self) -> bool:
        """Whether the peer sends no audio for now."""
        return any(track.interruption for _, track in self.tracks)

    def open(self, tracks: PartyTracks, *, offset_s: float, now_s: float, age_s: float = 0.0) -> None:
        """Begin with the first chunk at `offset_s` of the call, recorded `age_s` ago."""
        self.tracks, self._offset_s = tracks, offset_s
        self._opened_s = self._received_s = now_s
        self._age_s, self._has_no_pace = age_s, age_s > 0
        self._offset_frames = round(offset_s * self.rate_hz)

    def set_rate(self, rate_hz: int) -> bool:
        """Set the sample rate of tracks that were opened without one; returns whether it is theirs."""
        if self.rate_hz not in (0, rate_hz):  # silence was filled in meanwhile, at the rate of the other leg
            return False
        self._offset_frames = round(self._offset_s * rate_hz)
        for _, track in self.tracks:
            track.set_rate(rate_hz)
        return True

    def put(self, chunk: AudioChunk, now_s: float) -> None:
        """Take one chunk that arrived at the monotonic time `now_s`; that of a call on hold is discarded."""
        if self.tracks[chunk.track][1].is_on_hold:
            self._received_s = now_s
            return
        if not self.is_interrupted:
            self._received_s = now_s
            self._put(chunk)
            return
        if not self._held:
            self._resumed_s = now_s
        self._held.append(chunk)
        if now_s - self._resumed_s >= SETTLE_S:
            self._resume(now_s)

    def ahead_s(self, now_s: float) -> float:
        """Return by how much the audio received is ahead of the clock."""
        return max(track.end_s for _, track in self.tracks) - self._offset_s - (now_s - self._opened_s) - self._age_s

    def interrupt(self, state: str, reason: str) -> None:
        """Note that the peer sends no audio for now; what resumes it is the next audio."""
        self._has_no_pace = True
        for _, track in self.tracks:
            if track.rate_hz:
                track.interrupt(state, reason)

    def announce(self, state: str, reason: str) -> None:
        """Note what the peer says: `paused`, or `resumed`, which the next audio makes true."""
        if state == "resumed":
            self._reason = reason
        else:
            self.interrupt(state, reason)

    def check(self, now_s: float, newest_s: float) -> None:
        """Find stalls; `newest_s` is when a track of the call last received audio."""
        if self._held and now_s - self._resumed_s >= SETTLE_S:
            self._resume(now_s)
        elif self.rate_hz and not self.is_interrupted and now_s - max(newest_s, self._received_s) >= STALL_S:
            self.interrupt("stalled", f"no audio for {now_s - max(newest_s, self._received_s):.0f} s")

    def flush(self, now_s: float) -> None:
        """Pass on what is held: nothing more comes."""
        if self._held:
            self._resume(now_s)

    def new_pace(self, now_s: float) -> float | None:
        """Return media time per time of the clock, once, if it is about half or double."""
        elapsed_s = now_s - self._opened_s
        if elapsed_s < PACE_AFTER_S or self._has_no_pace or not self.rate_hz:
            return None
        pace = self._audio_frames / self.rate_hz / elapsed_s
        if not any(low <= pace <= high for low, high in (HALF_PACE, DOUBLE_PACE)):
            return None
        self._has_no_pace = True
        return pace

    def _resume(self, now_s: float) -> None:
        held, self._held = self._held, []
        track = self.tracks[held[0].track][1]
        held_s = sum(len(chunk.samples) for chunk in held if chunk.track == held[0].track) / track.rate_hz
        announced_s = max(0.0, (held[0].start_frame + self._offset_frames - track.end_frame) / track.rate_hz)
        shift_s = self._resumed_s - self._received_s - announced_s
        was_late = held_s > now_s - self._resumed_s + MIN_BURST_S
        if shift_s > MIN_SHIFT_S and not was_late:
            self._offset_frames += round(shift_s * track.rate_hz)
        self._received_s = now_s
        for chunk in held:
            self._put(chunk)
        for _, one in self.tracks:  # behind the gap, so that the event is dated right
            one.interrupt("resumed", self._reason or "audio arrives again")
        self._reason = ""

    def _put(self, chunk: AudioChunk) -> None:
        track = self.tracks[chunk.track][1]
        start_frame = chunk.start_frame + self._offset_frames
        if not self._timestamped and 0 < start_frame < track.end_frame:  # silence was filled in meanwhile
            self._offset_frames += track.end_frame - start_frame
            start_frame = track.end_frame
        if 0 < track.end_frame < start_frame:
            self._counters.gaps += 1
            self._counters.lost_s += (start_frame - track.end_frame) / track.rate_hz
        if chunk.track == 0:
            self._audio_frames += len(chunk.samples)
        track.put(start_frame, chunk.samples)
