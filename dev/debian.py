"""Debian root file systems made from packages: where no image registry answers, images start from these."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.engine import Engine, install_debootstrap
from dev.progress import step

# Neither is read inside a container, and both are large.
_LEFT_OUT = ("var/cache/apt/archives/", "var/lib/apt/lists/", "usr/share/doc/", "usr/share/man/", "usr/share/locale/")


def import_root_file_system(engine: Engine, image: str, *, suite: str, packages: Sequence[str], cache: Path) -> None:
    """Make `image` from Debian packages, unless the engine has it.

    Args:
        engine: where the image goes.
        image: its name and tag.
        suite: Debian release, as in "trixie".
        packages: what to install besides the essential packages.
        cache: folder that keeps the root file system as a tar archive for other engines and later runs.

    Raises:
        NoEngineError: where debootstrap cannot be had.
        RuntimeError: with the end of debootstrap's log.
    """
    if engine.has_image(image):
        return
    archive = cache / (re.sub(r"[^\w.-]", "_", image) + ".tar")
    if not archive.exists():
        install_debootstrap()
        cache.mkdir(parents=True, exist_ok=True)
        with step(f"making {image} from Debian packages (about a minute)"):
            _bootstrap(archive, suite, packages)
    engine.docker("import", str(archive), image)


def _bootstrap(archive: Path, suite: str, packages: Sequence[str]) -> None:
    mirror = os.environ.get("DEBIAN_MIRROR") or next(_mirrors_of_this_machine(), None)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(root)]
        try:
            done = subprocess.run(
                [*command, *([mirror] if mirror else [])], capture_output=True, text=True, check=False
            )
        finally:
            # Nothing that it mounts outlives it, unless it is interrupted: the folder's end must not reach into /sys.
            for mount in ("proc", "sys", "dev"):
                subprocess.run(["umount", "--recursive", root / mount], check=False, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"debootstrap {suite} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        unfinished = Path(folder) / archive.name
        with tarfile.open(unfinished, "w") as tar:
            tar.add(root, arcname=".", filter=_without_ballast)
        unfinished.rename(archive)


def _without_ballast(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = member.name.removeprefix("./")
    return None if any(name.startswith(folder) and name != folder for folder in _LEFT_OUT) else member


def _mirrors_of_this_machine() -> Iterator[str]:
    folder = Path("/etc/apt/sources.list.d")
    for source in [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]:
        if source.is_file():
            yield from re.findall(
                r"^(?:deb .*?|URIs: )(https?://\S+/debian/?)(?=\s|$)", source.read_text(), re.MULTILINE
            )
