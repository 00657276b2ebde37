"""What both training stages share: a time budget, a resumable checkpoint, a running average of the weights, a log.

The budget is wall time, not steps, because the stages are meant for whatever machine is at hand; the learning rate
follows the share of the budget that is spent.
"""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

from ...editing.whole_file import whole_file
from ..budget import Budget, Unfinished


class TrainingRun:
    """One training stage in a folder: `state.pt` (resume point), `log.jsonl` (one line every few seconds).

    modules are averaged together; `share` runs from 0 to 1 over the budget of `minutes`. call: how long this process
    may work at it; `finish` raises Unfinished where that ends first.
    """

    def __init__(
        self,
        folder: Path,
        modules: dict[str, nn.Module],
        minutes: float,
        lr: float,
        ema: float,
        betas=(0.9, 0.99),
        call: Budget | None = None,
    ):
        self.call = call or Budget()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.modules, self.budget, self.peak_lr, self.decay = folder, modules, minutes * 60, lr, ema
        self.average = {k: copy.deepcopy(m).eval().requires_grad_(False) for k, m in modules.items()}
        parameters = [p for m in modules.values() for p in m.parameters()]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=0.01)
        self.step, self.spent, self.samples = 0, 0.0, 0
        self._since = time.monotonic()
        self._saved = self._logged = self._rung = self._since
        self._losses: list[float] = []
        if (folder / "state.pt").exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location="cpu", weights_only=True)
        for key, module in self.modules.items():
            module.load_state_dict(state["modules"][key])
            self.average[key].load_state_dict(state["average"][key])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.samples = state["step"], state["spent"], state["samples"]
        print(f"resumed at step {self.step}, {self.spent / 60:.1f} minutes spent", flush=True)

    @property
    def share(self) -> float:
        return (self.spent + time.monotonic() - self._since) / self.budget

    @property
    def going(self) -> bool:
        return self.share < 1 and not self.call.spent

    def due(self, seconds: float) -> bool:
        """Whether `seconds` have passed since this last said yes."""
        if time.monotonic() - self._rung < seconds:
            return False
        self._rung = time.monotonic()
        return True

    def update(self, loss: torch.Tensor, samples: int, warmup: int = 100) -> None:
        """One optimiser step, the average, the log and, every two minutes, the resume point."""
        rate = self.peak_lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.share))))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1.0, (self.step + 1) / warmup)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        self.samples += samples
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, module in self.modules.items():
                averaged = list(self.average[key].parameters())
                torch._foreach_lerp_(averaged, list(module.parameters()), 1 - decay)
        self._losses.append(loss.item())
        now = time.monotonic()
        if now - self._logged > 10:
            self._log_losses(samples)
        if now - self._saved > 120:
            self.save()
            self._saved = now

    def _log_losses(self, samples: int) -> None:
        now, count = time.monotonic(), len(self._losses)
        if count:
            self.log(loss=sum(self._losses) / count, rate=samples * count / (now - self._logged))
        self._losses, self._logged = [], now

    def finish(self, samples: int) -> None:
        """Log what is left and write the last resume point; Unfinished where the budget is not spent."""
        self._log_losses(samples)
        self.save()
        if self.share < 1:
            raise Unfinished(f"{self.folder}: {self.share:.0%} of the training is done")

    def log(self, **values) -> None:
        line = {"step": self.step, "minutes": round(self.share * self.budget / 60, 2), "samples": self.samples}
        line |= {k: round(v, 5) for k, v in values.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    def save(self) -> None:
        now = time.monotonic()
        self.spent, self._since = self.spent + now - self._since, now
        state = {
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "average": {k: m.state_dict() for k, m in self.average.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self.spent,
            "samples": self.samples,
        }
        with whole_file(self.folder / "state.pt") as part:
            torch.save(state, part)


def plot(logs: dict[str, Path], target: Path) -> None:
    """Loss over minutes of every stage, side by side, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(logs), figsize=(5 * len(logs), 3.2), squeeze=False)
    for axis, (name, path) in zip(axes[0], logs.items()):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if "loss" in line]
        axis.plot([line["minutes"] for line in lines], [line["loss"] for line in lines], linewidth=1)
        axis.set(title=name, xlabel="minutes", ylabel="loss", yscale="log")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
