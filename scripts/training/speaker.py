"""Train the small speaker net: `scripts/train speaker`.

Real speakers (AN4, LibriSpeech, speechocean762, CREMA-D, EmoDB) at five speeds, each speed a class; two crops per
speaker, augmented separately. Mostly distillation: the x-vector of a short, augmented crop should equal the x-vector
(less the mean of all) of the whole clean file by CAM++, which was trained on about 200,000 people. With a smaller
weight, additive angular margin softmax (Deng et al. 2019, arXiv:1801.07698) and angular prototypes (Chung et al. 2020,
arXiv:2003.11982). The best running mean of the weights on held-out speakers is kept.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import augment, corpus, evaluate, loop, publish, soundfield
from scripts.training.teacher import Teacher
from stream.models.compact.features import MELS, log_power, mean_normalised
from stream.models.compact.nets import FrontEnd, SpeakerNet

SETS = frozenset({"an4", "librispeech", "speechocean762", "crema-d", "emodb"})
SPEEDS = (1.0, 0.86, 0.93, 1.07, 1.15)
SEED = 7
CHECKPOINT = corpus.RUNS / "speaker" / "checkpoint.pt"
_FRAMES_PER_S = 100
_CLASSES_PER_BATCH = 48
_EVALUATION_STEPS = 250
_CLASS_WEIGHT = 0.2
_TEACHER_WEIGHT = 6.0


@dataclass(frozen=True, slots=True)
class Example:
    """Features of one file, (frames, INPUTS), and its teacher vector, (192,), mean removed, unit length."""

    features: Tensor
    teacher: Tensor


Voice = list[Example]


def training_voices() -> dict[str, Voice]:
    """Return the files of every training class (speaker and speed)."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    front, teacher = FrontEnd(), Teacher()
    features: dict[str, list[Tensor]] = defaultdict(list)
    vectors: dict[str, list[Tensor]] = defaultdict(list)

    chosen = [
        row for row in rows if row.set in SETS and row.use == "train" and row.speaker and row.speaker not in held_out
    ]
    for row in track(chosen, description="recordings"):
        samples = corpus.read(row.path)
        for speed in SPEEDS:
            audio = samples if speed == 1 else corpus.resampled(samples, speed)
            features[f"{row.speaker}@{speed}"].append(corpus.raw_features(audio, front))
            vectors[f"{row.speaker}@{speed}"].append(teacher.vector(audio))
    mean = torch.stack([vector for own in vectors.values() for vector in own]).mean(dim=0)
    return {
        name: [
            Example(both, functional.normalize(vector - mean, dim=0))
            for both, vector in zip(features[name], vectors[name], strict=True)
        ]
        for name in features
    }


def noises() -> list[Tensor]:
    """Return raw features of environmental noise; (frames, INPUTS) each."""
    front = FrontEnd()
    return [corpus.raw_features(samples, front, trim=False) for samples in soundfield.noises()]


