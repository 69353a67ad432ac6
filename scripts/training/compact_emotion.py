"""Train the compact emotion net of the preset `tiny`: `scripts/train compact-emotion`.

Seven actors of EmoDB are few, and a small net trained on them alone is overconfident on other voices. So it is
distilled from teachers on the speaker net: the trunk, trained on hundreds of speakers, is frozen and a linear head on
it learns the emotions (such heads generalise better to other corpora, but are less accurate within EmoDB). There is one
teacher per actor left out. The small net is trained on EmoDB's labels and on the mean output of the teachers, for EmoDB
and for read speech without labels (distillation, Hinton et al. 2015, arXiv:1503.02531), so that it is uncertain where
they are.

Labels are smoothed and mixed (Zhang et al. 2018, arXiv:1710.09412); every sentence is played at several speeds and with
several augmentations. Before the final training, actors are left out in turn, of teacher and net, which gives the
figure within the corpus. The temperature (Guo et al. 2017, arXiv:1706.04599) is fitted on the same nets with augmented
input, since users' rooms are not a studio, and half of its logarithm is used, since users are not EmoDB's actors. The
other corpora are only measured.
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
from stream.models.compact.features import HOP_SAMPLES, MELS, log_power, mean_normalised
from stream.models.compact.nets import EMOTIONS, EmotionNet, FrontEnd, SpeakerNet, Trunk
from stream.tools.evaluation.metrics import calibration_error

Net = TypeVar("Net", bound=nn.Module)

SEED = 11
SPEEDS = (1.0, 0.84, 0.9, 0.95, 1.05, 1.1, 1.18)
_VARIANTS = 4  # augmented variants of a sentence, beside the original
_BATCH = 48
_FRAMES = (100, 300)
_DROPOUT = 0.15
_HEAD_DROPOUT = 0.3
_SMOOTHING = 0.1
_TEACHER_WEIGHT = 0.7  # weight of the teachers' output relative to the label
_READ_SHARE = 0.3  # share of a batch without labels
_READ_SHARE_OF_TEACHERS = 0.04
_TEMPERATURE_EXPONENT = 1 / 2  # less sharpening than EmoDB's actors allow: other voices are harder
_READ_TARGET = (0.6, 0.1334, 0.1333, 0.1333)  # its target for the teachers
_STRENGTH = augment.Strength(equaliser_db=3.0, tilt_db=6.0, masks=1.0)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One recording: speaker, label (None for read speech), and its features.

    `features` are (frames, INPUTS) each, by speed and variant.
    """

    speaker: str
    label: int | None
    features: tuple[tuple[Tensor, ...], ...]


def acted_speech(augmenter: soundfield.Augmenter) -> list[Sentence]:
    """Return EmoDB's sentences of the four emotions, at every speed."""
    return [
        Sentence(
            row.speaker,
            EMOTIONS.index(row.emotion),
            tuple(augmenter.variants(samples if speed == 1 else corpus.resampled(samples, speed)) for speed in SPEEDS),
        )
        for row in corpus.manifest(corpus.data_folder())
        if row.set == "emodb" and row.use == "train" and row.emotion in EMOTIONS
        for samples in (corpus.read(row.path),)
    ]


