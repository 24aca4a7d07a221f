"""Copy what a Python program needs, and no shell, package manager or pip, into a new root folder.

Runs inside an image build, with the interpreter of the base image and its standard library alone. It works on Debian's
own Python (/usr/bin/python3) as on one that was installed beside it (/usr/local/bin/python3).
"""

from __future__ import annotations

import compileall
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

# Of the standard library: what draws windows, tests or installs.
_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "site-packages")
_LEFT_OUT_FILES = ("_tkinter*", "*.a", "config-3.*", "__pycache__")
# What a manylinux wheel may expect of any system (PEP 599, without the libraries that draw windows), and what the C
# library itself loads by name.
_MORE_LIBRARIES = {
    *("libgcc_s.so.1", "libstdc++.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libc.so.6", "libutil.so.1"),
    *("libpthread.so.0", "libresolv.so.2", "libnsl.so.1", "libnss_dns.so.2", "libnss_files.so.2"),
}
_DATA = (
    "/etc/debian_version",
    "/etc/ld.so.cache",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/share/zoneinfo",
)
_USER = 65532  # "nonroot" of distroless images; pod security wants a number, scanners one above 10000


def main(root: Path) -> None:
    """Fill the new folder `root`."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    stdlib = Path(sysconfig.get_path("stdlib"))
    _copy_tree(stdlib, root)
    interpreter = Path(sys.executable).resolve()
    copied = [interpreter, *_shared_libraries([interpreter, *stdlib.rglob("*.so")]), *map(Path, _DATA)]
    for file in copied:
        _copy(file, root)
    for name in ("python", "python3"):
        link = root / "usr/bin" / name
        if not link.exists():
            link.symlink_to(interpreter)
    _write_users(root)
    _write_package_database(root, copied)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    compileall.compile_dir(
        root, quiet=2, stripdir=str(root), prependdir="/", invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


def _copy_tree(source: Path, root: Path) -> None:
    def left_out(folder: str, names: list[str]) -> set[str]:
        files = shutil.ignore_patterns(*_LEFT_OUT_FILES)(folder, names)
        return files | (set(_LEFT_OUT) & set(names) if Path(folder) == source else set())

    shutil.copytree(source, root / source.relative_to("/"), symlinks=True, ignore=left_out, dirs_exist_ok=True)


def _copy(file: Path, root: Path) -> None:
    target = root / file.relative_to("/")
    if not file.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir():
        shutil.copytree(file, target, symlinks=True)
    else:
        shutil.copy2(file, target)  # of a symbolic link, what it points to under the link's name


def _shared_libraries(programs: list[Path]) -> list[Path]:
    needed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    by_name = [line for line in known.splitlines() if line.split(" ", 1)[0].strip() in _MORE_LIBRARIES]
    loaded = re.findall(r"(?:=> |^\t)(/\S+) \(0x", needed, re.MULTILINE)
    return sorted({Path(name) for name in [*loaded, *(line.rsplit(" ", 1)[1] for line in by_name)]})


def _write_users(root: Path) -> None:
    users = {"root": 0, "nonroot": _USER}
    passwd = [f"{name}:x:{number}:{number}:{name}:/tmp:/sbin/nologin" for name, number in users.items()]
    (root / "etc/passwd").write_text("\n".join(passwd) + "\n")
    (root / "etc/group").write_text("\n".join(f"{name}:x:{number}:" for name, number in users.items()) + "\n")


def _write_package_database(root: Path, copied: list[Path]) -> None:
    """Keep the entries of the packages whose files are here: scanners look up their versions among the known holes."""
    # /lib is a link to /usr/lib since Debian merged them, and a package may list its files under either.
    names = {str(spelling) for file in copied for spelling in (file, file.resolve(), Path("/usr", *file.parts[1:]))}
    names |= {name.removeprefix("/usr") for name in names}
    kept = {
        entry.name.removesuffix(".list").split(":")[0]
        for entry in Path("/var/lib/dpkg/info").glob("*.list")
        if names & (set(entry.read_text().splitlines()) - {"/usr/share/zoneinfo"})
    }
    entries = Path("/var/lib/dpkg/status").read_text().split("\n\n")
    target = root / "var/lib/dpkg/status"
    target.parent.mkdir(parents=True)
    target.write_text(
        "\n\n".join(entry for entry in entries if entry.split("\n", 1)[0].removeprefix("Package: ") in kept) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
