"""Train the compact emotion net: `scripts/train emotion`.

Seven actors of EmoDB are few, and a small net that learns from them alone is sure of itself on voices unlike theirs.
So it has teachers, which stand on the speaker net: its trunk, which heard hundreds of people, stays as it is, and a
linear head on it learns the emotions (what such heads learn travels further to other corpora, but is told less well
within EmoDB). There is one teacher for each actor left out. The small net learns from EmoDB's labels and from the mean
of what the teachers say, of EmoDB and of read speech that has no labels (distillation, Hinton et al. 2015,
arXiv:1503.02531): of voices that are far from EmoDB it hears the teachers' doubt.

Labels are smoothed and mixed (Zhang et al. 2018, arXiv:1710.09412); every sentence is played at several speeds and in
other places. Before that, actors are left out in turn, of teacher and of net: what a net then says of somebody whom
neither has heard is the figure within the corpus. The temperature (Guo et al. 2017, arXiv:1706.04599) is fitted on
the same, but heard in other places, since no user's room is EmoDB's studio, and taken by half (of its
logarithm), since no user is one of EmoDB's actors. The other corpora are only measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import augment, corpus, loop, measure, publish, soundfield
from stream.models.compact.features import HOP_SAMPLES, MELS, centred, level
from stream.models.compact.nets import EMOTIONS, EmotionNet, Front, SpeakerNet, Trunk
from stream.tools.evaluation.metrics import calibration_error

Net = TypeVar("Net", bound=nn.Module)

SEED = 11
SPEEDS = (1.0, 0.84, 0.9, 0.95, 1.05, 1.1, 1.18)
_PLACES = 4  # other places a sentence is heard in, beside itself
_BATCH = 48
_FRAMES = (100, 300)
_DROPOUT = 0.15
_HEAD_DROPOUT = 0.3
_SMOOTHING = 0.1
_TAUGHT = 0.7  # how much the teachers' word counts beside the label
_READ_SHARE = 0.3  # of a batch that has no label
_READ_SHARE_OF_TEACHERS = 0.04
_SHARPENED = 1 / 2  # how far the net is made as sure as EmoDB's people would bear: others are harder to tell
_READ_TRUTH = (0.6, 0.1334, 0.1333, 0.1333)  # what teachers learn of it
_STRENGTH = augment.Strength(equaliser_db=3.0, tilt_db=6.0, masks=1.0)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One recording: who acts, the label (None where nobody acts), and what is heard of it.

    `heard` is (frames, INPUTS) each, by speed and place.
    """

    speaker: str
    label: int | None
    heard: tuple[tuple[Tensor, ...], ...]


def acted(places: soundfield.Places) -> list[Sentence]:
    """EmoDB's sentences of the four emotions, at every speed."""
    return [
        Sentence(
            row.speaker,
            EMOTIONS.index(row.emotion),
            tuple(places.heard(samples if speed == 1 else corpus.resampled(samples, speed)) for speed in SPEEDS),
        )
        for row in corpus.manifest(corpus.data_folder())
        if row.set == "emodb" and row.use == "train" and row.emotion in EMOTIONS
        for samples in (corpus.read(row.path),)
    ]