def read_speech(augmenter: soundfield.Augmenter) -> list[Sentence]:
    """Return recordings of at least a second of AN4 and LibriSpeech that are not held out."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    chosen = [row for row in rows if row.set in ("an4", "librispeech") and row.use == "train"]
    files = [(row.speaker, corpus.read(row.path)) for row in chosen if row.speaker not in apart]
    min_samples = _FRAMES[0] * HOP_SAMPLES
    return [Sentence(who, None, (augmenter.variants(file),)) for who, file in files if len(file) > min_samples]


class Batches:
    """Draws sentences, balanced over emotions and actors, and a share of read speech."""

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
            variants = one.features[_any(one.features, draw)]
            crops.append(corpus.crop(variants[_any(variants, draw)], frames, draw))
        both = torch.stack(crops)
        power = augment.equalise(both[..., :MELS].exp(), _STRENGTH, draw)
        pitch = augment.raise_pitch(both[..., MELS:], _STRENGTH, draw)
        features = torch.cat((mean_normalised(log_power(power)), 2.0 * pitch), dim=2)
        labels = torch.tensor([-1 if one.label is None else one.label for one in sentences])
        return augment.mask(features, _STRENGTH, draw), labels


def _any(choices: Sequence[object], draw: torch.Generator) -> int:
    return int(torch.randint(len(choices), (1,), generator=draw))


class Head(nn.Module):
    """A linear layer on the frozen speaker net's pooled statistics."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.classify = nn.Sequential(nn.Dropout(_HEAD_DROPOUT), nn.Linear(trunk.pool_norm.num_features, len(EMOTIONS)))

    def train(self, mode: bool = True) -> Head:  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode of all modules but the trunk."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, INPUTS) to one logit per emotion."""
        with torch.no_grad():
            pooled = self.trunk(x)
        logits: Tensor = self.classify(pooled)
        return logits


def speaker_trunk() -> Trunk:
    """Return the frozen trunk of the bundled speaker net."""
    net = SpeakerNet()
    state = load_file(publish.FOLDER / "speaker.safetensors")
    net.load_state_dict({name: value for name, value in state.items() if name != "cohort"}, strict=False)
    return net.trunk.eval().requires_grad_(requires_grad=False)


def fit(net: Net, plan: loop.Plan, drawn: Batches, *, teachers: Sequence[Head] = (), seed: int) -> Net:
    """Train a net and return its running mean. Without teachers, read speech counts as mostly neutral."""
    learner = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], weight_decay=5e-2)
    mean = loop.RunningMean(net=net, decay=plan.mean_decay)
    state = loop.TrainingState()
    batches = loop.Prefetcher(make=drawn.make, seed=seed, first=0)
    mix = torch.Generator().manual_seed(seed)
    for done in loop.steps(plan, state):
        features, labels = batches.next()
        target = _target(features, labels, teachers)
        share, order = 0.5 + 0.5 * torch.rand(_BATCH, generator=mix), torch.randperm(_BATCH, generator=mix)
        features = features * share[:, None, None] + features[order] * (1 - share)[:, None, None]
        target = target * share[:, None] + target[order] * (1 - share)[:, None]
        for group in learner.param_groups:
            group["lr"] = plan.learning_rate(done)
        net.train()
        with loop.precision():
            logits = net(features)
        loss = functional.cross_entropy(logits.float(), target)
        learner.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        learner.step()
        mean.update(net)
    batches.stop()
    net.load_state_dict(mean.state)
    return net.eval()


def _target(features: Tensor, labels: Tensor, teachers: Sequence[Head]) -> Tensor:
    """Return target probabilities (batch, emotions) from labels and teachers."""
    known = (labels >= 0)[:, None]
    label = functional.one_hot(labels.clamp(min=0), len(EMOTIONS)).float()
    label = label * (1 - _SMOOTHING) + _SMOOTHING / len(EMOTIONS)
    if not teachers:
        return torch.where(known, label, torch.tensor(_READ_TARGET))
    with torch.no_grad():
        teacher_mean = torch.stack([torch.softmax(teacher(features), dim=1) for teacher in teachers]).mean(dim=0)
    return torch.where(known, _TEACHER_WEIGHT * teacher_mean + (1 - _TEACHER_WEIGHT) * label, teacher_mean)


def measured_speech(kind: str) -> list[Sentence]:
    """Return the sentences of a measured corpus with one of the four emotions, without augmentation."""
    front = FrontEnd()
    return [
        Sentence(
            row.speaker,
            EMOTIONS.index(row.emotion),
            ((corpus.raw_features(corpus.read(row.path), front, trim=False),),),
        )
        for row in corpus.manifest(corpus.data_folder())
        if row.set == kind and row.emotion in EMOTIONS
    ]


