"""Set up and run: `python3 scripts/run.py WHAT`. Needs Python >= 3.11; the last two Node 20 as well.

    demo    a fresh panel, a question about it, the answer        (SEED=n draws another)
    test    the tests that take minutes
    check   all tests, slow ones too, and lint
    lint    ruff and mypy
    bench   tokens a second beside transformers and llama.cpp (installs llama.cpp, which compiles for minutes)
    soak    30 minutes of 64 clients on one engine
    load    10 minutes of 100 streaming clients on one server
    kill    ten times kill -9 under load: nothing that was acknowledged may be lost
    fuzz    5,000 requests made up from the server's OpenAPI document
    bare    the server's and the store's tests under python -O, which leaves every assert of ours out
    page    build the page that `narthex serve` shows, from web/
    page-test   its tests, in Chromium against a real server; `-- --if-possible` passes where there is none to test with

It makes .venv beside this folder, installs Narthex there, and remembers what it installed: while pyproject.toml stays
as it is, later calls start at once. What stands after `--` goes to pytest or to the benchmark.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "narthex-setup.json"

OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")

# What pip fetches, in MB: sums of wheel sizes on Linux x86-64, 2026-11-22. Other platforms differ by some tens.
TORCH_CPU_MB, RUNTIME_MB, DEV_MB = 190, 50, 50
# Not summed, only the order of size: torch with NVIDIA's libraries.
TORCH_CUDA_MB = 3000

DEMO_SEED = 1
SERVER = ("load", "kill", "fuzz", "bare")
BARE = ("unit/test_serve_*.py", "unit/test_store_*.py", "e2e/test_serve*.py")

CHOICES = ("demo", "test", "check", "lint", "bench", "soak", *SERVER, "page", "page-test")
WEB, PAGE = ROOT / "web", ROOT / "narthex" / "serve" / "dist"
NODE_MAJOR = 20
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")

# More workers than this gain little: most of a worker's life is importing torch.
MAX_WORKERS = 4


def main() -> int:
    use_new_enough_python()
    os.chdir(ROOT)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(CHOICES))
    parser.add_argument("more", nargs="*", help="after --: arguments for pytest or the benchmark")
    options = parser.parse_args()
    if options.what == "demo":
        seed = chosen_seed()
        set_up(extra=None)
        return run("-m", "narthex.cli", "demo", "--seed", str(seed))
    if options.what == "bench":
        set_up(extra="dev,bench")
        return run("bench/decode.py", *options.more)
    if options.what == "page":
        return build_page()
    if options.what == "page-test":
        return test_page(is_optional="--if-possible" in options.more)
    set_up(extra="dev")
    if options.what == "soak":
        return run("bench/soak.py", *options.more)
    if options.what in SERVER:
        return check_server(options.what, options.more)
    if options.what == "test":
        return run_tests("-m", "not slow and not gpu", *options.more)
    linted = lint()
    if options.what == "lint":
        return linted
    return run_tests(*options.more) or linted


def chosen_seed() -> int:
    """SEED from the environment, else the one that everybody sees first."""
    text = os.environ.get("SEED", "").strip()
    if not text:
        return DEMO_SEED
    if not text.isascii() or not text.isdigit():
        stop(f"SEED should be a whole number, not '{text}'", "make demo SEED=7")
    return int(text)


def run_tests(*arguments: str) -> int:
    """pytest over all folders, a worker per core with one thread each."""
    folders = [f"tests/{name}" for name in ("unit", "parity", "docs", "e2e", "gpu") if (ROOT / "tests" / name).is_dir()]
    workers = min(os.cpu_count() or 1, MAX_WORKERS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return run("-m", "pytest", *folders, "-q", "-n", str(workers), *arguments)


def build_page() -> int:
    """npm's packages, where they have changed, and the page from web/."""
    npm = shutil.which("npm")
    if npm is None or not has_node():
        stop(f"the page is built with Node {NODE_MAJOR} or newer, which is not here", "your distribution has it")
    wanted = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules" / ".narthex-setup"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        say("Fetching the page's packages (about 40 MB).")
        if subprocess.run([npm, "ci", "--ignore-scripts", "--no-progress"], cwd=WEB, check=False).returncode:
            return 1
        stamp.write_text(wanted, encoding="utf-8")
    return subprocess.run([npm, "run", "build"], cwd=WEB, check=False).returncode


def has_node() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(version.strip().lstrip("v").split(".")[0] or 0) >= NODE_MAJOR


def test_page(*, is_optional: bool) -> int:
    """The page's tests, one file after another; where they cannot be, a word about it, which is an error or not."""
    chromium = os.environ.get("NARTHEX_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    missing = [
        *([] if has_node() and shutil.which("npm") else [f"Node {NODE_MAJOR}"]),
        *([] if chromium else ["Chromium (apt install chromium)"]),
    ]
    if missing:
        if not is_optional:
            stop(f"the page's tests need {' and '.join(missing)}", "NARTHEX_CHROMIUM may name a browser")
        say(f"The page is not tested here: no {', no '.join(missing)}.")
        return 0
    set_up(extra=None)
    if build_page():
        if is_optional and not (WEB / "node_modules" / ".narthex-setup").is_file():
            say("The page is not tested here: its packages could not be fetched; npm's own words are above.")
            return 0
        return 1
    environment = {**os.environ, "NARTHEX_PYTHON": str(PYTHON), "NARTHEX_CHROMIUM": str(chromium)}
    for step in ("size", "test"):
        code = subprocess.run(["npm", "run", "--silent", step], cwd=WEB, env=environment, check=False).returncode
        if code:
            return code
    return 0