def read_speech(places: soundfield.Places) -> list[Sentence]:
    """Files of a second or more of AN4 and LibriSpeech that training may hear; nobody acts."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    chosen = [row for row in rows if row.set in ("an4", "librispeech") and row.use == "train"]
    files = [(row.speaker, corpus.read(row.path)) for row in chosen if row.speaker not in apart]
    least = _FRAMES[0] * HOP_SAMPLES
    return [Sentence(who, None, (places.heard(file),)) for who, file in files if len(file) > least]


class Batches:
    """Draws sentences, as many of each emotion and actor in the long run, and read speech beside them."""

    def __init__(self, *, learned: Sequence[Sentence], read: Sequence[Sentence], read_share: float) -> None:
        self.learned, self.read, self.read_share = learned, read, read_share
        counts = Counter((one.speaker, one.label) for one in learned)
        self.weight = torch.tensor([1.0 / counts[one.speaker, one.label] for one in learned])

    def make(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (batch, frames, INPUTS) and labels (batch,), -1 for read speech."""
        frames = int(torch.randint(*_FRAMES, (1,), generator=draw))
        chosen = torch.multinomial(self.weight, _BATCH, replacement=True, generator=draw).tolist()
        without = (torch.rand(_BATCH, generator=draw) < self.read_share).tolist()
        sentences = [
            self.read[_any(self.read, draw)] if empty else self.learned[at]
            for at, empty in zip(chosen, without, strict=True)
        ]
        crops = []
        for one in sentences:
            places = one.heard[_any(one.heard, draw)]
            crops.append(corpus.crop(places[_any(places, draw)], frames, draw))
        both = torch.stack(crops)
        power = augment.equalise(both[..., :MELS].exp(), _STRENGTH, draw)
        pitch = augment.raise_pitch(both[..., MELS:], _STRENGTH, draw)
        features = torch.cat((centred(level(power)), 2.0 * pitch), dim=2)
        labels = torch.tensor([-1 if one.label is None else one.label for one in sentences])
        return augment.mask(features, _STRENGTH, draw), labels


def _any(choices: Sequence[object], draw: torch.Generator) -> int:
    return int(torch.randint(len(choices), (1,), generator=draw))


class Head(nn.Module):
    """A linear layer on the speaker net's pooled statistics, which stay as they are."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.classify = nn.Sequential(nn.Dropout(_HEAD_DROPOUT), nn.Linear(trunk.pool_norm.num_features, len(EMOTIONS)))

    def train(self, mode: bool = True) -> Head:  # noqa: FBT001, FBT002 - torch's own signature
        """All but the trunk."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, INPUTS) in, one logit for each emotion out."""
        with torch.no_grad():
            pooled = self.trunk(x)
        logits: Tensor = self.classify(pooled)
        return logits


def speaker_trunk() -> Trunk:
    """The shipped speaker net's, not to be trained."""
    net = SpeakerNet()
    state = load_file(publish.FOLDER / "speaker.safetensors")
    net.load_state_dict({name: value for name, value in state.items() if name != "cohort"}, strict=False)
    return net.trunk.eval().requires_grad_(requires_grad=False)


def fit(net: Net, plan: loop.Plan, drawn: Batches, *, teachers: Sequence[Head] = (), seed: int) -> Net:
    """The net after one training; its running mean. Without teachers, read speech counts as mostly neutral."""
    learner = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], weight_decay=5e-2)
    mean = loop.RunningMean(net=net, decay=plan.mean_decay)
    state = loop.Progressed()
    batches = loop.Ahead(make=drawn.make, seed=seed, first=0)
    mix = torch.Generator().manual_seed(seed)
    for done in loop.steps(plan, state):
        features, labels = batches.next()
        truth = _truth(features, labels, teachers)
        share, order = 0.5 + 0.5 * torch.rand(_BATCH, generator=mix), torch.randperm(_BATCH, generator=mix)
        features = features * share[:, None, None] + features[order] * (1 - share)[:, None, None]
        truth = truth * share[:, None] + truth[order] * (1 - share)[:, None]
        for group in learner.param_groups:
            group["lr"] = plan.learning_rate(done)
        net.train()
        with loop.precision():
            logits = net(features)
        loss = functional.cross_entropy(logits.float(), truth)
        learner.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        learner.step()
        mean.update(net)
    batches.stop()
    net.load_state_dict(mean.state)
    return net.eval()


def _truth(features: Tensor, labels: Tensor, teachers: Sequence[Head]) -> Tensor:
    """What is to be said of each sound; probabilities (batch, emotions)."""
    known = (labels >= 0)[:, None]
    label = functional.one_hot(labels.clamp(min=0), len(EMOTIONS)).float()
    label = label * (1 - _SMOOTHING) + _SMOOTHING / len(EMOTIONS)
    if not teachers:
        return torch.where(known, label, torch.tensor(_READ_TRUTH))
    with torch.no_grad():
        said = torch.stack([torch.softmax(teacher(features), dim=1) for teacher in teachers]).mean(dim=0)
    return torch.where(known, _TAUGHT * said + (1 - _TAUGHT) * label, said)


