"""Train the compact speaker net: `scripts/train speaker`.

Real speakers (AN4, LibriSpeech, EmoDB) at five speeds, each a class of its own, and synthetic voices; two crops a
speaker, altered apart. Additive angular margin softmax (Deng et al. 2019, arXiv:1801.07698) and angular prototypes
(Chung et al. 2020, arXiv:2003.11982). Beside them a teacher: from a short, altered crop the net also has to find where
Resemblyzer's encoder, which learned from thousands of people, puts the whole clean file (a linear map of the x-vector
against the teacher's d-vector less its mean; the map is thrown away after training). The best running mean of the
weights on held-out speakers is kept.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import augment, corpus, evaluate, loop, publish, soundfield, voices
from scripts.training.teacher import Teacher
from stream.models.compact.features import MELS, centred, level
from stream.models.compact.nets import Front, SpeakerNet

SPEEDS = (1.0, 0.84, 0.92, 1.08, 1.17)
SEED = 7
CHECKPOINT = corpus.RUNS / "speaker" / "checkpoint.pt"
_FRAMES_PER_S = 100
_CLASSES_A_BATCH = 48
_OFTEN_A_BATCH = 4
_EVERY = 250
_TAUGHT = 6.0  # weight of the teacher's word


@dataclass(frozen=True, slots=True)
class Sound:
    """What is heard of one file, (frames, INPUTS), and where the teacher puts it, (256,) less the mean, unit length."""

    heard: Tensor
    taught: Tensor


Voice = list[Sound]


def learned_voices() -> dict[str, Voice]:
    """Every class that is learned: speaker and speed to its files."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    front, teacher = Front(), Teacher()
    heard: dict[str, list[Tensor]] = defaultdict(list)
    taught: dict[str, list[Tensor]] = defaultdict(list)

    def take(name: str, samples: corpus.Samples, speeds: tuple[float, ...]) -> None:
        for speed in speeds:
            sound = samples if speed == 1 else corpus.resampled(samples, speed)
            heard[f"{name}@{speed}"].append(corpus.heard(sound, front))
            taught[f"{name}@{speed}"].append(teacher.vector(sound))

    chosen = [row for row in rows if row.use == "train" and row.speaker and row.speaker not in apart]
    for row in track(chosen, description="listening to people"):
        take(row.speaker, corpus.read(row.path), SPEEDS)
    for name, sentences in track(list(voices.voices(seed=SEED)), description="listening to synthetic voices"):
        for sentence in sentences:
            take(name, sentence, SPEEDS if name.startswith("flite") else SPEEDS[:1])
    mean = torch.stack([vector for vectors in taught.values() for vector in vectors]).mean(dim=0)
    return {
        name: [
            Sound(both, functional.normalize(vector - mean, dim=0))
            for both, vector in zip(heard[name], taught[name], strict=True)
        ]
        for name in heard
    }


def noises() -> list[Tensor]:
    """Environment sounds as they are heard; (frames, INPUTS) each."""
    front = Front()
    return [corpus.heard(samples, front, trim=False) for samples in soundfield.noises()]


class Batches:
    """Draws speakers, two crops of each, and alters them."""

    def __init__(
        self, *, speakers: list[Voice], often: list[int], noise: list[Tensor], strength: augment.Strength
    ) -> None:
        self.speakers, self.noise, self.strength = speakers, noise, strength
        self.often = torch.tensor(often, dtype=torch.long)

    def make(self, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features (2 * classes, frames, INPUTS), first crops before second ones; class numbers (classes,).

        The third is where the teacher puts each crop's file, (2 * classes, 256).
        """
        frames = int(torch.randint(70, 300, (1,), generator=draw))
        chosen = torch.randperm(len(self.speakers), generator=draw)
        often = self.often[torch.randperm(len(self.often), generator=draw)[:_OFTEN_A_BATCH]]
        chosen = torch.cat((often, chosen[~torch.isin(chosen, often)]))[:_CLASSES_A_BATCH]
        firsts, seconds = [], []
        for who in chosen.tolist():
            files = self.speakers[who]
            pick = torch.randperm(len(files), generator=draw)[:2].tolist()
            firsts.append(files[pick[0]])
            seconds.append(files[pick[-1]])
        sounds = firsts + seconds
        both = torch.stack([corpus.crop(sound.heard, frames, draw) for sound in sounds])
        power, pitch = both[..., :MELS].exp(), augment.raise_pitch(both[..., MELS:], self.strength, draw)
        around = torch.randint(len(self.noise), (len(power),), generator=draw).tolist()
        noise = torch.stack([corpus.crop(self.noise[at], frames, draw)[:, :MELS].exp() for at in around])
        power, share = augment.alter(power, noise, self.strength, draw)
        features = augment.mask(centred(level(power)), self.strength, draw)
        taught = torch.stack([sound.taught for sound in sounds])
        return torch.cat((features, 2.0 * share * pitch), dim=2), chosen, taught


class Criterion(nn.Module):
    """Additive angular margin over all classes, angular prototypes between the two crops, and the teacher's word."""

    def __init__(self, *, classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, SpeakerNet.DIMENSIONS) * 0.1)
        self.scale = scale
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.to_teacher = nn.Linear(SpeakerNet.DIMENSIONS, Teacher.DIMENSIONS)

    def forward(self, vectors: Tensor, who: Tensor, taught: Tensor, margin: float) -> Tensor:
        """`vectors` (2 * classes, 192), `who` (classes,), `taught` (2 * classes, 256)."""
        cosine = functional.linear(vectors, functional.normalize(self.centres, dim=1)).clamp(-1 + 1e-6, 1 - 1e-6)
        truth = functional.one_hot(who.repeat(2), len(self.centres)).bool()
        angle = torch.acos(cosine) + margin * truth
        by_class = functional.cross_entropy(self.scale * torch.cos(angle.clamp(max=math.pi)), who.repeat(2))
        first, second = vectors.chunk(2)
        between = self.sharpness.clamp(min=1e-3) * first @ second.T
        order = torch.arange(len(first))
        by_pair = (functional.cross_entropy(between, order) + functional.cross_entropy(between.T, order)) / 2
        by_teacher = (1.0 - functional.cosine_similarity(self.to_teacher(vectors), taught)).mean()
        return by_class + by_pair + _TAUGHT * by_teacher


