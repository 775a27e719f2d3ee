"""Texts that would act on a screen instead of being read: refused in contracts and cards, spelt out on terminals."""

from __future__ import annotations

import io

import pytest
from test_contract_signing import ANALYST, CARD, CONTRACT, NOW, PROVIDER, replace

from cloister.contract import lint, signing
from cloister.contract.card_lint import card_findings
from cloister.contract.terms import Party
from cloister.errors import ContractError
from cloister.terminal import Terminal, hanging
from cloister.wire.text import spelt_out

HOSTILE = (
    "Visits\x1b[2J\x1b[1;1H", "Visits\nPolicy     sha256:0123...: satisfied", "Visits\r", "Visits\x9b2J",
    "Visits \u202e gpj.exe", "Visits \u2066x", "Visits\u2028x", "\x00",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_contract_with_commands_to_the_screen_is_no_contract(text):
    for changed in (
        replace(CONTRACT, title=text),
        replace(CONTRACT, purposes=("research", text)),
        replace(CONTRACT, parties=(Party(text, PROVIDER.did, "provider"), CONTRACT.parties[1])),
    ):
        assert "contract.text" in {finding.code for finding in lint.contract_findings(changed)}
    document = signing.sign_contract(replace(CONTRACT, title=text), PROVIDER, ANALYST)
    with pytest.raises(ContractError) as excinfo:
        signing.open_contract(document, now=NOW)
    assert excinfo.value.code == "contract.text"
    assert text not in str(excinfo.value)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_with_commands_to_the_screen_is_no_card(text):
    column = replace(CARD.columns[-1], domain=("f", text))
    for changed in (
        replace(CARD, title=text),
        replace(CARD, columns=(*CARD.columns[:-1], column)),
        replace(CARD, columns=(*CARD.columns[:-1], replace(CARD.columns[-1], description=text))),
    ):
        assert "card.text" in {finding.code for finding in card_findings(changed)}
        with pytest.raises(ContractError) as excinfo:
            signing.open_card(signing.seal_card(changed, PROVIDER), PROVIDER.did)
        assert excinfo.value.code == "card.text"


def test_texts_of_every_language_pass():
    title = "患者の来院 – زيارات – می‌خواهم – Besuche (1–3) 👩‍⚕️"
    assert card_findings(replace(CARD, title=title)) == ()
    document = signing.sign_contract(replace(CONTRACT, title=title), PROVIDER, ANALYST)
    assert signing.open_contract(document, now=NOW).title == title


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_shows_commands_and_does_not_obey(text):
    screen = io.StringIO()
    Terminal(file=screen, emoji=False).print(text, markup=False, highlight=False, soft_wrap=True)
    shown = screen.getvalue()
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\x00", "\u202e", "\u2066", "\u2028"}
    assert spelt_out("two\nlines\tü") == "two\nlines\tü"


def test_the_command_line_uses_it():
    from cloister import cli
    from cloister.demo import commands as demo
    from cloister.provider import commands

    assert all(isinstance(console, Terminal) for console in (cli.out, cli.err, commands.out, demo.out))


def test_long_lines_hang_and_digests_stay_whole() -> None:
    digest = "sha384:" + "ab" * 48
    finding = f"        code {digest} is not in your trust file: what it does is unknown to you (some-code)"
    text = f"[!!]  6. Evidence\n\n{finding}\nend"
    lines = hanging(text, 60).split("\n")
    assert lines[:2] == ["[!!]  6. Evidence", ""]
    assert f"          {digest}" in lines
    assert all(line.startswith("          ") for line in lines[3:-1])
    assert all(len(line) <= 60 for line in lines if digest not in line)
    assert " ".join(hanging(text, 60).split()) == " ".join(text.split())
