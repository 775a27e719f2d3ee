"""A contract in plain words: what every party can read before signing, and what ``cl.contract()`` prints.

Here is which sentences a contract needs, in the order a reader asks; the sentences themselves, in English and in
Chinese, are in ``phrases``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloister.contract import algorithms, packs
from cloister.contract.clauses import Access, RowLimit, Software, Tariff
from cloister.contract.findings import exact
from cloister.contract.phrases import COUNTED, PARTS, SENTENCES, Language
from cloister.contract.terms import Contract
from cloister.errors import CloisterError

__all__ = ["Language", "in_words"]


def in_words(contract: Contract, language: Language = "en") -> str:
    """Return the contract as short plain sentences, one a line, the same ones in every language."""
    return "\n".join(_Words(contract, language).lines())


class _Words:
    """The sentences of one contract in one language."""

    def __init__(self, contract: Contract, language: Language) -> None:
        self._contract = contract
        self._chinese = language == "zh"

    # The language ------------------------------------------------------------------------------------

    def _say(self, name: str, /, **facts: Any) -> str:
        return SENTENCES[name][self._chinese].format(**facts)

    def _part(self, name: str, /, **facts: Any) -> str:
        return PARTS[name][self._chinese].format(**facts)

    def _count(self, number: int, thing: str) -> str:
        one, several, measured = COUNTED[thing]
        if self._chinese:
            return f"{number:,}{measured}"
        return f"{number:,} {one if number == 1 else several}" if number else f"no {one}"

    def _times(self, number: int) -> str:
        return self._part("once") if number == 1 else self._part("times", number=number)

    def _and(self, names: list[str] | tuple[str, ...]) -> str:
        between, last = self._part("list"), self._part("last")
        return last.join([between.join(names[:-1]), names[-1]] if len(names) > 1 else names) or self._part("nobody")

    # The contract ------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """Yield every sentence."""
        contract, say = self._contract, self._say
        providers = [party.name for party in contract.parties if party.role == "provider"]
        analysts = [party.name for party in contract.parties if party.role == "analyst"]
        yield say("title", title=contract.title, name=contract.name)
        let = "lets" if len(providers) == 1 else "let"
        yield say("uses", providers=self._and(providers), let=let, analysts=self._and(analysts))
        for table in contract.tables:
            yield say("table", name=table.name, provider=table.provider, broker=table.broker)
        yield say("purposes", purposes=self._and(contract.purposes))
        yield say("operations", operations=self._and([self._part(name) for name in contract.operations]))
        yield from self._algorithms()
        yield from self._from_aggregates()
        if contract.regime == "screened":
            yield say("screened")
        yield from self._exits()
        yield from self._budgets()
        yield from self._limits()
        if contract.share_releases:
            yield say("shared")
        yield from self._clauses()
        yield say("where", placement=self._part(contract.placement), tenancy=self._part(contract.tenancy))
        if contract.accept_simulated:
            yield say("simulated")
        yield say("valid", since=contract.not_before, until=contract.not_after)

    def _algorithms(self) -> Iterator[str]:
        listed = self._contract.listed
        if listed is None:
            return
        makes = {found.label: found.makes for found in algorithms.REGISTRY}
        yield self._say("algorithms")
        for label in listed:
            yield self._say("algorithm", label=label, makes=makes.get(label, self._part("makes nothing known")))
        if beside := [found.label for found in algorithms.beside(listed)]:
            yield self._say("beside", labels=self._and(beside))
        asked = algorithms.programs(listed)
        if "logistic" in asked and "gram" not in asked:
            from_gram = [found.label for found in algorithms.REGISTRY if found.program == "gram"]
            yield self._say("logistic", labels=self._and(from_gram))

    def _from_aggregates(self) -> Iterator[str]:
        """Say which models aggregates are enough for, where the contract allows some models only or none."""
        listed, operations = self._contract.listed, self._contract.operations
        if "aggregate" not in operations or (listed is None and "model" in operations):
            return
        # A covariance, or sums of products, make a Gram; no list of algorithms forbids them.
        enough = [
            found.label
            for found in algorithms.REGISTRY
            if found.program in {"counts", "moments", "gram"} and found.label not in (listed or ())
        ]
        if enough:
            yield self._say("aggregates", labels=self._and(enough))

    def _exits(self) -> Iterator[str]:
        outside = self._contract.outside
        named = [name for name, some in (("match", outside.matches), ("deliver", outside.deliveries)) if some]
        if named:
            yield self._say("exits", excluded=self._and([self._part(f"excluded {name}") for name in named]))
        for match in outside.matches:
            held = self._part("held", value=match.value) if match.value else self._part("held at all")
            units, times = self._count(match.per_contract, "unit"), self._times(match.per_target)
            yield self._say("match", column=match.column, table=match.table, held=held, units=units, times=times)
        if outside.matches:
            yield self._who_can_guess()
        for one in outside.deliveries:
            yield self._say("deliver", receiver=one.receiver, times=self._times(one.times), plan=one.plan)
        for receiver in outside.receivers:
            yield self._say("receiver", name=receiver.name, key=receiver.key)

    def _who_can_guess(self) -> str:
        """Return from whom the units asked about are hidden: the names they are booked by take the keys of all tables.

        A provider or broker that alone holds the keys of all tables can; nobody if there are several of each.
        """
        tables = self._contract.tables
        holders = {table.provider for table in tables}, {table.broker for table in tables}
        alone = sorted({name for names in holders if len(names) == 1 for name in names})
        if not alone:
            return self._say("guess.together")
        return self._say("guess.alone", names=self._and(alone), hold="holds" if len(alone) == 1 else "each hold")

    def _budgets(self) -> Iterator[str]:
        for budget in self._contract.budgets:
            share = _percent(budget.default_share)
            amount = {"epsilon": budget.epsilon, "delta": budget.delta}
            yield self._say("privacy", population=budget.population, share=share, **amount)
            if exact(budget.delta_keys):
                yield self._say("delta", keys=budget.delta_keys)
        for limit in self._contract.analyst_limits:
            share = _percent(limit.share)
            yield self._say("share", analyst=limit.analyst, share=share, population=limit.population)

    def _limits(self) -> Iterator[str]:
        limits = self._contract.limits
        counted = "" if len(self._contract.brokers) == 1 else self._part("several brokers")
        yield self._say("releases", releases=self._count(limits.releases, "release"), counted=counted)
        number, unit = _time(limits.compute)
        made = {"rows": self._count(limits.rows, "row"), "models": self._count(limits.models, "model")}
        yield self._say("limits", time=f"{number} {self._part(unit)}", **made)

    # The optional clauses: nothing for a contract without them ---------------------------------------

    def _clauses(self) -> Iterator[str]:
        contract, say = self._contract, self._say
        if isinstance(contract.access, tuple):
            yield say("access")
            yield from map(self._access, contract.access)
        yield from self._pack()
        for one in contract.who_approves:
            yield say("approver", name=one.name, provider=one.provider)
        for duty in contract.duties:
            known = f"duty.{duty.on}"
            yield say(known) if known in SENTENCES else say("duty", on=duty.on, do=duty.do)
        for tariff in contract.prices:
            yield say("tariff", broker=tariff.broker, currency=tariff.currency, prices=self._prices(tariff))
        if contract.allowed_hosts:
            yield say("hosts", hosts=self._part("list").join(contract.allowed_hosts))
        if contract.signed_software:
            yield self._software(contract.signed_software)
        if contract.display_mark is True:
            yield say("mark")
        if contract.former:
            yield say("former", former=contract.former)

    def _access(self, one: Access) -> str:
        def perhaps(name: str, value: str) -> str:
            return self._part(name, **{name.rpartition(" ")[2]: value}) if value else ""

        limits = self._part("and where").join(map(self._row, one.rows))
        purposes = self._part("only for", purposes=self._part("list").join(one.purposes)) if one.purposes else ""
        return self._say(
            "access.one",
            analyst=one.analyst,
            table=one.table,
            columns=self._part("list").join(one.columns) or self._part("no column"),
            rows=self._part("rows where", limits=limits) if one.rows else self._part("all rows"),
            purposes=purposes,
            begin=perhaps("begin", one.not_before),
            end=perhaps("end", one.not_after),
        )

    def _row(self, limit: RowLimit) -> str:
        if limit.values:
            return self._part("one of", column=limit.column, values=self._part("or").join(limit.values))
        low = self._part("low", low=limit.low) if limit.low else ""
        high = self._part("high", high=limit.high) if limit.high else ""
        return self._part("between", column=limit.column, low=low, high=high)

    def _software(self, clause: Software) -> str:
        days = clause.overlap_days
        after = self._part("days more", days=self._count(days, "day")) if days else self._part("no more")
        signers = self._part("or").join(clause.signers)
        return self._say("software", signers=signers, minimum=clause.minimum, after=after)

    def _pack(self) -> Iterator[str]:
        try:
            pack = packs.of(self._contract)
        except CloisterError as problem:
            yield self._say("pack.unknown", reason=problem.reason)
            return
        if not pack.name:
            return
        yield self._say("pack", name=pack.name, title=pack.title_zh if self._chinese else pack.title)
        for level in pack.level:
            for operation in packs.OPERATIONS:
                rule, about = pack.rule(level.tier, operation), self._part(f"tier {operation}")
                if rule.decision == "refuse":
                    yield self._say("tier.refused", tier=level.tier, operation=about)
                elif rule.decision == "approval":
                    yield self._say("tier.approval", tier=level.tier, operation=about, **self._approval(rule))
        if pack.highest_result < pack.tiers:
            yield self._say("tier.highest", tier=pack.highest_result)
        if pack.highest_stored < pack.tiers:
            yield self._say("tier.stored", tier=pack.highest_stored)
        if pack.display_mark:
            yield self._say("pack.mark")

    def _approval(self, rule: packs.Rule) -> dict[str, str]:
        needs = self._part("list").join(map(self._part, rule.needs))
        return {
            "who": self._count(rule.approvers, "person"),
            "needs": self._part("needs", needs=needs) if needs else "",
            "days": self._part("days at most", days=self._count(rule.days, "day")) if rule.days else "",
        }

    def _prices(self, tariff: Tariff) -> str:
        items = ("release", "rows", "compute", "model")
        return self._part("prices").join(self._part(f"price {item}", amount=getattr(tariff, item)) for item in items)


def _time(compute: int) -> tuple[str, str]:
    """Return units of 100 ms as people say them: a number, and hours, minutes or seconds."""
    seconds = compute / 10
    for size, word in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return _short(seconds / size), word
    return _short(seconds), "seconds"


def _short(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _percent(share: str) -> str:
    """Return a fraction as a percentage."""
    value = exact(share)
    if value is None:
        return share
    hundredths = value * 100
    return f"{hundredths.numerator} %" if hundredths.denominator == 1 else f"{float(hundredths):.4g} %"