class Run:
    """A training under way: nets, learner, and the best running mean so far; saved and resumed whole."""

    def __init__(self, *, classes: int, plan: loop.Plan, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.net = SpeakerNet()
        self.criterion = Criterion(classes=classes)
        self.learner = torch.optim.AdamW(
            [
                {"params": [p for p in self.net.parameters() if p.ndim > 1], "weight_decay": 2e-2},
                {"params": [p for p in self.net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
                {"params": self.criterion.parameters(), "weight_decay": 1e-3},
            ]
        )
        self.mean = loop.RunningMean(net=self.net, decay=plan.mean_decay)
        self.best = loop.detached(self.mean.state)
        self.state = loop.Progressed()

    def step(self, features: Tensor, who: Tensor, taught: Tensor, *, rate: float, margin: float) -> float:
        """Learn from one batch; the loss."""
        for group in self.learner.param_groups:
            group["lr"] = rate
        self.net.train()
        with loop.precision():
            vectors = self.net(features)
        loss = self.criterion(vectors.float(), who, taught, margin)
        self.learner.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.learner.step()
        self.mean.update(self.net)
        return float(loss.detach())

    def keep(self, score: float) -> None:
        """Remember the running mean if it is the best one, and save."""
        if score < self.state.best:
            self.state.best, self.best = score, loop.detached(self.mean.state)
        content = {
            "net": self.net.state_dict(),
            "criterion": self.criterion.state_dict(),
            "learner": self.learner.state_dict(),
            "mean": self.mean.state,
            "count": self.mean.count,
            "best": self.best,
            "state": {"step": self.state.step + 1, "elapsed_s": self.state.elapsed_s, "best": self.state.best},
        }
        loop.save(self.checkpoint, content)

    def resume(self) -> None:
        """Go on where the checkpoint was written."""
        kept = torch.load(self.checkpoint, weights_only=True)
        self.net.load_state_dict(kept["net"])
        self.criterion.load_state_dict(kept["criterion"])
        self.learner.load_state_dict(kept["learner"])
        self.mean.state, self.mean.count, self.best = kept["mean"], kept["count"], kept["best"]
        self.state = loop.Progressed(**kept["state"])


def train(plan: loop.Plan, *, weights: Path, resume: bool) -> None:
    """One run from the first step, or from the checkpoint, to published weights.

    Some of flite's voices are in every batch: they are few and made by one vocoder, so the net is prone to take one for
    another.
    """
    torch.manual_seed(SEED)
    learned = learned_voices()
    names = sorted(learned)
    hours = sum(len(sound.heard) for voice in learned.values() for sound in voice) / (3_600 * _FRAMES_PER_S)
    print(f"{len(names)} classes, {hours:.2f} h")
    run = Run(classes=len(names), plan=plan, checkpoint=CHECKPOINT)
    if resume and run.checkpoint.is_file():
        run.resume()
    drawn = Batches(
        speakers=[learned[name] for name in names],
        often=[at for at, name in enumerate(names) if name.startswith("flite")],
        noise=noises(),
        strength=augment.Strength(),
    )
    batches = loop.Ahead(make=drawn.make, seed=SEED, first=run.state.step)
    trial = SpeakerNet().eval()
    held_out = evaluate.held_out_power()
    losses: list[float] = []
    for done in loop.steps(plan, run.state):
        margin = 0.25 * min(done / 0.3, 1.0)
        losses.append(run.step(*batches.next(), rate=plan.learning_rate(done), margin=margin))
        if (run.state.step + 1) % _EVERY == 0:
            trial.load_state_dict(run.mean.state)
            rates = evaluate.speaker_rates(trial, held_out, seconds=2.0)
            shown = " ".join(f"{name} {rate.error:.3f}" for name, rate in rates.items())
            where = f"step {run.state.step + 1} {done:4.0%} {run.state.elapsed_s:.0f} s"
            print(f"{where} loss {sum(losses) / len(losses):.3f} {shown}", flush=True)
            losses.clear()
            run.keep((rates["an4"].error + rates["librispeech"].error) / 2)
    trial.load_state_dict(run.best, strict=False)
    strangers = [name for name in names if name.endswith("@1.0") or name.startswith("flite")]
    people = [[sound.heard for sound in learned[name]] for name in strangers]
    publish.speaker(trial, weights, people=people, steps=run.state.step, classes=len(names), seed=SEED)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train speaker", description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--minutes", type=float, default=None, help="stop by the clock; the schedule fits into it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "speaker.safetensors")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    plan = loop.Plan(steps=asked.steps, minutes=asked.minutes, rate=2e-3)
    train(plan, weights=asked.weights, resume=not asked.fresh)


if __name__ == "__main__":
    main()
