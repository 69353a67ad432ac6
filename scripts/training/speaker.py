"""Train the compact speaker net: `scripts/train speaker`.

Real speakers (AN4, LibriSpeech, EmoDB) at three speeds, each a class of its own, and synthetic voices; two crops a
speaker, altered apart. Additive angular margin softmax (Deng et al. 2019, arXiv:1801.07698) and angular prototypes
(Chung et al. 2020, arXiv:2003.11982). The best running mean of the weights on held-out speakers is kept.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import augment, corpus, evaluate, loop, publish, voices
from stream.models.compact.features import MELS, centred, level
from stream.models.compact.nets import Front, SpeakerNet

SPEEDS = (1.0, 0.9, 1.1)
SEED = 7
CHECKPOINT = corpus.RUNS / "speaker" / "checkpoint.pt"
POLISH_CHECKPOINT = corpus.RUNS / "speaker" / "polish.pt"
_FRAMES_PER_S = 100
_CLASSES_A_BATCH = 48
_OFTEN_A_BATCH = 8
_EVERY = 250

Voice = list[Tensor]  # log-mel power of each of a speaker's files, (frames, 64) each


def learned_voices() -> dict[str, Voice]:
    """Every class that is learned: speaker and speed to the log-mel power of its files."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    front = Front()
    found: dict[str, Voice] = defaultdict(list)
    for row in rows:
        if row.use != "train" or not row.speaker or row.speaker in apart:
            continue
        samples = corpus.read(row.path)
        for speed in SPEEDS:
            sound = samples if speed == 1 else corpus.resampled(samples, speed)
            found[f"{row.speaker}@{speed}"].append(corpus.heard(sound, front))
    for name, sentences in voices.voices(seed=SEED):
        for speed in SPEEDS if name.startswith("flite") else SPEEDS[:1]:
            sounds = [sentence if speed == 1 else corpus.resampled(sentence, speed) for sentence in sentences]
            found[f"{name}@{speed}"] = [corpus.heard(sound, front) for sound in sounds]
    return dict(found)


def noises() -> list[Tensor]:
    """Environment sounds; log-mel power, (frames, 64) each."""
    front = Front()
    rows = corpus.manifest(corpus.data_folder())
    return [
        corpus.heard(corpus.read(row.path), front, trim=False)
        for row in rows
        if row.set == "esc10" and row.use == "train"
    ]


def crop(file: Tensor, frames: int, draw: torch.Generator) -> Tensor:
    """A stretch of that many frames from anywhere; a shorter file is said again. Power, (frames, 64)."""
    if len(file) < frames:
        file = file.repeat(math.ceil(frames / len(file)), 1)
    start = int(torch.randint(len(file) - frames + 1, (1,), generator=draw))
    return file[start : start + frames].float()


