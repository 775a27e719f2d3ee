"""Promises of the extension's sources without a browser: no host in the lock, no markup from data, two languages."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from cloister.receipt import alerts

EXTENSION = Path(__file__).parents[2] / "extension"
SOURCES = sorted(path for path in (EXTENSION / "src").rglob("*") if path.suffix in {".ts", ".tsx"})
LITERAL = r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\""""


def _literals(pattern: str, text: str) -> list[str]:
    found = re.finditer(pattern, text)
    return [next(group for group in match.groups() if group is not None).replace("\\'", "'") for match in found]


def _chinese() -> dict[str, str]:
    pairs = _literals(LITERAL, (EXTENSION / "src" / "zh.ts").read_text().partition("new Map([")[2])
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def test_the_lock_file_names_no_host() -> None:
    lock = (EXTENSION / "yarn.lock").read_text()
    assert not re.search(r"https?://", lock)
    assert "__archiveUrl" not in lock
    for name in (".yarnrc.yml", "package.json"):
        assert not re.search(r"https?://", (EXTENSION / name).read_text())


def test_nothing_sets_markup() -> None:
    for path in SOURCES:
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "dangerouslySetInnerHTML",
            "document.write",
            "eval(",
        ):
            assert word not in text, f"{path.name}: {word}"


def test_every_text_has_its_chinese() -> None:
    chinese = _chinese()
    for path in SOURCES:
        texts = _literals(r"\bwords\.t\(\s*(?:" + LITERAL + ")", path.read_text())
        assert not [text for text in texts if text not in chinese], path.name


def test_the_packaged_alert_rules_have_their_chinese() -> None:
    """A page shows a broker's words; those that we have written ourselves it can translate."""
    demo = resources.files("cloister.demo").joinpath("alerts.toml").read_text(encoding="utf-8")
    texts = {rule.text for pack in (alerts.pboc40(), alerts.read_pack(demo)) for rule in pack.rule if rule.measure}
    assert texts <= set(_chinese())


def test_translations_keep_the_places_of_their_arguments() -> None:
    for english, chinese in _chinese().items():
        assert sorted(set(re.findall(r"%\d", english))) == sorted(set(re.findall(r"%\d", chinese))), english


def test_each_surface_is_a_plugin_of_its_own_that_can_be_disabled() -> None:
    plugins = re.findall(r"id: '(@cloister/lab:[a-z]+)'", "\n".join(path.read_text() for path in SOURCES))
    assert set(plugins) >= {f"@cloister/lab:{name}" for name in ("status", "toolbar", "panel", "chips", "commands")}
    assert len(plugins) == len(set(plugins))


def test_versions_of_wheel_and_extension_agree() -> None:
    package = json.loads((EXTENSION / "package.json").read_text())
    pyproject = (EXTENSION.parent / "pyproject.toml").read_text()
    assert f'version = "{package["version"]}"' in pyproject
