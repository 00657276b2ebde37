"""python -m videograin.lab.training train | evaluate : make the embedded model anew, or measure it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ..budget import UNFINISHED, Budget, Unfinished

# Two OpenMP threads that spin while they wait starve each other on a shared two-core machine (20 times slower).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m videograin.world", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train from nothing, or resume; writes OUT/model, a diffusers folder")
    train.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run (default: runs)")
    train.add_argument("--vae-minutes", type=float, default=14, help="wall time for the autoencoder (default: 14)")
    train.add_argument("--unet-minutes", type=float, default=92, help="wall time for the denoiser (default: 92)")
    train.add_argument("--scenes", type=int, default=30_000, help="scenes the denoiser is trained on (default: 30000)")
    train.add_argument("--batch", type=int, default=32, help="batch of the denoiser (default: 32)")
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    train.add_argument("--minutes", type=float, help="stop after so many; the same command goes on")
    train.add_argument("--smoke", action="store_true", help="seconds instead of hours: only shows that it runs")
    check = commands.add_parser("evaluate", help="measure a model with the reader")
    check.add_argument("--model", type=Path, default=None, help="model folder (default: the embedded one)")
    check.add_argument("--out", type=Path, default=None, help="folder for figures.json and sample sheets")
    check.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    check.add_argument("--quick", action="store_true", help="a tenth of the pictures")
    args = parser.parse_args(argv)
    if args.command == "evaluate":
        return _evaluate(args)
    try:
        return _train(args)
    except Unfinished as stopped:
        print(f"{stopped}; the same command goes on")
        return UNFINISHED


def _train(args: argparse.Namespace) -> int:
    from ...world.vae import WorldVAE
    from . import train_unet, train_vae
    from .budgeted_run import plot
    from .pipeline_folder import save_pipeline, save_vae

    if args.smoke:
        args.vae_minutes, args.unet_minutes, args.scenes = 0.05, 0.05, 64
    pool = 64 if args.smoke else train_vae.POOL
    final, how = args.out / "vae" / "final", {"device": args.device, "call": Budget(args.minutes)}
    if not (final / "config.json").exists():
        save_vae(final, train_vae.train(args.out / "vae", args.vae_minutes, pool_size=pool, **how))
    vae = WorldVAE.load(final)
    sizes = {"scenes": args.scenes, "batch": args.batch}
    modules = train_unet.train(args.out / "unet", vae, args.unet_minutes, **sizes, **how)
    save_pipeline(args.out / "model", {k: m.cpu() for k, m in modules.items()}, vae, train_unet.SCHEDULE)
    plot({stage: args.out / stage / "log.jsonl" for stage in ("vae", "unet")}, args.out / "loss.png")
    print(f"model: {args.out / 'model'}   loss: {args.out / 'loss.png'}   samples: {args.out / 'unet' / 'samples.png'}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from ...hosts.diffusers import load_model
    from .evaluate import evaluate, save_sheet

    kept: dict[str, list] = {}

    def show(text: str) -> None:
        print(f"\r{text}   ", end="", file=sys.stderr, flush=True)

    figures = evaluate(load_model(args.model, device=args.device), args.quick, kept, show)
    print(file=sys.stderr)
    print(json.dumps(figures, indent=2))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        for name, pictures in kept.items():
            save_sheet(pictures, args.out / f"{name}.png")
            wrong = [entry for entry in pictures if not entry[3]]
            if wrong:
                save_sheet(wrong, args.out / f"{name}_wrong.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
