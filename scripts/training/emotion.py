"""Train the compact emotion net: `scripts/train emotion`.

Seven actors of EmoDB are few, so the net is small, its labels are smoothed and mixed (Zhang et al. 2018,
arXiv:1710.09412), every sound is played at five speeds and altered afresh each time it is heard. First, actors are
left out in turn: what the nets then say of somebody they never heard sets the temperature (Guo et al. 2017,
arXiv:1706.04599). Then one net learns from all seven. The other corpora are only measured.

A little read speech of AN4 and LibriSpeech joins as mostly neutral, so that ordinary talk in another language is not
taken for an act. Without it, more than half of such talk counts as sad; with an eighth of each batch, surely neutral,
all that is not EmoDB counts as neutral (recall on nEMO falls from .47 to .28).
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import corpus, loop, measure, publish, soundfield
from stream.models.compact.nets import EMOTIONS, EmotionNet, Front
from stream.types import SAMPLE_RATE_HZ

SEED = 11
SPEEDS = (1.0, 0.88, 0.94, 1.06, 1.12)
_BATCH = 48
_DROPOUT = 0.15
_SMOOTHING = 0.1
_READ = len(EMOTIONS)  # the label of read speech
_READ_TRUTH = (0.6, 0.1334, 0.1333, 0.1333)  # what it says of the four emotions
_READ_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Utterance:
    """One acted sentence at each speed; `sounds` are (samples,) each, the first as it was recorded."""

    set: str
    speaker: str
    label: int
    sounds: tuple[Tensor, ...]


def utterances(kind: str, *, use: str, speeds: tuple[float, ...] = (1.0,)) -> list[Utterance]:
    """A corpus's acted sentences; only rows of that use."""
    found = []
    for row in corpus.manifest(corpus.data_folder()):
        if row.set == kind and row.use == use and row.emotion in EMOTIONS:
            samples = corpus.read(row.path)
            sounds = tuple(torch.from_numpy(samples if s == 1 else corpus.resampled(samples, s)) for s in speeds)
            found.append(Utterance(kind, row.speaker, EMOTIONS.index(row.emotion), sounds))
    return found


def read_speech() -> list[Utterance]:
    """One file of each speaker of AN4 and LibriSpeech that is learned from; nobody acts."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    firsts = {row.speaker: row for row in reversed(rows) if row.set in ("an4", "librispeech") and row.use == "train"}
    return [
        Utterance(row.set, who, _READ, (torch.from_numpy(corpus.read(row.path)),) * len(SPEEDS))
        for who, row in sorted(firsts.items())
        if who not in apart
    ]


def noises() -> list[Tensor]:
    """Environment sounds; (samples,) each."""
    rows = corpus.manifest(corpus.data_folder())
    return [torch.from_numpy(corpus.read(row.path)) for row in rows if row.set == "esc10" and row.use == "train"]


def _crop(sound: Tensor, samples: int, draw: torch.Generator) -> Tensor:
    if len(sound) < samples:
        sound = sound.repeat(-(-samples // len(sound)))
    start = int(torch.randint(len(sound) - samples + 1, (1,), generator=draw))
    return sound[start : start + samples]


class Batches:
    """Draws utterances, as many of each emotion and actor in the long run, and alters them."""

    def __init__(self, *, learned: list[Utterance], noise: list[Tensor]) -> None:
        self.learned, self.noise = learned, noise
        cells = [(u.speaker, u.label) if u.label != _READ else ("", _READ) for u in learned]
        counts = Counter(cells)
        acted = len([cell for cell in counts if cell[0]])
        read = acted * _READ_SHARE / (1 - _READ_SHARE)
        self.weight = torch.tensor([(1.0 if cell[0] else read) / counts[cell] for cell in cells])
        self.front = Front()

    def make(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (batch, frames, inputs) and labels (batch,)."""
        size = int(torch.randint(SAMPLE_RATE_HZ, 3 * SAMPLE_RATE_HZ, (1,), generator=draw))
        chosen = torch.multinomial(self.weight, _BATCH, replacement=True, generator=draw).tolist()
        speeds = torch.randint(len(SPEEDS), (_BATCH,), generator=draw).tolist()
        around = torch.randint(len(self.noise), (_BATCH,), generator=draw).tolist()
        sound = torch.stack(
            [_crop(self.learned[at].sounds[speed], size, draw) for at, speed in zip(chosen, speeds, strict=True)]
        )
        noise = torch.stack([_crop(self.noise[at], size, draw) for at in around])
        with torch.inference_mode():
            features = self.front(soundfield.alter(sound, noise, draw))
        return _masked(features.clone(), draw), torch.tensor([self.learned[at].label for at in chosen])


