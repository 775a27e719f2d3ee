/** 简体中文 for every text of the extension, and for the fixed texts of the proxy. `%1` stands for the first argument. */

/** English to Chinese. */
export const CHINESE: ReadonlyMap<string, string> = new Map([
  // The badge and the head of the panel.
  ['Not verified', '未验证'],
  ['Not verified yet (dialling)', '尚未验证（连接中）'],
  ['Not verified (connection lost)', '未验证（连接已断开）'],
  ['Simulated', '模拟'],
  ['Genuine: %1', '真实硬件：%1'],
  ['%1 (kernel ended)', '%1（内核已结束）'],
  ['Unknown', '未知'],
  ['Replay', '重放'],
  ['confidential', '机密'],
  ['mock', '演练'],
  ['replay', '重放'],
  ['Asking the kernel …', '正在询问内核……'],
  ['Cloister: %1', 'Cloister：%1'],
  ['%1 left', '剩余 %1'],
  [
    'The kernel did not answer. Restart it; if that does not help, its version may be too old.',
    '内核没有回答。请重启内核；若仍无效，可能是其版本过旧。'
  ],
  ['The kernel refused to talk to this tab: %1', '内核拒绝与此标签页通信：%1'],
  ['another tab of this kernel speaks for it', '该内核由另一个标签页负责通信'],
  ['too many are open', '打开的连接过多'],
  ['A message of the kernel cannot be read: %1', '无法读取内核的消息：%1'],
  ['just now', '刚刚'],
  ['%1 min ago', '%1 分钟前'],
  ['%1 h ago', '%1 小时前'],
  ['%1 days ago', '%1 天前'],
  ['verified %1', '验证于 %1'],
  ['dialling …', '连接中……'],
  ['kernel ended', '内核已结束'],
  ['Ask again', '重新询问'],
  ['Because of: %1', '依据：%1'],
  ['Next: %1', '下一步：%1'],
  ['No Cloister kernel here.', '此处没有 Cloister 内核。'],
  [
    'Open a notebook and choose a kernel called "Cloister: …" to see what was verified about its enclave.',
    '请打开一个笔记本，并选择名为“Cloister: …”的内核，以查看其飞地的验证结果。'
  ],
  ['Cloister: enclave, contract, budget and receipts', 'Cloister：飞地、合约、预算与凭据'],

  // Enclave.
  ['Enclave', '飞地'],
  ['%1 of %2', '%1 / %2'],
  ['Nothing was checked yet.', '尚未检查任何项目。'],
  ['Genuine hardware', '真实硬件'],
  ['Approved code', '已批准的代码'],
  ['Fresh evidence', '证据是新的'],
  ['Bound to this session', '绑定到本次会话'],
  ['Placement', '部署位置'],
  ['Isolation', '隔离'],
  ['confirmed', '已确认'],
  ['with a reservation', '有保留'],
  ['not true', '不成立'],
  ['not known', '未知'],
  ['not verified', '未验证'],
  ['not verified yet', '尚未验证'],
  ['not verified: there is no session with this enclave', '未验证：与该飞地没有会话'],
  ['the connection was lost: nothing can be said about the enclave now', '连接已断开：现在无法对飞地作出任何判断'],
  [
    'simulated: there is no genuine hardware, so the owner of its machine can read and change everything',
    '模拟：没有真实硬件，机器的所有者可以读取并更改一切'
  ],
  ['measured by the hardware, and approved by your policy (%1)', '由硬件度量，并经您的策略批准（%1）'],
  [
    'approved by your policy (%1), but only the enclave itself says that it runs this code',
    '经您的策略批准（%1），但只有飞地自己声称运行此代码'
  ],
  ['the evidence answers a nonce that this machine made for this session', '证据回应了本机为此会话生成的随机数'],
  ['the evidence names the keys of this very channel (%1)', '证据指明了这条信道的密钥（%1）'],
  ['not known before the contract is', '合约尚未得知，因此未知'],
  [
    'notebook code runs on the machine that holds the data, in another process: timing and cache channels between them are not stopped',
    '笔记本代码与数据在同一台机器的不同进程中运行：两者之间的时序与缓存信道未被阻断'
  ],
  [
    'the contract keeps notebook code on another machine; not checked from here',
    '合约规定笔记本代码在另一台机器上运行；此处未检查'
  ],
  ['full: notebook code is confined by the system (%1)', '完整：笔记本代码受系统限制（%1）'],
  ['reduced: the system offers only a part of the confinement (%1)', '降级：系统只提供部分限制（%1）'],
  [
    'none: notebook code runs without a sandbox; demonstration data only',
    '无：笔记本代码在没有沙箱的情况下运行；仅限演示数据'
  ],

  // Contract and data.
  ['Contract', '合约'],
  ['Shown once the enclave has been verified.', '飞地通过验证后显示。'],
  ['Digest of the signed terms', '已签署条款的摘要'],
  ['Data', '数据'],
  ['%1 tables', '%1 张表'],
  ['one row per %1', '每个 %1 一行'],
  ['one %1 has at most %2 rows', '每个 %1 最多 %2 行'],
  ['Insert table', '插入表'],
  ['Insert %1 at the cursor', '在光标处插入 %1'],
  ['Sensitivity tier %1 of 5', '敏感级别 %1（共 5 级）'],

  // Budget.
  ['Budget', '预算'],
  ['A mock kernel spends nothing.', '演练内核不消耗预算。'],
  ['No budget was reported yet.', '尚未收到预算信息。'],
  ['As of %1', '截至 %1'],
  ['Privacy, by population', '隐私预算（按人群）'],
  ['Privacy of %1', '%1 的隐私预算'],
  ['Other limits', '其他限额'],
  ['Releases', '发布次数'],
  ['Rows scanned (planned)', '扫描行数（计划）'],
  ['Compute', '计算量'],
  ['Models', '模型'],
  ['Valid until', '有效期至'],
  ['your part: %1 used', '您的份额：已用 %1'],
  ['%1 used by all', '全体已用 %1'],
  ['used up', '已用尽'],
  ['not known now', '目前未知'],
  ['%1 s', '%1 秒'],
  ['expired', '已过期'],
  ['%1 days left', '剩余 %1 天'],
  ['This session spent %1 of the budget of %2', '本次会话已用 %2 预算的 %1'],
  ['What each release cost', '每次发布的费用'],
  ['Release', '发布'],
  ['Cost', '费用'],
  ['free', '免费'],

  // Receipts.
  ['Receipts', '凭据'],
  ['Nothing was released in this session.', '本次会话没有发布任何结果。'],
  ['The last %1 of %2 are listed.', '列出 %2 个中的最后 %1 个。'],
  ['values: %1', '%1 个值'],
  ['recalled', '已调取'],

  // Chips.
  ['Released', '已发布'],
  ['Released, simulated enclave', '已发布（模拟飞地）'],
  ['Seeded: no privacy', '固定种子：没有隐私保护'],
  ['Rehearsal on mock data', '模拟数据上的演练'],
  ['Unverified', '未核验'],
  ['No receipt on this machine', '本机没有凭据'],
  ['False: does not match its receipt', '不实：与凭据不符'],
  ['nothing was charged', '未计费'],
  ['matches its receipt', '与凭据一致'],
  ['run in a Cloister kernel to check it, or verify the notebook', '在 Cloister 内核中运行即可核对，或验证此笔记本'],
  ['would cost %1', '预计费用：%1'],
  ['price not known', '费用未知'],
  ['Malformed chip: nothing of it is shown', '标签格式有误：不显示其内容'],
  ['… %1 more', '……另有 %1 个'],
  ['free: recalled, paid earlier %1', '免费：调取先前结果，当时费用 %1'],
  ['cost %1', '费用：%1'],
  ['± standard error of the privacy noise', '± 为隐私噪声的标准误差'],
  ['receipt', '凭据'],
  ['too few rows', '行数过少'],
  ['%1 of %2 (ε %3)', '%2 的 %1（ε %3）'],

  // Promote.
  ['Promote', '转为正式'],
  ['Run this notebook on the real data: shows the price first', '在真实数据上运行此笔记本：先显示费用'],
  ['Promote to the real data …', '转为真实数据……'],
  ['Promote to the real data?', '转为真实数据？'],
  ['Cancel', '取消'],
  ['Promote and run all', '转为正式并全部运行'],
  [
    'The kernel changes to %1, restarts and runs all cells. Releases then spend budget.',
    '内核将切换为 %1，重启并运行所有单元格。此后的发布会消耗预算。'
  ],
  ['Price of the last rehearsal (releases: %1)', '最近一次演练的费用：%1 次发布'],
  ['Population', '人群'],
  ['Part of its budget', '占其预算'],
  ['No rehearsed cell releases anything.', '演练过的单元格没有发布任何结果。'],
  [
    'Cells never rehearsed as they stand: %1. What they cost is not known.',
    '有 %1 个单元格未按现状演练过：费用未知。'
  ],
  [
    'An estimate: what was released before is free, and real data may lead to other cells.',
    '仅为估计：先前发布过的结果免费；真实数据可能产生不同的单元格。'
  ],
  ['There was no verdict in time.', '未能及时得到验证结果。'],
  [
    'Not promoted: the enclave was not verified, and no cell was run.',
    '未转为正式：飞地未通过验证，没有运行任何单元格。'
  ],

  // Commands, verification, notices.
  ['Show the Cloister panel', '显示 Cloister 面板'],
  ['Verify this notebook', '验证此笔记本'],
  ['Put the receipts into this notebook', '将凭据写入此笔记本'],
  ['The receipts are in the notebook now. Save it to keep them.', '凭据已写入笔记本。请保存以保留。'],
  ['Cloister could not do this', 'Cloister 无法完成此操作'],
  ['the kernel cannot be asked now', '现在无法询问内核'],
  ['the kernel did not answer', '内核没有回答'],
  ['the kernel was changed or restarted', '内核已更换或重启'],
  ['the notebook is too large to be sent', '笔记本过大，无法发送'],
  [
    'in a terminal, after saving: cloister verify --own-receipts NOTEBOOK',
    '请保存后在终端运行：cloister verify --own-receipts NOTEBOOK'
  ],
  ['in a terminal, after saving: cloister bundle NOTEBOOK', '请保存后在终端运行：cloister bundle NOTEBOOK'],
  ['Verification', '验证'],
  ['running …', '进行中……'],
  ['Reservations', '保留意见'],
  ['true', '属实'],
  ['note', '说明'],
  ['reservation', '保留'],
  ['false', '不实'],
  ['Cell %1', '单元格 %1'],
  ['verified', '已验证'],
  ['failed', '未通过'],
  ['self-consistent, origin unknown', '自洽，来源未知'],
  ['internal consistency only (simulated)', '仅内部一致（模拟）'],
  ['verified with reservations', '已验证，有保留'],
  ['Completeness unknown: no checkpoint of a broker.', '完整性未知：没有代理方的检查点。'],
  ['origin unknown', '来源未知'],
  ['simulated', '模拟'],
  ['evidence not included', '未附证据'],
  ['releases not shown', '有发布未展示'],
  ['code not in the notebook', '代码不在笔记本中'],
  ['seeded: no privacy', '固定种子：没有隐私保护'],
  ['Bundle: the notebook carries signed documents', '凭据包：笔记本带有已签名的文件'],
  ['Contract: every party signed it, and it makes sense', '合约：各方均已签署，且内容合理'],
  ['Providers: the signers are whom the reviewer knows', '提供方：签署者为审阅者所知'],
  ['Cards: each table is described by its provider', '数据卡：每张表均由其提供方描述'],
  ['Admissions: a broker of the contract let the vault in', '准入：合约的代理方准许了该保险库'],
  ['Evidence: the vault runs in a TEE, with code the reviewer knows', '证据：保险库在 TEE 中运行审阅者所知的代码'],
  [
    'Receipts: signed by an admitted vault, for this contract, analyst and purpose',
    '凭据：由获准的保险库为此合约、分析者与用途签署'
  ],
  ['Arithmetic: plan, price, noise and names follow from each other', '计算：计划、费用、噪声与名称相互吻合'],
  ['Shown values: the chips are what the receipts say', '展示的数值：标签与凭据一致'],
  ['Code: the cells are those that caused the releases, in this order', '代码：正是这些单元格按此顺序产生了发布'],
  ["Accounts: the releases are entries of the brokers' logs", '账目：发布已记入代理方的日志'],
  ['Completeness: what was released and is not shown', '完整性：已发布而未展示的内容'],
  ['Numbers: which printed numbers a receipt accounts for', '数字：哪些打印的数字有凭据可依'],
  ['Another contract.', '合约不同。'],
  [
    'The receipts in this notebook belong to another contract than its kernel: "%1".',
    '此笔记本中的凭据与其内核的合约（“%1”）不同。'
  ],
  ['Dismiss', '关闭']
]);
