"""The sentences of a contract in plain words, one entry each: English, and the same in Chinese below it.

``words`` says which of them a contract needs, in which order, and fills the places. Names, numbers, digests and times
stand as they are in the contract. The English words are those the parties rely on if a translation should be wrong; the
signed document itself decides.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]
_DESTROY = "the brokers destroy the keys of these tables, unless another contract that is still alive needs them."
_DESTROY_ZH = "代理销毁这些表的密钥，除非另一份仍然有效的合约需要它们。"

SENTENCES: dict[str, tuple[str, str]] = {
    "title": (
        "{title} ({name})",
        "{title}（{name}）",
    ),
    "uses": (
        "{providers} {let} {analysts} use these tables:",
        "{providers} 允许 {analysts} 使用下列数据表：",
    ),
    "table": (
        "  - {name}, from {provider}; account kept by {broker}",
        "  - {name}，由 {provider} 提供；账户由 {broker} 保管",
    ),
    "purposes": (
        "For: {purposes}. Nothing else.",
        "用途：{purposes}。不得用于其他用途。",
    ),
    "operations": (
        "Allowed: {operations}. Rows never leave the enclave.",
        "允许：{operations}。数据行不会离开飞地。",
    ),
    "algorithms": (
        "Algorithms, and no others:",
        "只允许下列算法：",
    ),
    "algorithm": (
        "  - {label}: {makes}",
        "  - {label}",
    ),
    "beside": (
        "  What {labels} would compute from the same releases can be computed too.",
        "  {labels} 所要计算的，也可由同样的发布结果算出。",
    ),
    "logistic": (
        "  A logistic regression begins with a noisy Gram, on which nearly all of its price may be spent: what "
        "{labels} would compute can be computed from it as well.",
        "  逻辑回归从一个加噪的 Gram 矩阵开始，其价格几乎可以全部花在它上面：{labels} 所要计算的，也可由它算出。",
    ),
    "aggregates": (
        "What {labels} would compute can be computed from aggregates (counts, sums, products) as well.",
        "{labels} 所要计算的，也可由汇总统计（计数、求和、乘积）算出。",
    ),
    "screened": (
        "Regime SCREENED: the formal guarantee excludes what is released under this contract.",
        "制度为“筛查”（screened）：依本合约发布的内容不在形式化保证之内。",
    ),
    "exits": (
        "EXITS: the formal guarantee excludes {excluded}. They carry no noise:",
        "出口：形式化保证不包括{excluded}。它们不加噪声：",
    ),
    "match": (
        "  - Match: yes or no, whether {column}{held} in {table}, of units whose keys the asker has; at most "
        "{units} in all, each at most {times}.",
        "  - 核验：对提问者已掌握其键的单元，回答 {table} 中 {column} {held}；合计最多 {units}，每个单元最多 {times}。",
    ),
    "guess.alone": (
        "  - {names} {hold} the keys of all tables and so can TEST GUESSES about which units were asked about.",
        "  - {names} 持有全部数据表的密钥，因而可以对“问了哪些单元”进行猜测检验。",
    ),
    "guess.together": (
        "  - No single provider can tell which units were asked about. All of them together could test guesses, and so "
        "could one provider, broker or host together with one analyst: the vault names the units he asks about.",
        "  - 任何单一提供方都无法得知问了哪些单元。全部提供方合在一起可以检验猜测；"
        "一个提供方、代理或主机与一位分析者合谋也可以：因为飞地会提交其所问的单元。",
    ),
    "deliver": (
        "  - Deliver: one rounded score per unit, sealed to {receiver}, at most {times}; only the plan {plan}, which "
        "every signer approves by signing.",
        "  - 交付：每个单元一个取整的分数，密封给 {receiver}，最多 {times}；仅限计划 {plan}，每个签署者以签名批准它。",
    ),
    "receiver": (
        "  - {name} opens deliveries with the private key to {key}.",
        "  - {name} 用 {key} 对应的私钥打开交付。",
    ),
    "privacy": (
        "Privacy of {population}: all releases together stay within epsilon {epsilon} at delta {delta}; unless said "
        "otherwise a release costs {share}.",
        "{population} 的隐私：全部发布合计不超过 epsilon {epsilon}（delta {delta}）；"
        "如无另行指定，每次发布花费 {share}。",
    ),
    "delta": (
        "Of that delta, {keys} pays for keys that are released because many units have them.",
        "该 delta 中有 {keys} 用于因许多单元都拥有而被发布的键。",
    ),
    "share": (
        "{analyst} may spend {share} of the budget of {population}.",
        "{analyst} 最多可花费 {population} 预算的 {share}。",
    ),
    "releases": (
        "At most {releases}{counted}. Repeating a release is free.",
        "最多 {releases}{counted}。重复同一发布不收费。",
    ),
    "limits": (
        "All releases together scan at most {rows} (by declared size), take {time} of planned computing and make "
        "{models}.",
        "全部发布合计最多扫描 {rows}（按申报规模）、计划计算时间 {time}、产出 {models}。",
    ),
    "shared": (
        "What one analyst has released, the others of this contract get without paying again.",
        "一位分析者已发布的结果，本合约的其他分析者无须再付即可取得。",
    ),
    "access": (
        "Each analyst may use what is listed here, and nothing else:",
        "每位分析者只可使用此处列出的内容：",
    ),
    "access.one": (
        "  - {analyst} of {table}: {columns}{rows}{purposes}{begin}{end}",
        "  - {analyst} 使用 {table}：{columns}{rows}{purposes}{begin}{end}",
    ),
    "pack.unknown": (
        "TIER RULES THAT THIS VERSION DOES NOT HAVE: {reason}.",
        "本版本没有合约所用的分层规则。",
    ),
    "pack": (
        "Tiers are handled by {name}: {title}.",
        "数据层级按 {name} 处理：{title}。",
    ),
    "tier.refused": (
        "  - tier {tier}, {operation}: refused.",
        "  - 第 {tier} 层，{operation}：拒绝。",
    ),
    "tier.approval": (
        "  - tier {tier}, {operation}: an approval signed by {who}{needs}{days}.",
        "  - 第 {tier} 层，{operation}：须有 {who}签署的批准{needs}{days}。",
    ),
    "tier.highest": (
        "  - no result above tier {tier} is handed to a notebook.",
        "  - 高于第 {tier} 层的结果不会交给笔记本。",
    ),
    "tier.stored": (
        "  - a saved notebook holds nothing that rests on a result above tier {tier}.",
        "  - 基于高于第 {tier} 层结果的输出，在保存笔记本时不会写入文件。",
    ),
    "pack.mark": (
        "  - what a notebook displays carries a mark of who looks, under which contract, and when.",
        "  - 笔记本所显示的内容带有标记：何人、依哪份合约、何时查看。",
    ),
    "mark": (
        "What a notebook displays carries a mark of who looks, under which contract, and when.",
        "笔记本所显示的内容带有标记：何人、依哪份合约、何时查看。",
    ),
    "approver": (
        "{name} may approve what is asked of the tables of {provider}, but nothing they ask for.",
        "{name} 可批准对 {provider} 数据表的请求，但不得批准自己的请求。",
    ),
    "duty": (
        "{on}: {do}",
        "{on}：{do}",
    ),
    "duty.export": (
        "A delivery needs an approval by two persons besides its clause.",
        "每次交付除条款之外，还须经两人批准。",
    ),
    "duty.completion": (
        f"When the work is completed, {_DESTROY}",
        f"工作完成后，{_DESTROY_ZH}",
    ),
    "duty.expiry": (
        f"When the contract has expired, {_DESTROY}",
        f"合约到期后，{_DESTROY_ZH}",
    ),
    "tariff": (
        "At {broker} this costs, in {currency}: {prices}.",
        "{broker} 的收费（{currency}）：{prices}。",
    ),
    "hosts": (
        "Only these hosts may run the enclave: {hosts}.",
        "飞地只可在以下主机上运行：{hosts}。",
    ),
    "software": (
        "The enclave may run releases of the software signed by {signers}, of version {minimum} or newer. Once a "
        "broker has admitted a higher version, it admits lower ones {after}.",
        "飞地可运行由 {signers} 签署、版本不低于 {minimum} 的软件发行版。代理接纳较高版本之后，{after}。",
    ),
    "former": (
        "This contract takes the place of {former}, which ends when the broker takes up this one. What was spent of "
        "each population stays spent; releases, rows, computing and models are counted anew.",
        "本合约取代 {former}；代理接受本合约时，后者即告终止。各人群已花费的预算不变；"
        "发布次数、行数、计算时间和模型数重新计算。",
    ),
    "where": (
        "{placement} {tenancy}",
        "{placement}{tenancy}",
    ),
    "simulated": (
        "A SIMULATED enclave is accepted, for demonstration data: it hides nothing from the owner of its machine.",
        "接受“模拟”（SIMULATED）飞地，仅限演示数据：它对所在机器的主人不隐藏任何东西。",
    ),
    "valid": (
        "Valid from {since} until {until}. A provider can stop it at any time.",
        "有效期自 {since} 至 {until}。提供方可随时中止。",
    ),
}

PARTS: dict[str, tuple[str, str]] = {
    # Operations, as what is allowed and as what a tier's rule is about.
    "aggregate": ("aggregates (counts, sums, means, rates)", "汇总统计（计数、求和、均值、比率）"),
    "model": ("models", "模型"),
    "tier aggregate": ("aggregates", "汇总统计"),
    "tier model": ("models", "模型"),
    "tier match": ("matches", "核验"),
    "tier deliver": ("deliveries", "交付"),
    "excluded match": ("match releases", "核验"),
    "excluded deliver": ("deliver releases", "交付"),
    # Where the code runs, and for whom.
    "split": (
        "Notebook code runs in another machine than the data.",
        "笔记本代码与数据不在同一台机器上运行。",
    ),
    "colocated": (
        "Notebook code runs on the same machine as the data, in another process; "
        "timing and cache channels between them are not stopped.",
        "笔记本代码与数据在同一台机器的不同进程中运行；两者之间的时间和缓存信道没有被阻断。",
    ),
    "exclusive": ("The enclave serves this contract only.", "该飞地只服务于本合约。"),
    "shared": ("The enclave may serve other contracts too.", "该飞地可能同时服务于其他合约。"),
    # Parts of sentences.
    "makes nothing known": ("not known to this version", ""),
    "held": (" is {value!r}", "是否为 {value!r}"),
    "held at all": ("", "是否成立"),
    "several brokers": (
        "; each broker counts those that concern its accounts",
        "；每个代理只计涉及其账户的发布",
    ),
    "no column": ("no column, only how many rows or units there are", "不含任何列，只可计数"),
    "all rows": ("; of all rows", "；全部行"),
    "rows where": ("; only rows where {limits}", "；仅限满足条件的行：{limits}"),
    "and where": (" and ", "，且 "),
    "one of": ("{column} is {values}", "{column} 为 {values}"),
    "between": ("{column} is{low}{high}", "{column}{low}{high}"),
    "low": (" from {low}", " 不小于 {low}"),
    "high": (" to {high}", " 不大于 {high}"),
    "only for": ("; for {purposes} only", "；仅用于 {purposes}"),
    "begin": ("; from {begin}", "；自 {begin} 起"),
    "end": ("; until {end}", "；至 {end} 止"),
    "nda": ("names the confidentiality agreement", "注明保密协议"),
    "necessity": ("says why", "说明必要性"),
    "measures": ("says how the risk is kept small", "说明风险控制措施"),
    "down-tier": ("lowers the tier of the result", "降低结果的层级"),
    "needs": (" that {needs}", "，须{needs}"),
    "days at most": (", for {days} at most", "，有效期最长 {days}"),
    "days more": ("for {days} more", "仍在 {days}内接纳较低版本"),
    "no more": ("no more", "不再接纳较低版本"),
    "price release": ("{amount} for a release", "每次发布 {amount}"),
    "price rows": ("{amount} for a million rows scanned", "每扫描一百万行 {amount}"),
    "price compute": ("{amount} for a second of planned computing", "每秒计划计算时间 {amount}"),
    "price model": ("{amount} for a model", "每个模型 {amount}"),
    # Between and around names.
    "list": (", ", "、"),
    "last": (" and ", "、"),
    "or": (" or ", " 或 "),
    "prices": (", ", "，"),
    "nobody": ("(nobody)", "（无人）"),
    "once": ("once", "1 次"),
    "times": ("{number:,} times", "{number:,} 次"),
    "hours": ("hours", "小时"),
    "minutes": ("minutes", "分钟"),
    "seconds": ("seconds", "秒"),
}

COUNTED: dict[str, tuple[str, str, str]] = {
    # One, several, and with their measure word.
    "unit": ("unit", "units", " 个单元"),
    "release": ("release", "releases", " 次发布"),
    "row": ("row", "rows", " 行"),
    "model": ("model", "models", " 个模型"),
    "person": ("person", "persons", " 人"),
    "day": ("day", "days", " 天"),
}