def measured(kind: str) -> list[Sentence]:
    """A corpus's sentences of the four emotions as they were recorded; never learned from."""
    front = Front()
    return [
        Sentence(row.speaker, EMOTIONS.index(row.emotion), ((corpus.heard(corpus.read(row.path), front, trim=False),),))
        for row in corpus.manifest(corpus.data_folder())
        if row.set == kind and row.emotion in EMOTIONS
    ]


def told(net: nn.Module, sentences: Sequence[Sentence], *, away: bool = False) -> tuple[Tensor, Tensor]:
    """What the net says of whole sentences as recorded, or in other places: logits (n, labels), and the truth (n,)."""
    heard = [(place, one.label) for one in sentences for place in (one.heard[0][1:] if away else one.heard[0][:1])]
    with torch.inference_mode():
        logits = torch.stack([net(corpus.features(place)[None])[0] for place, _ in heard])
    return logits, torch.tensor([label for _, label in heard])


def shown(logits: Tensor, truth: Tensor) -> str:
    """Unweighted average recall and calibration error, in words."""
    found = measure.recall(truth.numpy(), logits.argmax(dim=1).numpy(), len(EMOTIONS))
    error = calibration_error(torch.softmax(logits.double(), dim=1).numpy(), truth.numpy())
    return f"recall {found:.3f}, calibration error {error:.3f}"


def temperature(logits: Tensor, truth: Tensor) -> float:
    """The divisor of the logits under which the truth is least surprising."""
    grid = torch.tensor(np.geomspace(0.25, 4.0, 161))
    losses = torch.stack([functional.cross_entropy(logits.double() / t, truth) for t in grid])
    return float(grid[losses.argmin()])


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train emotion", description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="of each net; its teachers take half as many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "emotion.safetensors")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    plan = loop.Plan(steps=asked.steps, rate=1.5e-3, mean_decay=0.995)
    brief = loop.Plan(steps=asked.steps // 2, rate=1e-3, mean_decay=0.99)
    places, trunk = soundfield.Places(count=_PLACES, seed=SEED), speaker_trunk()
    learned, read = acted(places), read_speech(places)

    def net_of(sentences: Sequence[Sentence], teachers: Sequence[Head]) -> EmotionNet:
        torch.manual_seed(SEED)
        drawn = Batches(learned=sentences, read=read, read_share=_READ_SHARE)
        return fit(EmotionNet(dropout=_DROPOUT), plan, drawn, teachers=teachers, seed=SEED)

    teachers: list[Head] = []
    by_teacher, by_net, elsewhere = [], [], []
    for actor in sorted({one.speaker for one in learned}):
        others = [one for one in learned if one.speaker != actor]
        theirs = [one for one in learned if one.speaker == actor]
        torch.manual_seed(SEED)
        drawn = Batches(learned=others, read=read, read_share=_READ_SHARE_OF_TEACHERS)
        teachers.append(fit(Head(trunk), brief, drawn, seed=SEED))
        net = net_of(others, teachers[-1:])
        by_teacher.append(told(teachers[-1], theirs))
        by_net.append(told(net, theirs))
        elsewhere.append(told(net, theirs, away=True))
        print(f"{actor} left out: teacher {shown(*by_teacher[-1])}; net {shown(*by_net[-1])}", flush=True)
    warmth = temperature(*_all(elsewhere)) ** _SHARPENED
    print(f"all left out in turn: teachers {shown(*_all(by_teacher))}", flush=True)
    for name, said in (("as recorded", by_net), ("elsewhere", elsewhere)):
        logits, truth = _all(said)
        print(f"{name}: nets {shown(logits / warmth, truth)}, temperature {warmth:.2f}", flush=True)
    net = net_of(learned, teachers)
    net.temperature.fill_(warmth)
    for name in ("ravdess", "nemo"):
        print(f"{name}: {shown(*told(net, measured(name)))}", flush=True)
    publish.emotion(net, asked.weights, steps=asked.steps, seed=SEED)


def _all(said: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    logits, truth = zip(*said, strict=True)
    return torch.cat(logits), torch.cat(truth)


if __name__ == "__main__":
    main()
