"""A contract in plain Chinese: the same sentences, in the same order, as ``words`` says in English.

Names, numbers, digests and times stand as they are in the contract. The English words are those the parties rely on if
a translation should be wrong; the signed document itself decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloister.contract import algorithms, packs
from cloister.contract.clauses import Access, RowLimit, Software, Tariff
from cloister.contract.findings import exact
from cloister.contract.terms import Contract
from cloister.contract.words import percent, short_time, who_holds_all_keys
from cloister.errors import CloisterError

_OPERATIONS = {"aggregate": "汇总统计（计数、求和、均值、比率）", "model": "模型"}
_SHORT = {"aggregate": "汇总统计", "model": "模型", "match": "核验", "deliver": "交付"}
_PLACEMENTS = {
    "split": "笔记本代码与数据不在同一台机器上运行。",
    "colocated": "笔记本代码与数据在同一台机器的不同进程中运行；两者之间的时间和缓存信道没有被阻断。",
}
_TENANCIES = {"exclusive": "该飞地只服务于本合约。", "shared": "该飞地可能同时服务于其他合约。"}
_DUTIES = {
    "export": "每次交付除条款之外，还须经两人批准。",
    "completion": "工作完成后，代理销毁这些表的密钥，除非另一份仍然有效的合约需要它们。",
    "expiry": "合约到期后，代理销毁这些表的密钥，除非另一份仍然有效的合约需要它们。",
}
_NEEDS = {
    "nda": "注明保密协议",
    "necessity": "说明必要性",
    "measures": "说明风险控制措施",
    "down-tier": "降低结果的层级",
}
_MARK = "笔记本所显示的内容带有标记：何人、依哪份合约、何时查看"
_UNITS = {"hours": "小时", "minutes": "分钟", "seconds": "秒"}


def in_words(contract: Contract) -> str:
    """Return the contract as short plain sentences, one a line."""
    return "\n".join(_lines(contract))


def _lines(contract: Contract) -> Iterator[str]:
    providers = [party.name for party in contract.parties if party.role == "provider"]
    analysts = [party.name for party in contract.parties if party.role == "analyst"]
    yield f"{contract.title}（{contract.name}）"
    yield f"{_and(providers)} 允许 {_and(analysts)} 使用下列数据表："
    for table in contract.tables:
        yield f"  - {table.name}，由 {table.provider} 提供；账户由 {table.broker} 保管"
    yield f"用途：{_and(contract.purposes)}。不得用于其他用途。"
    yield f"允许：{_and([_OPERATIONS[operation] for operation in contract.operations])}。数据行不会离开飞地。"
    yield from _algorithms(contract)
    yield from _from_aggregates(contract)
    if contract.regime == "screened":
        yield "制度为“筛查”（screened）：依本合约发布的内容不在形式化保证之内。"
    yield from _exits(contract)
    for budget in contract.budgets:
        yield (
            f"{budget.population} 的隐私：全部发布合计不超过 epsilon {budget.epsilon}（delta {budget.delta}）；"
            f"如无另行指定，每次发布花费 {percent(budget.default_share)}。"
        )
        if exact(budget.delta_keys):
            yield f"该 delta 中有 {budget.delta_keys} 用于因许多单元都拥有而被发布的键。"
    for limit in contract.analyst_limits:
        yield f"{limit.analyst} 最多可花费 {limit.population} 预算的 {percent(limit.share)}。"
    yield from _limits(contract)
    if contract.share_releases:
        yield "一位分析者已发布的结果，本合约的其他分析者无须再付即可取得。"
    yield from _clauses(contract)
    yield f"{_PLACEMENTS[contract.placement]}{_TENANCIES[contract.tenancy]}"
    if contract.accept_simulated:
        yield "接受“模拟”（SIMULATED）飞地，仅限演示数据：它对所在机器的主人不隐藏任何东西。"
    yield f"有效期自 {contract.not_before} 至 {contract.not_after}。提供方可随时中止。"


def _algorithms(contract: Contract) -> Iterator[str]:
    listed = contract.listed
    if listed is None:
        return
    yield "只允许下列算法："
    for label in listed:
        yield f"  - {label}"
    beside = [found.label for found in algorithms.beside(listed)]
    if beside:
        yield f"  {_and(beside)} 所要计算的，也可由同样的发布结果算出。"
    asked = algorithms.programs(listed)
    if "logistic" in asked and "gram" not in asked:
        from_gram = [found.label for found in algorithms.REGISTRY if found.program == "gram"]
        yield (
            "  逻辑回归从一个加噪的 Gram 矩阵开始，其价格几乎可以全部花在它上面："
            f"{_and(from_gram)} 所要计算的，也可由它算出。"
        )


def _from_aggregates(contract: Contract) -> Iterator[str]:
    listed = contract.listed
    if "aggregate" not in contract.operations or (listed is None and "model" in contract.operations):
        return
    enough = [
        found.label
        for found in algorithms.REGISTRY
        if found.program in {"counts", "moments", "gram"} and found.label not in (listed or ())
    ]
    if enough:
        yield f"{_and(enough)} 所要计算的，也可由汇总统计（计数、求和、乘积）算出。"


def _exits(contract: Contract) -> Iterator[str]:
    outside = contract.outside
    if outside.excluded():
        named = [*(["核验"] if outside.matches else []), *(["交付"] if outside.deliveries else [])]
        yield f"出口：形式化保证不包括{_and(named)}。它们不加噪声："
    for match in outside.matches:
        held = f"是否为 {match.value!r}" if match.value else "是否成立"
        yield (
            f"  - 核验：对提问者已掌握其键的单元，回答 {match.table} 中 {match.column} {held}；"
            f"合计最多 {match.per_contract:,} 个单元，每个单元最多 {match.per_target:,} 次。"
        )
    if outside.matches:
        alone = who_holds_all_keys(contract)
        if alone:
            yield f"  - {_and(alone)} 持有全部数据表的密钥，因而可以对“问了哪些单元”进行猜测检验。"
        else:
            yield (
                "  - 任何单一提供方都无法得知问了哪些单元。全部提供方合在一起可以检验猜测；"
                "一个提供方、代理或主机与一位分析者合谋也可以：因为飞地会提交其所问的单元。"
            )
    for delivery in outside.deliveries:
        yield (
            f"  - 交付：每个单元一个取整的分数，密封给 {delivery.receiver}，最多 {delivery.times:,} 次；"
            f"仅限计划 {delivery.plan}，每个签署者以签名批准它。"
        )
    for receiver in outside.receivers:
        yield f"  - {receiver.name} 用 {receiver.key} 对应的私钥打开交付。"


def _limits(contract: Contract) -> Iterator[str]:
    limits = contract.limits
    counted = "" if len(contract.brokers) == 1 else "；每个代理只计涉及其账户的发布"
    yield f"最多 {limits.releases:,} 次发布{counted}。重复同一发布不收费。"
    number, unit = short_time(limits.compute)
    yield (
        f"全部发布合计最多扫描 {limits.rows:,} 行（按申报规模）、计划计算时间 {number} {_UNITS[unit]}、"
        f"产出 {limits.models:,} 个模型。"
    )


def _clauses(contract: Contract) -> Iterator[str]:
    if isinstance(contract.access, tuple):
        yield "每位分析者只可使用此处列出的内容："
        yield from (f"  - {_access(one)}" for one in contract.access)
    yield from _pack(contract)
    for one in contract.who_approves:
        yield f"{one.name} 可批准对 {one.provider} 数据表的请求，但不得批准自己的请求。"
    yield from (_DUTIES.get(duty.on, f"{duty.on}：{duty.do}") for duty in contract.duties)
    for tariff in contract.prices:
        yield f"{tariff.broker} 的收费（{tariff.currency}）：{_prices(tariff)}。"
    if contract.allowed_hosts:
        yield f"飞地只可在以下主机上运行：{'、'.join(contract.allowed_hosts)}。"
    if contract.signed_software:
        yield _software(contract.signed_software)
    if contract.display_mark is True:
        yield f"{_MARK}。"
    if contract.former:
        yield (
            f"本合约取代 {contract.former}；代理接受本合约时，后者即告终止。各人群已花费的预算不变；"
            "发布次数、行数、计算时间和模型数重新计算。"
        )


def _software(clause: Software) -> str:
    signers = " 或 ".join(clause.signers)
    after = f"仍在 {clause.overlap_days} 天内接纳较低版本" if clause.overlap_days else "不再接纳较低版本"
    return f"飞地可运行由 {signers} 签署、版本不低于 {clause.minimum} 的软件发行版。代理接纳较高版本之后，{after}。"


def _access(one: Access) -> str:
    columns = "、".join(one.columns) or "不含任何列，只可计数"
    rows = "；全部行" if not one.rows else "；仅限满足条件的行：" + "，且 ".join(map(_row, one.rows))
    purposes = f"；仅用于 {'、'.join(one.purposes)}" if one.purposes else ""
    begin = f"；自 {one.not_before} 起" if one.not_before else ""
    end = f"；至 {one.not_after} 止" if one.not_after else ""
    return f"{one.analyst} 使用 {one.table}：{columns}{rows}{purposes}{begin}{end}"


def _row(limit: RowLimit) -> str:
    if limit.values:
        return f"{limit.column} 为 {' 或 '.join(limit.values)}"
    low, high = (f" 不小于 {limit.low}" if limit.low else ""), (f" 不大于 {limit.high}" if limit.high else "")
    return f"{limit.column}{low}{high}"


def _pack(contract: Contract) -> Iterator[str]:
    try:
        pack = packs.of(contract)
    except CloisterError:
        yield "本版本没有合约所用的分层规则。"
        return
    if not pack.name:
        return
    yield f"数据层级按 {pack.name} 处理：{pack.title_zh}。"
    for level in pack.level:
        for operation in packs.OPERATIONS:
            rule = pack.rule(level.tier, operation)
            if rule.decision == "refuse":
                yield f"  - 第 {level.tier} 层，{_SHORT[operation]}：拒绝。"
            elif rule.decision == "approval":
                needs = "、".join(_NEEDS[need] for need in rule.needs)
                days = f"，有效期最长 {rule.days} 天" if rule.days else ""
                said = f"，须{needs}" if needs else ""
                yield f"  - 第 {level.tier} 层，{_SHORT[operation]}：须有 {rule.approvers} 人签署的批准{said}{days}。"
    if pack.highest_result < pack.tiers:
        yield f"  - 高于第 {pack.highest_result} 层的结果不会交给笔记本。"
    if pack.highest_stored < pack.tiers:
        yield f"  - 基于高于第 {pack.highest_stored} 层结果的输出，在保存笔记本时不会写入文件。"
    if pack.display_mark:
        yield f"  - {_MARK}。"


def _prices(tariff: Tariff) -> str:
    units = {"release": "每次发布", "rows": "每扫描一百万行", "compute": "每秒计划计算时间", "model": "每个模型"}
    return "，".join(f"{unit} {getattr(tariff, name)}" for name, unit in units.items())


def _and(names: list[str] | tuple[str, ...]) -> str:
    return "、".join(names) or "（无人）"