class Batches:
    """Draws speakers, two crops of each, and alters them."""

    def __init__(
        self, *, speakers: list[Voice], often: list[int], noise: list[Tensor], strength: augment.Strength
    ) -> None:
        self.speakers, self.noise, self.strength = speakers, noise, strength
        self.often = torch.tensor(often, dtype=torch.long)

    def make(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (2 * classes, frames, INPUTS), first crops before second ones, and class numbers (classes,)."""
        frames = int(torch.randint(70, 300, (1,), generator=draw))
        chosen = torch.randperm(len(self.speakers), generator=draw)
        often = self.often[torch.randperm(len(self.often), generator=draw)[:_OFTEN_A_BATCH]]
        chosen = torch.cat((often, chosen[~torch.isin(chosen, often)]))[:_CLASSES_A_BATCH]
        firsts, seconds = [], []
        for who in chosen.tolist():
            files = self.speakers[who]
            pick = torch.randperm(len(files), generator=draw)[:2].tolist()
            firsts.append(crop(files[pick[0]], frames, draw))
            seconds.append(crop(files[pick[-1]], frames, draw))
        both = torch.stack(firsts + seconds)
        power, pitch = both[..., :MELS].exp(), augment.raise_pitch(both[..., MELS:], self.strength, draw)
        around = torch.randint(len(self.noise), (len(power),), generator=draw).tolist()
        noise = torch.stack([crop(self.noise[at], frames, draw)[:, :MELS].exp() for at in around])
        power, share = augment.alter(power, noise, self.strength, draw)
        features = augment.mask(centred(level(power)), self.strength, draw)
        return torch.cat((features, 2.0 * share * pitch), dim=2), chosen


class Criterion(nn.Module):
    """Additive angular margin over all classes, plus angular prototypes between the two crops of each speaker."""

    def __init__(self, *, classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, SpeakerNet.DIMENSIONS) * 0.1)
        self.scale = scale
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, vectors: Tensor, who: Tensor, margin: float) -> Tensor:
        """`vectors` (2 * classes, 192), `who` (classes,)."""
        cosine = functional.linear(vectors, functional.normalize(self.centres, dim=1)).clamp(-1 + 1e-6, 1 - 1e-6)
        truth = functional.one_hot(who.repeat(2), len(self.centres)).bool()
        angle = torch.acos(cosine) + margin * truth
        by_class = functional.cross_entropy(self.scale * torch.cos(angle.clamp(max=math.pi)), who.repeat(2))
        first, second = vectors.chunk(2)
        between = self.sharpness.clamp(min=1e-3) * first @ second.T
        order = torch.arange(len(first))
        by_pair = (functional.cross_entropy(between, order) + functional.cross_entropy(between.T, order)) / 2
        return by_class + by_pair


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

    def step(self, features: Tensor, who: Tensor, *, rate: float, margin: float) -> float:
        """Learn from one batch; the loss."""
        for group in self.learner.param_groups:
            group["lr"] = rate
        self.net.train()
        with torch.autocast("cpu", torch.bfloat16):
            vectors = self.net(features)
        loss = self.criterion(vectors.float(), who, margin)
        self.learner.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.learner.step()
        self.mean.update(self.net)
        return float(loss.detach())

    def keep(self, score: float, *, latest: bool) -> None:
        """Remember the running mean if it is the best one (or the latest, where that is wanted), and save."""
        if latest or score < self.state.best:
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

    def start_from(self, finished: Path, learned: list[Voice]) -> None:
        """Take the best net of a run that is over, and put each class's centre where that net hears the class."""
        self.net.load_state_dict(torch.load(finished, weights_only=True)["best"], strict=False)
        self.mean = loop.RunningMean(net=self.net, decay=self.mean.decay)
        self.net.eval()
        with torch.inference_mode():
            centres = [
                torch.stack([self.net(corpus.features(file)[None])[0] for file in voice[:3]]).mean(dim=0)
                for voice in learned
            ]
        self.criterion.centres.data.copy_(functional.normalize(torch.stack(centres), dim=1))


def halfway(run: Run, finished: Path) -> tuple[dict[str, Tensor], int]:
    """The mean weights of a net and of what it became by learning on (Wortsman et al. 2022), and the steps of both."""
    kept = torch.load(finished, weights_only=True)
    mean = {name: torch.lerp(kept["best"][name], value, 0.5) for name, value in run.best.items()}
    return mean, run.state.step + kept["state"]["step"]


def train(plan: loop.Plan, *, weights: Path, resume: bool, polish: bool) -> None:
    """One run from the first step, or from the checkpoint, to published weights.

    Polishing starts from the best net of a run that is over and learns on, slowly and with a wider margin, with some of
    flite's voices in every batch: they are few and made by one vocoder, so the net is prone to take one for another.
    There the latest net counts, and what is published lies halfway between it and the one it started from: most of what
    synthetic voices gain, and little of what real ones lose.
    """
    torch.manual_seed(SEED)
    learned = learned_voices()
    names = sorted(learned)
    print(f"{len(names)} classes, {sum(len(file) for voice in learned.values() for file in voice) / 360_000:.2f} h")
    run = Run(classes=len(names), plan=plan, checkpoint=POLISH_CHECKPOINT if polish else CHECKPOINT)
    if resume and run.checkpoint.is_file():
        run.resume()
    elif polish:
        run.start_from(CHECKPOINT, [learned[name] for name in names])
    drawn = Batches(
        speakers=[learned[name] for name in names],
        often=[at for at, name in enumerate(names) if polish and name.startswith("flite")],
        noise=noises(),
        strength=augment.Strength(),
    )
    batches = loop.Ahead(make=drawn.make, seed=SEED + polish, first=run.state.step)
    trial = SpeakerNet().eval()
    held_out = evaluate.held_out_power()
    losses: list[float] = []
    for done in loop.steps(plan, run.state):
        margin = 0.35 * min(0.6 + done, 1.0) if polish else 0.25 * min(done / 0.3, 1.0)
        losses.append(run.step(*batches.next(), rate=plan.learning_rate(done), margin=margin))
        if (run.state.step + 1) % _EVERY == 0:
            trial.load_state_dict(run.mean.state)
            rates = evaluate.speaker_rates(trial, held_out, seconds=2.0)
            shown = " ".join(f"{name} {rate.error:.3f}" for name, rate in rates.items())
            where = f"step {run.state.step + 1} {done:4.0%} {run.state.elapsed_s:.0f} s"
            print(f"{where} loss {sum(losses) / len(losses):.3f} {shown}", flush=True)
            losses.clear()
            run.keep((rates["an4"].error + rates["librispeech"].error) / 2, latest=polish)
    found, steps = halfway(run, CHECKPOINT) if polish else (run.best, run.state.step)
    trial.load_state_dict(found, strict=False)
    publish.speaker(trial, weights, steps=steps, classes=len(names), seed=SEED)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train speaker", description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--minutes", type=float, default=None, help="stop by the clock; the schedule fits into it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--polish", action="store_true", help="learn on from the best net of a run that is over")
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "speaker.safetensors")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    plan = loop.Plan(steps=asked.steps, minutes=asked.minutes, rate=6e-4 if asked.polish else 2e-3)
    train(plan, weights=asked.weights, resume=not asked.fresh, polish=asked.polish)


if __name__ == "__main__":
    main()
