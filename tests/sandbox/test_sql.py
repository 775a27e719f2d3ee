"""SQL asks what pandas asks: equal to DuckDB on the same rows with the noise off, or refused with place and code."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from decimal import Decimal

import pandas as pd
import pytest
import sandbox_world as world
from sql_world import LABS_TOO, compare, duck, joined_world

import cloister.sandbox as cl
from cloister.errors import CloisterError, PlanError
from cloister.sandbox import session as sessions
from cloister.sandbox import sql_magic, sql_text

# The same text runs here and in DuckDB. Groups come in the order asked, so queries with groups are ordered.
SAME = [
    "SELECT COUNT(*) AS n FROM visits",
    "SELECT count(bmi) AS n FROM visits",
    "SELECT COUNT(1) AS n FROM clinic.visits",
    "SELECT SUM(cost) AS s, AVG(age) AS a FROM visits",
    "SELECT AVG(bmi) AS a FROM visits",
    "SELECT AVG(cost / 4 + age * 2 - 1.5) AS a FROM visits",
    "SELECT SUM(-age + abs(cost - 1000)) AS s FROM visits",
    "SELECT SUM(age * age) AS s, SUM(age ** 2) AS t, SUM(power(age, 3)) AS u FROM visits",
    "SELECT AVG((2 + 3) * age / (10 - 5)) AS a FROM visits",
    "SELECT COUNT(*) AS n FROM visits WHERE age >= 18 AND age < 65",
    "SELECT COUNT(*) AS n FROM visits WHERE sex = 'F' OR region <> 'north'",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi > 30",
    "SELECT COUNT(*) AS n FROM visits WHERE NOT bmi > 30",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi <> 30.1",
    "SELECT COUNT(*) AS n FROM visits WHERE NOT (bmi = 30.1 OR age > 50)",
    "SELECT COUNT(*) AS n FROM visits WHERE NOT (bmi > 30 AND NOT smoker)",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi BETWEEN 20 AND 30",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi NOT BETWEEN 20 AND 30",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi IS NULL",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi IS NOT NULL AND smoker",
    "SELECT COUNT(*) AS n FROM visits WHERE (bmi > 30) IS NOT TRUE",
    "SELECT COUNT(*) AS n FROM visits WHERE smoker IS FALSE",
    "SELECT COUNT(*) AS n FROM visits WHERE NOT smoker AND 1 = 1",
    "SELECT COUNT(*) AS n FROM visits WHERE 30 < age",
    "SELECT COUNT(*) AS n FROM visits WHERE age IN (40, 41, 42)",
    "SELECT COUNT(*) AS n FROM visits WHERE bmi NOT IN (30.1, 30.2)",
    "SELECT COUNT(*) AS n FROM visits WHERE region IN ('north', 'south')",
    "SELECT COUNT(*) AS n FROM visits WHERE region LIKE '%th'",
    "SELECT COUNT(*) AS n FROM visits WHERE region LIKE 'n%' OR region ILIKE '%AS%'",
    "SELECT COUNT(*) AS n FROM visits WHERE region NOT LIKE '_est'",
    "SELECT COUNT(*) AS n FROM visits WHERE NOT region NOT LIKE 'n%'",
    "SELECT COUNT(*) AS n FROM visits WHERE date >= DATE '2023-06-01'",
    "SELECT COUNT(*) AS n FROM visits WHERE date BETWEEN '2023-01-01' AND '2023-12-31'",
    "SELECT AVG(date - DATE '2022-01-01') AS days FROM visits",
    "SELECT AVG(date_diff('day', DATE '2022-01-01', date)) AS days FROM visits",
    "SELECT SUM(CASE WHEN bmi > 30 THEN cost ELSE 0 END) AS s FROM visits",
    "SELECT SUM(CASE WHEN bmi > 30 THEN cost END) AS s FROM visits",
    "SELECT AVG(CASE sex WHEN 'F' THEN 1 WHEN 'M' THEN 2 ELSE 3 END) AS a FROM visits",
    "SELECT AVG(if(smoker, 10, age)) AS a FROM visits",
    "SELECT COUNT(CASE WHEN bmi > 30 THEN 1 END) AS n FROM visits",
    "SELECT COUNT(*) FILTER (WHERE bmi > 30) AS n, SUM(cost) FILTER (WHERE smoker) AS s FROM visits",
    "SELECT COUNT_IF(age >= 65 AND smoker) AS n FROM visits",
    "SELECT AVG(COALESCE(bmi, 25)) AS a FROM visits",
    "SELECT AVG(COALESCE(bmi, age)) AS a FROM visits",
    "SELECT SUM(smoker::INT) AS n, AVG(CAST(age AS DOUBLE)) AS a FROM visits",
    "SELECT SUM(bmi > 30) AS n FROM visits",
    "SELECT SUM(cost) / COUNT(*) AS r, 100 * AVG(age) - 1 AS s FROM visits",
    "SELECT round(AVG(bmi), 2) AS a, sqrt(AVG(cost)) AS b FROM visits",
    "SELECT CASE WHEN AVG(age) > 40 THEN 1 ELSE 0 END AS old FROM visits",
    "SELECT sex, COUNT(*) AS n, AVG(bmi) AS bmi FROM visits GROUP BY sex ORDER BY sex",
    "SELECT sex, region, SUM(cost) AS cost FROM visits GROUP BY 1, 2 ORDER BY 1, region DESC",
    "SELECT age >= 65 AS senior, AVG(cost) AS a FROM visits GROUP BY senior ORDER BY senior",
    "SELECT age >= 65 AS senior, AVG(cost) AS a FROM visits GROUP BY age >= 65 ORDER BY 1 DESC",
    "SELECT CASE WHEN age < 18 THEN 'child' ELSE 'adult' END AS who, COUNT(*) AS n FROM visits GROUP BY 1 ORDER BY who",
    "SELECT region, COUNT(*) AS n FROM visits GROUP BY region HAVING COUNT(*) > 700 ORDER BY n DESC",
    "SELECT region, COUNT(*) AS n FROM visits GROUP BY region HAVING n > 10 AND AVG(age) IS NOT NULL ORDER BY 1",
    "SELECT region, AVG(cost) AS a FROM visits GROUP BY region HAVING COUNT(*) > 0 ORDER BY a DESC LIMIT 2",
    "SELECT region, AVG(cost) AS a FROM visits GROUP BY region HAVING COUNT(*) > 0 ORDER BY AVG(cost) LIMIT 2 OFFSET 1",
    "SELECT age, COUNT(*) AS n FROM visits WHERE age BETWEEN 40 AND 44 GROUP BY age ORDER BY age",
    "SELECT v.sex, AVG(v.cost) AS a FROM clinic.visits AS v WHERE v.age > 30 GROUP BY v.sex ORDER BY v.sex",
    'SELECT "sex", AVG("cost") AS "mean cost" FROM "clinic"."visits" GROUP BY "sex" ORDER BY "sex"',
    "SELECT Sex, Avg(COST) AS a FROM Visits GROUP BY SEX ORDER BY SEX",
    'SELECT /* how old */ AVG(age) AS "Älter 年齢" -- ; DROP TABLE visits\nFROM visits',
    "SELECT AVG(balance) AS a FROM customers WHERE customers.balance > 0",
    "WITH adults AS (SELECT *, age * 2 AS twice FROM visits WHERE age >= 18)"
    " SELECT sex, AVG(twice) AS a FROM adults GROUP BY sex ORDER BY sex",
    "WITH a AS (SELECT * FROM visits WHERE smoker), b AS (SELECT cost + 1 AS c FROM a WHERE age > 30)"
    " SELECT SUM(c) AS s FROM b",
    "SELECT AVG(x) AS a FROM (SELECT cost - age AS x FROM visits WHERE region = 'east') AS t",
    "(SELECT COUNT(*) AS n FROM visits);",
    "SELECT AVG(extract(year FROM date)) AS a FROM visits",
    "SELECT AVG(extract(dow FROM date)) AS a, AVG(isodow(date)) AS b FROM visits",
    "SELECT AVG(week(date)) AS a, AVG(dayofyear(date)) AS b, AVG(quarter(date)) AS c FROM visits",
    "SELECT year(date) AS y, month(date) AS m, COUNT(*) AS n FROM visits GROUP BY y, m ORDER BY 1, 2",
    "SELECT date_trunc('year', date) AS m, COUNT(*) AS n FROM visits GROUP BY 1 ORDER BY 1",
    "SELECT COUNT(*) AS n FROM visits WHERE lower(sex) = 'f'",
    "SELECT COUNT(*) AS n FROM visits WHERE upper(region) IN ('NORTH', 'EAST')",
    "SELECT AVG(length(region)) AS a FROM visits",
    "SELECT COUNT(*) AS n FROM visits WHERE starts_with(region, 'n') OR ends_with(region, 'st')",
    "SELECT COUNT(*) AS n FROM visits WHERE contains(region, 'ou') OR substring(region, 1, 2) = 'no'",
    "SELECT COUNT(*) AS n FROM visits WHERE replace(region, 'th', '') = 'nor'",
    "SELECT COUNT(*) AS n FROM visits WHERE sex || '-' || region = 'F-east'",
    "SELECT COUNT(*) AS n FROM visits WHERE trim(region) = 'east'",
    "SELECT AVG(floor(bmi)) AS a, AVG(ceil(bmi)) AS b, AVG(round(bmi)) AS c, SUM(floor(cost / 7)) AS d FROM visits",
    "SELECT SUM(cost % 7) AS a, SUM(cost // 7) AS b FROM visits",
    "SELECT AVG(NULLIF(cost, 0)) AS a, COUNT(NULLIF(sex, 'F')) AS b FROM visits",
    "SELECT AVG(CASE WHEN age > 3 THEN cost END) AS a FROM visits",
    "SELECT AVG(CASE WHEN age > 65 THEN cost WHEN age > 18 THEN NULL ELSE 5 END) AS a FROM visits",
    "SELECT AVG((bmi > 30)::INT) AS a FROM visits",
    "SELECT AVG(CASE WHEN bmi > 30 THEN 1 ELSE 0 END) AS a FROM visits",
    "SELECT COUNT(CASE WHEN age > 3 THEN bmi END) AS a FROM visits",
    "SELECT floor(age / 10) AS decade, COUNT(*) AS n FROM visits GROUP BY 1 ORDER BY 1",
    "SELECT bmi > 30 AS fat, COUNT(*) AS n FROM visits WHERE bmi IS NOT NULL GROUP BY 1 ORDER BY 1",
    "SELECT COUNT(*) AS n FROM visits WHERE lower(region) LIKE 'n%'",
    "SELECT VAR_SAMP(cost) AS a, STDDEV(age) AS b, VAR_POP(bmi) AS c, STDDEV_POP(cost) AS d FROM visits",
    "SELECT sex, STDDEV_SAMP(bmi) AS s FROM visits GROUP BY sex HAVING COUNT(*) > 0 ORDER BY sex",
    "SELECT CORR(age, bmi) AS a, COVAR_SAMP(age, cost) AS b, COVAR_POP(age, cost) AS c FROM visits",
    "SELECT COUNT(DISTINCT patient_id) AS n FROM visits WHERE age > 40",
    "SELECT AVG(total) AS a FROM (SELECT patient_id, SUM(cost) AS total FROM visits GROUP BY patient_id) t",
    "SELECT COUNT(*) AS n FROM (SELECT DISTINCT patient_id FROM visits WHERE age > 40) t",
    "SELECT COUNT(*) AS n FROM (SELECT DISTINCT patient_id, region FROM visits) t",
    "SELECT COUNT(*) AS n FROM (SELECT patient_id FROM visits GROUP BY patient_id) t",
    "WITH p AS (SELECT patient_id, COUNT(*) AS n, MAX(bmi) AS most, MIN(age) AS least FROM visits WHERE smoker "
    "GROUP BY patient_id) SELECT AVG(n) AS a, AVG(most) AS b, SUM(least) AS c FROM p WHERE n >= 2",
    "SELECT region, AVG(total) AS a FROM (SELECT patient_id, region, SUM(cost * 2) AS total FROM visits "
    "GROUP BY patient_id, region) t GROUP BY region HAVING COUNT(*) > 0 ORDER BY region",
    "SELECT AVG(kinds) AS a, AVG(any_smoker::INT) AS b FROM (SELECT patient_id, COUNT(DISTINCT sex) AS kinds, "
    "BOOL_OR(smoker) AS any_smoker, COUNT(bmi) AS b FROM visits GROUP BY patient_id) t",
    "SELECT AVG(cost) FILTER (WHERE bmi > 30) AS a, COUNT(bmi) FILTER (WHERE smoker) AS n FROM visits",
    "SELECT SUM(x) AS s FROM (SELECT age AS x FROM visits UNION ALL SELECT cost FROM visits WHERE smoker) AS t",
]

REFUSED = {
    "SELECT * FROM visits": "sql.rows",
    "SELECT v.* FROM visits v": "sql.rows",
    "SELECT age, sex FROM visits LIMIT 5": "sql.rows",
    "SELECT sex, age, COUNT(*) FROM visits GROUP BY sex": "sql.rows",
    "SELECT DISTINCT region FROM visits": "sql.distinct",
    "SELECT DISTINCT patient_id FROM visits": "sql.distinct",
    "SELECT COUNT(*) FROM (SELECT DISTINCT region FROM visits) t": "sql.distinct",
    "SELECT COUNT(*) FROM (SELECT region FROM visits GROUP BY region) t": "sql.staged",
    "SELECT AVG(m) FROM (SELECT AVG(age) AS m FROM visits) t": "sql.staged",
    "SELECT AVG(m) FROM (SELECT patient_id, MEDIAN(age) AS m FROM visits GROUP BY patient_id) t": "sql.staged",
    "SELECT AVG(n) FROM (SELECT patient_id, SUM(age) AS n FROM visits GROUP BY 1 HAVING n > 1) t": "sql.clause",
    "SELECT AVG(s) FROM (SELECT patient_id, SUM(age) FROM visits GROUP BY patient_id) t": "sql.name",
    "SELECT region FROM visits GROUP BY region": "sql.distinct",
    "SELECT COUNT(DISTINCT region) FROM visits": "sql.distinct",
    "SELECT MAX(age) FROM visits": "sql.extreme",
    "SELECT string_agg(sex, ',') FROM visits": "sql.unsupported",
    "SELECT array_agg(age) FROM visits": "sql.unsupported",
    "SELECT SUM(age) OVER (PARTITION BY sex) FROM visits": "sql.unsupported",
    "SELECT AVG(agee) FROM visits": "sql.column",
    "SELECT AVG(w.age) FROM visits v": "sql.name",
    "SELECT COUNT(*) FROM visit": "sql.table",
    "SELECT COUNT(*) FROM 'people.csv'": "sql.table",
    "SELECT COUNT(*) FROM read_csv('/etc/passwd')": "sql.table",
    "SELECT COUNT(*) FROM information_schema.tables": "sql.table",
    "SELECT COUNT(*)": "sql.from",
    "SELECT COUNT(*) FROM visits, customers": "sql.join",
    'SELECT COUNT(*) FROM visits JOIN customers ON region = "class"': "sql.join",
    "SELECT COUNT(*) FROM visits UNION ALL SELECT COUNT(*) FROM visits": "sql.unsupported",
    "SELECT COUNT(*) FROM visits WHERE age > (SELECT AVG(age) FROM visits)": "sql.unsupported",
    "SELECT COUNT(*) FROM visits WHERE EXISTS (SELECT 1 FROM customers)": "sql.unsupported",
    'SELECT COUNT(*) FROM visits WHERE region IN (SELECT "class" FROM customers)': "sql.clause",
    "SELECT COUNT(*) FROM visits WHERE COUNT(*) > 3": "sql.unsupported",
    "SELECT AVG(m) FROM (SELECT sex, AVG(age) AS m FROM visits GROUP BY sex) t": "sql.staged",
    "SELECT COUNT(*) FROM visits WHERE patient_id = 'p1'": "plan.opaque",
    "SELECT patient_id, COUNT(*) FROM visits GROUP BY patient_id": "plan.key",
    "SELECT AVG(sex) FROM visits": "plan.types",
    "SELECT AVG(cost / age) FROM visits": "plan.ratio",
    "SELECT COUNT(*) FROM visits WHERE bmi = NULL": "sql.null",
    "SELECT AVG(CASE WHEN age > 3 THEN NULL END) FROM visits": "sql.null",
    "SELECT AVG((cost - 1000) % 7) FROM visits": "sql.unsupported",
    "SELECT date_trunc('month', date) AS m, COUNT(*) FROM visits GROUP BY 1": "plan.key",
    "SELECT MEDIAN(sex) FROM visits": "plan.types",
    "SELECT QUANTILE(cost, 1.5) FROM visits": "sql.unsupported",
    "SELECT SUM(x) FROM (SELECT age AS x FROM visits UNION SELECT cost FROM visits) t": "sql.distinct",
    "SELECT SUM(age) FROM (SELECT age FROM visits UNION ALL SELECT age, cost FROM visits) t": "sql.types",
    "SELECT AVG(CAST(bmi AS INT)) FROM visits": "sql.cast",
    "SELECT AVG(random()) FROM visits": "sql.unsupported",
    "SELECT AVG(age) FROM visits TABLESAMPLE 10%": "sql.clause",
    "SELECT region, COUNT(*) FROM visits GROUP BY ROLLUP (region)": "sql.unsupported",
    "SELECT region, COUNT(*) FROM visits GROUP BY ALL": "sql.clause",
    "SELECT AVG(DISTINCT age) FROM visits": "sql.distinct",
    "SELECT region, COUNT(*) FROM visits GROUP BY 7": "sql.name",
    "SELECT region, COUNT(*) FROM visits GROUP BY region HAVING region > 3": "sql.types",
    "SELECT region, COUNT(*) FROM visits GROUP BY region HAVING COUNT(*)": "sql.types",
    "SELECT region, COUNT(*) FROM visits GROUP BY region ORDER BY COUNT(*) + region": "sql.types",
    "SELECT COUNT(*) FROM visits LIMIT age": "sql.unsupported",
    "WITH RECURSIVE r AS (SELECT * FROM visits) SELECT COUNT(*) FROM r": "sql.clause",
    "SELECT COUNT(*) FROM visits; SELECT COUNT(*) FROM visits": "sql.statements",
    "SELECT COUNT(*) FROM visits; DROP TABLE visits": "sql.statements",
    "DROP TABLE visits": "sql.statement",
    "COPY visits TO 'out.csv'": "sql.statement",
    "ATTACH 'other.db'": "sql.statement",
    "INSTALL httpfs": "sql.statement",
    "PRAGMA database_list": "sql.statement",
    "SET memory_limit = '1GB'": "sql.statement",
    "CREATE TABLE t AS SELECT * FROM visits": "sql.statement",
    "UPDATE visits SET age = 1": "sql.statement",
    "SELECT COUNT(*) INTO t FROM visits": "sql.clause",
    "SELECT FROM WHERE": "sql.syntax",
    "SELECT AVG() FROM visits": "sql.syntax",
    "SELECT COUNT_IF() FROM visits": "sql.syntax",
    "SELECT COUNT(*) FROM visits WHERE region = 'north": "sql.syntax",
    "SELECT COUNT(*) FROM visits WHERE region = 'north' OR '1' = 1": "sql.types",
    "SELECT 'a' || age FROM visits": "sql.unsupported",
    "": "sql.text",
    "\x00\x01": "sql.statement",
}


@pytest.fixture(scope="module")
def quiet_session() -> tuple[sessions.Session, world.Vault]:
    return world.session(noise=False, epsilon="1000")


@pytest.fixture
def asked(quiet_session: tuple[sessions.Session, world.Vault]) -> Iterator[world.Vault]:
    """Noise off: answers must equal DuckDB."""
    session, vault = quiet_session
    sessions.use(session)
    yield vault
    sessions.use(None)


@pytest.mark.parametrize("query", SAME)
def test_a_query_equals_duckdb(asked: world.Vault, query: str) -> None:
    compare(cl.sql(query), duck(query))


@pytest.mark.parametrize(("query", "code"), REFUSED.items(), ids=list(REFUSED))
def test_what_is_refused_says_why_and_asks_nothing(asked: world.Vault, query: str, code: str) -> None:
    before = len(asked.asked)
    with pytest.raises(CloisterError) as caught:
        cl.sql(query)
    assert caught.value.code == code, caught.value
    assert caught.value.next_step
    assert len(asked.releases()) == len([one for one, _ in asked.asked[:before] if one == "release"])


def test_a_refusal_shows_the_place_and_the_nearest_form(asked: world.Vault) -> None:
    with pytest.raises(PlanError) as caught:
        cl.sql("SELECT sex,\n       MAX(age) AS oldest\nFROM visits GROUP BY sex")
    assert "line 2, column 8:" in caught.value.reason
    where = caught.value.reason.splitlines()
    assert where[-2].strip() == "MAX(age) AS oldest"
    assert where[-1].index("^") == where[-2].index("MAX")
    for form in caught.value.nearest:
        assert isinstance(cl.sql(form), pd.DataFrame)


@pytest.mark.parametrize(
    ("query", "pandas"),
    [
        ("SELECT AVG(bmi) FROM visits WHERE age >= 18", lambda v: v[v.age >= 18].bmi.mean()),
        ("SELECT AVG(bmi) AS m FROM visits WHERE age >= 18 AND sex = 'F'",
         lambda v: v.query("age >= 18 and sex == 'F'").bmi.mean()),
        ("SELECT region, COUNT(*) FROM visits GROUP BY region", lambda v: v.groupby("region").size()),
        ("SELECT sex, region, AVG(cost) FROM visits GROUP BY 1, 2 HAVING AVG(cost) > 3 ORDER BY 3 LIMIT 2",
         lambda v: v.groupby(["sex", "region"]).cost.mean()),
        ("SELECT sex, COUNT(cost), AVG(cost) FROM visits GROUP BY sex",
         lambda v: v.groupby("sex").cost.agg(["count", "mean"])),
        ("SELECT sex, SUM(cost) AS total, AVG(bmi) AS bmi FROM visits GROUP BY sex",
         lambda v: v.groupby("sex").agg(total=("cost", "sum"), bmi=("bmi", "mean"))),
        ("SELECT AVG(bmi), SUM(cost) FROM visits", lambda v: v.agg({"bmi": "mean", "cost": "sum"})),
        ("WITH d AS (SELECT age >= 65 AS senior, cost FROM visits) SELECT senior, AVG(cost) FROM d GROUP BY senior",
         lambda v: v.assign(senior=v.age >= 65).groupby("senior").cost.mean()),
    ],
)  # fmt: skip
def test_the_same_question_in_sql_and_pandas_is_one_plan_and_recalled(query: str, pandas: object) -> None:
    session, vault = world.session(noise=True, mode="confidential")
    sessions.use(session)
    try:
        first = pandas(cl.table("visits"))
        again = cl.sql(query)
    finally:
        sessions.use(None)
    asked, same = vault.releases()
    assert asked == same
    assert again.release.plan_digest == first.release.plan_digest
    assert again.release.recalled
    assert not first.release.recalled
    assert again.release.cost == 0


def test_an_answer_is_a_released_table(asked: world.Vault) -> None:
    found = cl.sql("SELECT sex, AVG(bmi) AS bmi, COUNT(*) AS n, 2 * COUNT(*) AS twice FROM visits GROUP BY sex")
    assert type(found) is pd.DataFrame
    assert list(found.columns) == ["bmi", "n", "twice"]
    assert found.index.name == "sex"
    assert (found.release.stderr[["bmi", "n"]] > 0).to_numpy().all()
    # What is computed from released values has no error of its own here, and says so.
    assert found.release.stderr.twice.isna().all()
    assert found.release.unreliable.twice.all()
    assert "twice" in found.release.derived
    assert found.sort_values("n").bmi.release.stderr.notna().all()
    assert found.n.dtype.kind == "i"


def test_a_filter_of_groups_is_free_and_keeps_the_release(vault: world.Vault) -> None:
    whole = cl.sql("SELECT region, AVG(cost) AS a FROM visits GROUP BY region")
    top = cl.sql("SELECT region, AVG(cost) AS a FROM visits GROUP BY region ORDER BY a DESC LIMIT 2")
    assert top.release.recalled
    assert list(top.a) == sorted(whole.a.dropna(), reverse=True)[:2]


def test_precision_in_a_last_line_or_in_options(vault: world.Vault) -> None:
    query = "SELECT COUNT(*) FROM visits"
    plain = cl.sql.cost(query)
    hinted = cl.sql.cost(f"{query}\n-- epsilon 0.5")
    assert hinted.epsilon == pytest.approx(0.5, rel=1e-3)
    assert hinted.epsilon != plain.epsilon
    assert cl.sql.cost(query, epsilon=0.5).rho == hinted.rho
    assert cl.sql.cost(f"{query}\n-- share 0.01", epsilon=0.5).rho == hinted.rho
    assert cl.sql.cost(f"{query}\n-- within: 20").stderr == pytest.approx(20 / 1.96, rel=0.03)
    assert cl.sql.cost("SELECT AVG(age) FROM visits\n-- within 1, n 2000").epsilon > 0
    # Only a whole last line asks; a comment about an epsilon does not.
    assert cl.sql.cost(f"{query} -- epsilon is small\n-- see epsilon 3 of the book").rho == plain.rho
    assert not vault.releases()


@pytest.mark.parametrize(
    "form", ["MEDIAN(cost)", "QUANTILE(cost, 0.5)", "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY cost)"]
)
def test_quantiles_are_one_release_whose_rank_is_right(form: str) -> None:
    session, vault = world.session(noise=True, epsilon="1000")
    sessions.use(session)
    try:
        found = cl.sql(f"SELECT {form} AS m FROM visits", share=0.5).m[0]
    finally:
        sessions.use(None)
    assert (world.reference(world.VISITS).cost <= found).mean() == pytest.approx(0.5, abs=0.02)
    (plan,) = vault.releases()
    assert plan["measures"][0]["op"] == "quantile"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COUNT(*) AS n, AVG(cost + level) AS a FROM visits JOIN labs USING (patient_id)",
        "SELECT COUNT(*) AS n, SUM(v.age - l.age) AS a FROM visits v JOIN labs l ON v.patient_id = l.patient_id",
        "SELECT COUNT(*) AS n FROM clinic.visits v INNER JOIN clinic.labs l ON l.patient_id = v.patient_id"
        " WHERE l.age > 40 AND v.age > 40",
        "SELECT sex, COUNT(level) AS n FROM visits LEFT JOIN (SELECT patient_id, level FROM labs WHERE level > 50) AS l"
        " USING (patient_id) GROUP BY sex ORDER BY sex",
        "SELECT v.sex, AVG(l.age) AS a FROM visits v JOIN labs l USING (patient_id) GROUP BY v.sex ORDER BY v.sex",
    ],
)
def test_joins_on_the_unit_key_are_alignments(query: str) -> None:
    session, _ = joined_world()
    sessions.use(session)
    try:
        compare(cl.sql(query, share=0.5), duck(query, *LABS_TOO))
    finally:
        sessions.use(None)


@pytest.mark.parametrize(
    ("query", "code"),
    {
        "SELECT COUNT(*) FROM visits v JOIN labs l ON v.age = l.age": "api.merge",
        "SELECT COUNT(*) FROM visits JOIN labs ON TRUE": "sql.join",
        "SELECT COUNT(*) FROM visits v FULL JOIN labs l USING (patient_id)": "sql.join",
        "SELECT COUNT(*) FROM visits v SEMI JOIN labs l USING (patient_id)": "sql.join",
        "SELECT COUNT(*) FROM visits CROSS JOIN labs": "sql.join",
        "SELECT AVG(age) FROM visits JOIN labs USING (patient_id)": "sql.name",
        "SELECT AVG(l.cost) FROM visits v JOIN labs l USING (patient_id)": "sql.column",
    }.items(),
)
def test_other_joins_are_refused(query: str, code: str) -> None:
    session, vault = joined_world()
    sessions.use(session)
    try:
        with pytest.raises(CloisterError) as caught:
            cl.sql(query)
    finally:
        sessions.use(None)
    assert caught.value.code == code, caught.value
    assert not vault.releases()


def test_a_join_is_the_plan_of_merge() -> None:
    session, _ = joined_world()
    sessions.use(session)
    try:
        both = cl.table("visits").merge(cl.table("labs")[["patient_id", "level"]], on="patient_id")
        first = both.level.mean(share=0.1)
        again = cl.sql(
            "SELECT AVG(level) FROM visits JOIN (SELECT patient_id, level FROM labs) l USING (patient_id)\n-- share 0.1"
        )
    finally:
        sessions.use(None)
    assert again.release.plan_digest == first.release.plan_digest


def test_size_and_depth_are_bounded(asked: world.Vault) -> None:
    wide = " AND ".join(f"age <> {i}" for i in range(300))
    assert cl.sql(f"SELECT COUNT(*) AS n FROM visits WHERE {wide}").n[0] == 0
    deep = "(" * 5_000 + "age" + ")" * 5_000
    bombs = [
        f"SELECT AVG({deep}) FROM visits",
        "SELECT AVG(" + "-(" * 55 + "age" + ")" * 55 + ") FROM visits WHERE " + "NOT " * 4_000 + "smoker",
        "SELECT AVG(" + " - ".join(["age"] * 3_000) + ") FROM visits",
        "SELECT AVG(" + " ".join(["-"] * 3_000) + " age) FROM visits",
        "SELECT " + "CASE WHEN smoker THEN 1 ELSE " * 200 + "0" + " END" * 200 + " FROM visits",
        "SELECT COUNT(*) FROM " + "(SELECT * FROM " * 100 + "visits" + ")" * 100,
        "SELECT COUNT(*) FROM visits WHERE age IN (" + ",".join(map(str, range(5_000))) + ")",
        "SELECT COUNT(*) FROM visits " + "-- x" * 10_000,
        "SELECT COUNT(*) FROM visits WHERE age > 1e999999999",
    ]
    for bomb in bombs:
        with pytest.raises(CloisterError, match=r"sql\.(size|syntax|number)"):
            cl.sql(bomb)


def test_any_text_gives_an_answer_or_a_refusal(asked: world.Vault) -> None:
    rng = random.Random(4)
    words = [word for query in [*SAME, *REFUSED] for word in query.replace("(", " ( ").replace(")", " ) ").split()]
    answered = refused = 0
    for _ in range(500):
        query = rng.choice(SAME).replace("(", " ( ").replace(")", " ) ").split()
        for _ in range(rng.randint(1, 3)):
            query[rng.randrange(len(query))] = rng.choice(words)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cl.sql(" ".join(query))
            answered += 1
        except CloisterError as error:
            assert error.next_step
            refused += 1
    assert answered > 10
    assert refused > 300


def test_the_magic_reads_its_line_and_binds_a_name(vault: world.Vault) -> None:
    names: dict[str, object] = {}
    query = "SELECT sex, COUNT(*) AS n FROM visits GROUP BY sex"
    found = sql_magic.run("means --epsilon 0.1", query, names)
    assert names == {"means": found}
    assert found.release.epsilon == pytest.approx(0.1, rel=1e-3)
    price = sql_magic.run("--cost --share=0.01", query, names)
    assert price.share == pytest.approx(0.01, rel=1e-3)
    assert len(vault.releases()) == 1
    for line in ("a b", "--epsilon", "--force", "'", "1x", "lambda", "--epsilon x"):
        with pytest.raises(PlanError):
            sql_magic.run(line, query, names)
    assert len(vault.releases()) == 1


def test_tab_completes_tables_and_columns_inside_the_magic(vault: world.Vault) -> None:
    head = "%%cloister_sql\nSELECT AVG(b"
    assert sql_magic.complete(head, head) == ("b", ["balance", "bank.customers", "bmi"])
    assert sql_magic.complete("x = b", "x = b") == ("", [])
    text = "%%cloister_sql\nSELECT COUNT(*) FROM clinic.V"
    assert sql_magic.complete(text, text) == ("clinic.V", ["clinic.visits"])
    assert not vault.releases()


def test_a_hint_is_read_exactly() -> None:
    assert sql_text.hint("SELECT 1\n-- epsilon=0.1, n: 20_000") == {"epsilon": Decimal("0.1"), "n": 20_000}
    assert sql_text.hint("SELECT 1 -- epsilon 0.1") == {}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (
            "SELECT AVG(total) FROM (SELECT patient_id, SUM(cost) AS total FROM visits GROUP BY patient_id) t",
            lambda d: d.groupby("patient_id").agg(total=("cost", "sum")).total.mean(),
        ),
        (
            "SELECT AVG(m) FROM (SELECT patient_id, MAX(bmi) AS m FROM visits WHERE age >= 18 GROUP BY patient_id) t "
            "WHERE m > 20",
            lambda d: d[d.age >= 18].groupby("patient_id").agg(m=("bmi", "max")).query("m > 20").m.mean(),
        ),
        (
            "SELECT SUM(age) FROM (SELECT DISTINCT patient_id, age FROM visits) t",
            lambda d: d.drop_duplicates(["patient_id", "age"]).age.sum(),
        ),
        ("SELECT COUNT(DISTINCT patient_id) AS patient_id FROM visits", lambda d: d.patient_id.nunique()),
    ],
)
def test_a_subquery_per_unit_is_the_plan_of_its_pandas_form(query, asked, visits: cl.Frame) -> None:
    assert cl.sql(query).release.plan_digest == asked(visits).release.plan_digest


def test_distinct_on_is_not_read_as_distinct(visits: cl.Frame) -> None:
    with pytest.raises(PlanError) as refused:
        cl.sql("SELECT COUNT(*) AS n FROM (SELECT DISTINCT ON (patient_id) patient_id, age FROM visits) t")
    assert refused.value.code == "sql.clause"