class Batches:
    """Draws speakers and two augmented crops of each."""

    def __init__(self, *, speakers: list[Voice], noise: list[Tensor], strength: augment.Strength) -> None:
        self.speakers, self.noise, self.strength = speakers, noise, strength

    def make(self, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features (2 * classes, frames, INPUTS), first crops before second ones; class numbers (classes,).

        The third are the teacher vectors of each crop's file, (2 * classes, 192).
        """
        frames = int(torch.randint(70, 300, (1,), generator=draw))
        chosen = torch.randperm(len(self.speakers), generator=draw)[:_CLASSES_PER_BATCH]
        firsts, seconds = [], []
        for index in chosen.tolist():
            files = self.speakers[index]
            pick = torch.randperm(len(files), generator=draw)[:2].tolist()
            firsts.append(files[pick[0]])
            seconds.append(files[pick[-1]])
        examples = firsts + seconds
        both = torch.stack([corpus.crop(example.features, frames, draw) for example in examples])
        power, pitch = both[..., :MELS].exp(), augment.raise_pitch(both[..., MELS:], self.strength, draw)
        chosen_noise = torch.randint(len(self.noise), (len(power),), generator=draw).tolist()
        noise = torch.stack([corpus.crop(self.noise[at], frames, draw)[:, :MELS].exp() for at in chosen_noise])
        power, share = augment.augment(power, noise, self.strength, draw)
        features = augment.mask(mean_normalised(log_power(power)), self.strength, draw)
        teacher = torch.stack([example.teacher for example in examples])
        return torch.cat((features, 2.0 * share * pitch), dim=2), chosen, teacher


class Criterion(nn.Module):
    """Sum of additive angular margin softmax, angular prototypes between two crops, and distance to the teacher."""

    def __init__(self, *, classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, SpeakerNet.DIMENSIONS) * 0.1)
        self.scale = scale
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, vectors: Tensor, labels: Tensor, teacher_vectors: Tensor, margin: float) -> Tensor:
        """`vectors` (2 * classes, 192), `labels` (classes,), `teacher_vectors` (2 * classes, 192)."""
        cosine = functional.linear(vectors, functional.normalize(self.centres, dim=1)).clamp(-1 + 1e-6, 1 - 1e-6)
        truth = functional.one_hot(labels.repeat(2), len(self.centres)).bool()
        angle = torch.acos(cosine) + margin * truth
        by_class = functional.cross_entropy(self.scale * torch.cos(angle.clamp(max=math.pi)), labels.repeat(2))
        first, second = vectors.chunk(2)
        between = self.sharpness.clamp(min=1e-3) * first @ second.T
        order = torch.arange(len(first))
        by_pair = (functional.cross_entropy(between, order) + functional.cross_entropy(between.T, order)) / 2
        by_teacher = (1.0 - functional.cosine_similarity(vectors, teacher_vectors)).mean()
        return _CLASS_WEIGHT * (by_class + by_pair) + _TEACHER_WEIGHT * by_teacher


class Run:
    """State of a training: nets, optimiser, and the best running mean so far; saved and resumed."""

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
        self.state = loop.TrainingState()

    def step(self, features: Tensor, labels: Tensor, teacher_vectors: Tensor, *, rate: float, margin: float) -> float:
        """Train on one batch and return the loss."""
        for group in self.learner.param_groups:
            group["lr"] = rate
        self.net.train()
        with loop.precision():
            vectors = self.net(features)
        loss = self.criterion(vectors.float(), labels, teacher_vectors, margin)
        self.learner.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.learner.step()
        self.mean.update(self.net)
        return float(loss.detach())

    def checkpoint_best(self, score: float) -> None:
        """Store the running mean if it is the best, and save a checkpoint."""
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

    def start_from(self, weights: Path) -> None:
        """Take the trunk of published weights; their projection maps to other vectors."""
        tensors = load_file(weights)
        trunk = {name.removeprefix("trunk."): tensors[name].float() for name in tensors if name.startswith("trunk.")}
        self.net.trunk.load_state_dict(trunk, strict=False)
        self.mean = loop.RunningMean(net=self.net, decay=self.mean.decay)

    def resume(self) -> None:
        """Restore the state of the checkpoint."""
        saved = torch.load(self.checkpoint, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.criterion.load_state_dict(saved["criterion"])
        self.learner.load_state_dict(saved["learner"])
        self.mean.state, self.mean.count, self.best = saved["mean"], saved["count"], saved["best"]
        self.state = loop.TrainingState(**saved["state"])


def train(plan: loop.Plan, *, weights: Path, initial: Path | None, resume: bool) -> None:
    """Train from the first step, with the trunk of `initial`, or from the checkpoint, and publish the weights."""
    torch.manual_seed(SEED)
    classes = training_voices()
    names = sorted(classes)
    hours = sum(len(example.features) for voice in classes.values() for example in voice) / (3_600 * _FRAMES_PER_S)
    print(f"{len(names)} classes, {hours:.2f} h")
    run = Run(classes=len(names), plan=plan, checkpoint=CHECKPOINT)
    if resume and run.checkpoint.is_file():
        run.resume()
    elif initial is not None:
        run.start_from(initial)
    drawn = Batches(
        speakers=[classes[name] for name in names],
        noise=noises(),
        strength=augment.Strength(),
    )
    batches = loop.Prefetcher(make=drawn.make, seed=SEED, first=run.state.step)
    trial = SpeakerNet().eval()
    held_out = evaluate.held_out_files()
    losses: list[float] = []
    for done in loop.steps(plan, run.state):
        margin = 0.25 * min(done / 0.3, 1.0)
        losses.append(run.step(*batches.next(), rate=plan.learning_rate(done), margin=margin))
        if (run.state.step + 1) % _EVALUATION_STEPS == 0:
            trial.load_state_dict(run.mean.state)
            rates = evaluate.speaker_rates(trial, held_out, seconds=2.0)
            errors = " ".join(f"{name} {rate.error:.3f}" for name, rate in rates.items())
            progress = f"step {run.state.step + 1} {done:4.0%} {run.state.elapsed_s:.0f} s"
            print(f"{progress} loss {sum(losses) / len(losses):.3f} {errors}", flush=True)
            losses.clear()
            run.checkpoint_best((rates["an4"].error + rates["librispeech"].error) / 2)
    trial.load_state_dict(run.best, strict=False)
    people = [[example.features for example in classes[name]] for name in names if name.endswith("@1.0")]
    publish.speaker(trial, weights, people=people, steps=run.state.step, classes=len(names), seed=SEED)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="scripts/train speaker", description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time; the schedule is adapted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--initial", type=Path, default=None, help="published weights whose trunk training starts from")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--weights", type=Path, default=publish.FOLDER / "speaker.safetensors")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = loop.Plan(steps=arguments.steps, minutes=arguments.minutes, rate=2e-3)
    train(plan, weights=arguments.weights, initial=arguments.initial, resume=not arguments.fresh)


if __name__ == "__main__":
    main()
