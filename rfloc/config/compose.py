"""conf/ to params.yaml by Hydra, at the word of `rfloc params` or `dvc exp run` alone, and whether it still says so."""

import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from flatten_dict import flatten

from rfloc import config, files
from rfloc.errors import ConfigError, nearest

#: First line of a params.yaml that `rfloc params` wrote: digest of what conf/ said, and the overrides.
_FIRST = "# conf/ as of {}, by rfloc params {}\n"
_WRITTEN = re.compile(_FIRST.format(r"(\w+)", "(.*)"))


def compose(root: Path, overrides: Sequence[str], target: Path | None = None) -> Path:
    """Compose conf/ as `dvc exp run -S` does; write params.yaml, or `target`, if it is valid (raises ConfigError)."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    target = target or root / "params.yaml"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".params-") as folder:
        part = Path(folder) / "params.yaml"
        try:
            compose_and_dump(str(part), str(root / "conf"), None, "config", "", list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            said = f"{error}\n{error.__cause__ or ''}".partition("Config search path")[0]
            why = " ".join(line.strip() for line in said.splitlines() if line.strip())
            what = f"conf/ cannot be composed with {' '.join(overrides)}"
            raise ConfigError(what, why, _nearest_keys(overrides)) from None
        scale, asked = config.read(part).scale, [o.partition("=")[2] for o in overrides if o.startswith("scale=")]
        if asked and asked[-1] != scale:
            said = f"conf/scale/{asked[-1]}.yaml says that its scale is {scale!r}, under which its results would lie"
            raise ConfigError(said, "a scale that builds on another names itself", f"add `scale: {asked[-1]}` to it")
        text = part.read_text()
        part.write_text(_FIRST.format(files.digest(yaml.safe_load(text))[:12], shlex.join(overrides)) + text)
        part.replace(target)
    return target


def _nearest_keys(overrides: Sequence[str]) -> str:
    """For the overrides that name no key, the nearest one."""
    known = {".".join(filter(None, path)) for path in config.KNOBS.values()}
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    unknown = [key for key in keys if "." in key and key not in known and "@" not in key]
    return "; ".join(f"{key}: {nearest(key, known)}" for key in unknown) or "conf/ lists every key and every scale"


def require_composed(root: Path) -> None:
    """Raise ConfigError, with what to type, where conf/ was edited since params.yaml was composed.

    Who edits params.yaml may: it is compared with conf/ only where conf/ says something else than it said then. What
    `dvc exp run` composes notes no overrides; there the last look at both, build/inputs/composed.json, tells.
    """
    text, mend = (root / "params.yaml").read_text(), "type `dvc exp run -S ...` again, or `rfloc params ...`"
    if written := _WRITTEN.match(text):
        mend = f"type `rfloc params {written[2]}`"
        with tempfile.TemporaryDirectory() as folder:
            fresh = compose(root, shlex.split(written[2]), Path(folder) / "params.yaml").read_text()
        now, here = flatten(yaml.safe_load(fresh), "dot"), flatten(yaml.safe_load(text), "dot")
        edited = not fresh.startswith(written[0])
        changed = [key for key in now | here if now.get(key) != here.get(key)] if edited else []
    else:
        paths = sorted((root / "conf").rglob("*.yaml"))
        said = {path.relative_to(root).as_posix(): files.digest(yaml.safe_load(path.read_text())) for path in paths}
        look: dict[str, Any] = {"conf": said, "params": files.digest(text)}
        kept = root / "build/inputs/composed.json"
        last = files.load_json(kept) if kept.is_file() and "DVC_EXP_NAME" not in os.environ else look
        edited = last["params"] == look["params"]
        changed = [name for name in last["conf"] | said if last["conf"].get(name) != said.get(name)] if edited else []
        if not changed:
            files.save_json(look, kept)
    if changed:
        what = f"conf/ was edited since params.yaml was composed: {', '.join(changed)}"
        raise ConfigError(what, "params.yaml is what runs, and nothing composes it unasked", mend)