def predict(net: nn.Module, sentences: Sequence[Sentence], *, augmented: bool = False) -> tuple[Tensor, Tensor]:
    """Return logits (n, labels) of whole sentences, as recorded or augmented, and their labels (n,)."""
    inputs = [
        (variant, one.label)
        for one in sentences
        for variant in (one.features[0][1:] if augmented else one.features[0][:1])
    ]
    with torch.inference_mode():
        logits = torch.stack([net(corpus.features(variant)[None])[0] for variant, _ in inputs])
    return logits, torch.tensor([label for _, label in inputs])


def figures_text(logits: Tensor, truth: Tensor) -> str:
    """Format unweighted average recall and calibration error."""
    found = measure.recall(truth.numpy(), logits.argmax(dim=1).numpy(), len(EMOTIONS))
    error = calibration_error(torch.softmax(logits.double(), dim=1).numpy(), truth.numpy())
    return f"recall {found:.3f}, calibration error {error:.3f}"


def temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the divisor of the logits with the highest likelihood of the labels."""
    grid = torch.tensor(np.geomspace(0.25, 4.0, 161))
    losses = torch.stack([functional.cross_entropy(logits.double() / t, truth) for t in grid])
    return float(grid[losses.argmin()])


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train compact-emotion", description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="steps per net; its teachers take half as many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "emotion.safetensors")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = loop.Plan(steps=arguments.steps, rate=1.5e-3, mean_decay=0.995)
    brief = loop.Plan(steps=arguments.steps // 2, rate=1e-3, mean_decay=0.99)
    augmenter, trunk = soundfield.Augmenter(count=_VARIANTS, seed=SEED), speaker_trunk()
    learned, read = acted_speech(augmenter), read_speech(augmenter)

    def net_of(sentences: Sequence[Sentence], teachers: Sequence[Head]) -> EmotionNet:
        torch.manual_seed(SEED)
        drawn = Batches(learned=sentences, read=read, read_share=_READ_SHARE)
        return fit(EmotionNet(dropout=_DROPOUT), plan, drawn, teachers=teachers, seed=SEED)

    teachers: list[Head] = []
    by_teacher, by_net, by_net_augmented = [], [], []
    for actor in sorted({one.speaker for one in learned}):
        others = [one for one in learned if one.speaker != actor]
        own = [one for one in learned if one.speaker == actor]
        torch.manual_seed(SEED)
        drawn = Batches(learned=others, read=read, read_share=_READ_SHARE_OF_TEACHERS)
        teachers.append(fit(Head(trunk), brief, drawn, seed=SEED))
        net = net_of(others, teachers[-1:])
        by_teacher.append(predict(teachers[-1], own))
        by_net.append(predict(net, own))
        by_net_augmented.append(predict(net, own, augmented=True))
        print(f"{actor} left out: teacher {figures_text(*by_teacher[-1])}; net {figures_text(*by_net[-1])}", flush=True)
    fitted = temperature(*_all(by_net_augmented)) ** _TEMPERATURE_EXPONENT
    print(f"all left out in turn: teachers {figures_text(*_all(by_teacher))}", flush=True)
    for name, outputs in (("as recorded", by_net), ("augmented", by_net_augmented)):
        logits, truth = _all(outputs)
        print(f"{name}: nets {figures_text(logits / fitted, truth)}, temperature {fitted:.2f}", flush=True)
    net = net_of(learned, teachers)
    net.temperature.fill_(fitted)
    for name in ("ravdess", "nemo"):
        print(f"{name}: {figures_text(*predict(net, measured_speech(name)))}", flush=True)
    publish.emotion(net, arguments.weights, steps=arguments.steps, seed=SEED)


def _all(outputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    logits, truth = zip(*outputs, strict=True)
    return torch.cat(logits), torch.cat(truth)


if __name__ == "__main__":
    main()
