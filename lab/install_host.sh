#!/bin/sh
# Install what a ComfyUI checkout needs into a Python that has a CPU build of torch and the pack's own requirements.
#
#   sh lab/install_host.sh <python> <ComfyUI checkout>
#
# Stock torchvision and torchaudio wheels carry libraries for CUDA that a CPU build of torch cannot load. Where PyTorch's
# index of CPU wheels is out of reach, both are made to do without them: ComfyUI needs only their Python parts.
set -eu
python=$1
comfyui=$2
if [ ! -f "$comfyui/requirements.txt" ]; then
    echo "$comfyui is no ComfyUI checkout: git clone https://github.com/comfyanonymous/ComfyUI there, or set COMFYUI=... (or COMFYUI_PATH=...)" >&2
    exit 1
fi

install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
# torch is here already and must stay; the others would bring another one along.
grep -v -E '^(torch|torchvision|torchaudio|torchsde|spandrel)([^a-z]|$)' "$comfyui/requirements.txt" > "$wanted"
install -r "$wanted"
# requests: ComfyUI 0.3.64 imports it without saying so. playwright: the browser tests (they use your own Chromium).
install torchsde requests playwright
minor=$("$python" -c 'import torch; print(torch.__version__.split(".")[1])')
install --no-deps spandrel torchaudio "torchvision==0.$((minor + 15)).*"

"$python" - <<'PY'
import importlib.util
import re
import subprocess
import sys
from pathlib import Path


def works(name):
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0


def folder(name):
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


if not works("torchvision"):
    file = folder("torchvision") / "_meta_registrations.py"
    plain = r'^@torch\.library\.register_fake\("torchvision::(\w+)"\)$'
    guarded = r'@(torch.library.register_fake("torchvision::\1") if torchvision.extension._has_ops() else (lambda f: f))'
    file.write_text(re.sub(plain, guarded, file.read_text(), flags=re.MULTILINE))
if not works("torchaudio"):
    for library in (folder("torchaudio") / "lib").glob("*.so"):
        library.unlink()
broken = [name for name in ("torchvision", "torchaudio", "torchsde", "spandrel") if not works(name)]
sys.exit(f"these do not import: {', '.join(broken)}" if broken else 0)
PY