def _masked(features: Tensor, draw: torch.Generator) -> Tensor:
    """Blank a stretch of time and one of bands (SpecAugment)."""
    count, frames, bands = features.shape
    for size, axis in ((frames, 1), (bands, 2)):
        width = torch.rand(count, 1, 1, generator=draw) * 0.2 * size
        start = torch.rand(count, 1, 1, generator=draw) * (size - width)
        place = torch.arange(size).view(1, -1, 1) if axis == 1 else torch.arange(size).view(1, 1, -1)
        features = features.masked_fill((place >= start) & (place < start + width), 0.0)
    return features


def fit(plan: loop.Plan, learned: list[Utterance], noise: list[Tensor], *, seed: int) -> EmotionNet:
    """A net after one training; its running mean."""
    torch.manual_seed(seed)
    net = EmotionNet(dropout=_DROPOUT)
    learner = torch.optim.AdamW(net.parameters(), weight_decay=5e-2)
    mean = loop.RunningMean(net=net, decay=plan.mean_decay)
    state = loop.Progressed()
    batches = loop.Ahead(make=Batches(learned=learned, noise=noise).make, seed=seed, first=0)
    mix = torch.Generator().manual_seed(seed)
    for done in loop.steps(plan, state):
        features, labels = batches.next()
        truth = functional.one_hot(labels.clamp(max=_READ - 1), len(EMOTIONS)).float()
        truth[labels == _READ] = torch.tensor(_READ_TRUTH)
        truth = truth * (1 - _SMOOTHING) + _SMOOTHING / len(EMOTIONS)
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


def told(net: EmotionNet, heard: list[Utterance]) -> tuple[Tensor, Tensor]:
    """What the net says of whole utterances: logits (utterances, labels), and the truth (utterances,)."""
    front = Front()
    with torch.inference_mode():
        logits = torch.stack([net(front(u.sounds[0])[None])[0] for u in heard])
    return logits, torch.tensor([u.label for u in heard])


def recall(logits: Tensor, truth: Tensor) -> float:
    """Unweighted average recall."""
    return measure.recall(truth.numpy(), logits.argmax(dim=1).numpy(), len(EMOTIONS))


def temperature(logits: Tensor, truth: Tensor) -> float:
    """The divisor of the logits under which the truth is least surprising."""
    grid = torch.tensor(np.geomspace(0.25, 4.0, 161))
    losses = torch.stack([functional.cross_entropy(logits.double() / t, truth) for t in grid])
    return float(grid[losses.argmin()])


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train emotion", description=__doc__)
    parser.add_argument("--steps", type=int, default=800, help="of each net")
    parser.add_argument("--minutes", type=float, default=None, help="stop by the clock, all nets together")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folds", type=int, default=7, help="how many of the seven actors are left out in turn")
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "emotion.safetensors")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    minutes = None if asked.minutes is None else asked.minutes / (asked.folds + 1)
    plan = loop.Plan(steps=asked.steps, minutes=minutes, rate=1.5e-3, mean_decay=0.995)
    learned = utterances("emodb", use="train", speeds=SPEEDS)
    others = {name: utterances(name, use="evaluate only") for name in ("ravdess", "nemo")}
    noise, read = noises(), read_speech()
    outs, truths = [], []
    for actor in sorted({u.speaker for u in learned})[: asked.folds]:
        net = fit(plan, [u for u in learned if u.speaker != actor] + read, noise, seed=SEED)
        logits, truth = told(net, [u for u in learned if u.speaker == actor])
        outs.append(logits)
        truths.append(truth)
        print(f"without {actor}: recall on it {recall(logits, truth):.3f}", flush=True)
    logits, truth = torch.cat(outs), torch.cat(truths)
    warmth = max(1.0, temperature(logits, truth))  # other corpora are harder: never surer than the net itself
    print(f"left out in turn: recall {recall(logits, truth):.3f}, temperature {warmth:.2f}", flush=True)
    net = fit(plan, learned + read, noise, seed=SEED)
    net.temperature.fill_(warmth)
    for name, heard in others.items():
        print(f"{name}: recall {recall(*told(net, heard)):.3f}", flush=True)
    publish.emotion(net, asked.weights, steps=asked.steps, seed=SEED)


if __name__ == "__main__":
    main()