def check_server(what: str, more: list[str]) -> int:
    """What takes too long, or tells too little, for every day."""
    if what == "load":
        return run("bench/load.py", *more)
    if what == "kill":
        return run("bench/kill.py", *more)
    if what == "fuzz":
        os.environ.setdefault("NARTHEX_CASES", "5000")
        return run("-m", "pytest", "tests/e2e/test_serve_schema.py", "-q", *more)
    found = [str(path.relative_to(ROOT)) for pattern in BARE for path in sorted(ROOT.glob(f"tests/{pattern}"))]
    # pytest writes the asserts of the tests anew, so those hold; it only warns that others do not.
    return run("-O", "-m", "pytest", "-W", "ignore::pytest.PytestConfigWarning", "-q", *found, *more)


def lint() -> int:
    """ruff, then mypy; both run even if the first complains."""
    return run("-m", "ruff", "check", ".") | run("-m", "mypy")


def run(*arguments: str) -> int:
    """A command of the virtual environment, from the repository's root; its exit code."""
    try:
        return subprocess.run([str(PYTHON), *arguments], check=False).returncode
    except KeyboardInterrupt:
        return 130


def set_up(*, extra: str | None) -> None:
    """Make .venv and install, unless that has been done for this pyproject.toml."""
    wanted = {"pyproject": fingerprint(), "extra": extra}
    if is_installed(wanted):
        return
    if not PYTHON.is_file():
        make_venv()
    say_what_is_fetched(extra)
    STAMP.unlink(missing_ok=True)
    target = f".[{extra}]" if extra else "."
    # On a terminal pip shows its progress; in a log that would be pages.
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    code = run("-m", "pip", "install", "--disable-pip-version-check", *quiet, "--editable", target)
    if code != 0:
        stop(
            "pip could not install Narthex; its own words are above",
            "is there a network, or a folder of wheels in pip's configuration? "
            f"Delete {VENV.name} to start afresh",
        )
    STAMP.write_text(json.dumps(wanted), encoding="utf-8")
    say("Installed. Later calls skip this.")


def is_installed(wanted: dict[str, str | None]) -> bool:
    """Whether the stamp tells of this pyproject.toml and of at least the extra that is wanted."""
    try:
        done = json.loads(STAMP.read_text(encoding="utf-8"))
        same = done["pyproject"] == wanted["pyproject"]
        has_all = set((wanted["extra"] or "").split(",")) <= {"", *(done["extra"] or "").split(",")}
        return bool(same and PYTHON.is_file() and has_all)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fingerprint() -> str:
    """What decides the installation: pyproject.toml and where the repository lies (it is installed as it lies)."""
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()).hexdigest()


def make_venv() -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if missing:
        stop(
            f"this Python {version} ({sys.executable}) has no {' and no '.join(missing)}, so no .venv can be made",
            f"on Debian or Ubuntu: sudo apt install python{version}-venv",
        )
    say(f"Making {VENV} with Python {version}.")
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
    if made.returncode != 0 or not PYTHON.is_file():
        shutil.rmtree(VENV, ignore_errors=True)
        stop("the virtual environment could not be made", "is the disk full, or the folder not writable?")


def say_what_is_fetched(extra: str | None) -> None:
    places = ("lib/python*/site-packages", "Lib/site-packages")
    has_torch = any(any(VENV.glob(f"{place}/torch-*.dist-info")) for place in places)
    rest_mb = RUNTIME_MB + (DEV_MB if extra else 0)
    if extra and "bench" in extra:
        say("llama.cpp comes as source and is compiled: that takes minutes, a C++ compiler and CMake.")
    if has_torch:
        say(f"Installing Narthex into {VENV.name}: up to about {rest_mb} MB to fetch; torch is there already.")
        return
    say(f"Installing Narthex into {VENV.name}: about {TORCH_CPU_MB + rest_mb} MB to fetch, most of it torch (CPU).")
    if not sys.platform.startswith("linux"):
        return
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        say(f"An NVIDIA GPU is here; with torch's CUDA libraries it will be about {TORCH_CUDA_MB + rest_mb} MB.")
    else:
        say(
            f"No NVIDIA GPU is here, yet for Linux pip's usual index has torch with CUDA only (about {TORCH_CUDA_MB} MB"
            " instead). It works; to save the space, stop now and point pip at a CPU build of the same version"
            " (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS; PyTorch's installation page says where)."
        )


def use_new_enough_python() -> None:
    """Go on in a newer Python if this one is too old and another is on the PATH."""
    if sys.version_info[:2] >= OLDEST:
        return
    for name in NEWER_PYTHONS:
        found = shutil.which(name)
        if found:
            sys.exit(subprocess.call([found, *sys.argv]))
    stop(
        f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is {sys.version.split()[0]}",
        "with several installed: make demo PYTHON=python3.12",
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def stop(message: str, hint: str) -> NoReturn:
    say(f"error: {message}\nhint: {hint}")
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
