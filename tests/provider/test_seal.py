"""Capsules: what sealing writes, what it tells the provider, and every alteration on the way to the vault."""

from __future__ import annotations

import base64
import io
from datetime import date, datetime

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from provider_world import CARD, data
from pyarrow.parquet.encryption import create_decryption_properties, create_encryption_properties

from cloister.contract import capsule, capsule_keys
from cloister.contract.capsule import MANIFEST_TYPE, Manifest
from cloister.contract.card import Column
from cloister.errors import CloisterError, ContractError, MalformedError, RefusedError, SignatureError, TrustError
from cloister.plan import algebra as a
from cloister.provider import seal as sealing
from cloister.provider import tables
from cloister.provider.seal import seal
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey

KEY = SigningKey.generate()


@pytest.fixture
def sealed(tmp_path):
    return seal(CARD, data(), tmp_path / "capsule", KEY)


def manifest_of(one, **options):
    document = msgspec.json.decode((one.directory / "manifest.json").read_bytes(), type=envelope.Envelope)
    return capsule.open_manifest(document, KEY.did, **options)


def keys_of(one, manifest=None):
    """Open every box of a capsule; the salt is that of its first group."""
    manifest = manifest or manifest_of(one)
    boxes = [
        capsule_keys.open_box(
            capsule_keys.group_key(one.data_key, box.table, box.group), manifest, box.table, box.group
        )
        for box in manifest.sealed
    ]
    return capsule.PartKeys({path: key for box in boxes for path, key in box.keys.items()}, boxes[0].salt)


def read_part(manifest, part, ciphertext, keys):
    """Read a part the way a vault does: check first, then decrypt, then undo the fixed width."""
    opened = capsule.open_part(manifest, part, ciphertext, keys)
    properties = create_decryption_properties(opened.key, aad_prefix=opened.aad)
    table = pq.read_table(io.BytesIO(ciphertext), decryption_properties=properties)
    columns = {}
    for name in part.columns:
        values = table[name].combine_chunks()
        if pa.types.is_fixed_size_binary(values.type):
            values = pa.array([value.rstrip(b"\0").decode() for value in values.to_pylist()])
        columns[name] = pc.if_else(table[name + "?"].combine_chunks(), values, pa.scalar(None, values.type))
    return pa.table(columns)


def read_capsule(one, card=CARD):
    manifest = manifest_of(one, pinned=one.manifest_digest)
    capsule.check_card(manifest, card, one.card_digest)
    keys = keys_of(one, manifest)
    out = {}
    for part in manifest.parts_of(card.name):
        table = read_part(manifest, part, (one.directory / part.path).read_bytes(), keys)
        for name in table.column_names:
            out.setdefault(name, []).extend(table[name].to_pylist())
    return out


# What is written -------------------------------------------------------------------------------------


def test_round_trip(sealed):
    columns = read_capsule(sealed)
    assert columns["patient"][:7] == ["P0", "P1", "P2", "P3", "P4", "P0", "P1"]
    assert columns["age"][:7] == list(range(30, 37))
    assert columns["bmi"][:7] == [20.5, None, 20.5, None, 20.5, None, 31.0]
    assert columns["sex"][:4] == ["f", "m", "(other)", "f"]
    assert columns["smokes"][:4] == [True, False, None, True]
    assert columns["day"][0] == date(2023, 5, 6)
    assert all(len(values) == 64 and set(values[7:]) == {None} for values in columns.values())


def test_one_unreadable_condition_does_not_lose_the_others(tmp_path):
    frame = data().assign(smokes=["true", "FALSE", "perhaps", "1", "0", "", None])
    one = seal(CARD, frame, tmp_path / "capsule", KEY)
    assert read_capsule(one)["smokes"][:7] == [True, False, None, True, False, None, None]
    assert one.report.columns["smokes"].unreadable == 2  # an empty text is no condition


def test_whole_numbers_that_no_float_holds_are_out_of_bounds(tmp_path):
    frame = data().assign(age=[2**53 + 1, -(2**61), 30, 31, 32, 33, 34])
    one = seal(CARD, frame, tmp_path / "capsule", KEY)
    assert one.report.columns["age"].out_of_bounds == 2


def test_one_part_per_group_of_equal_rights_and_range_aligned(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "RANGE_ROWS", 24)
    one = seal(CARD, data(40), tmp_path / "capsule", KEY)
    manifest = manifest_of(one)
    assert [(part.group, part.range, part.rows, part.tier) for part in manifest.parts] == [
        (group, span, rows, tier)
        for span, rows in ((0, 24), (1, 24), (2, 16))
        for group, tier in ((0, 2), (1, 2), (2, 3))
    ]  # fmt: skip
    columns = read_capsule(one)
    assert columns["age"][:40] == list(range(30, 70))
    assert columns["bmi"][:40] == [20.5, None] * 20


def test_sizes_tell_nothing_about_the_data(tmp_path):
    """Other values, other nulls, another number of rows: every file has the same length."""
    few, many = data(3), data(40).assign(sex="something unheard of", bmi=None, patient="a-rather-long-patient-number")
    sizes = [
        [part.bytes for part in manifest_of(seal(CARD, frame, tmp_path / name, KEY)).parts]
        for name, frame in (("few", few), ("many", many))
    ]
    assert sizes[0] == sizes[1]


def test_page_sizes_tell_nothing_about_the_data(tmp_path):
    """Parquet modules carry their length in the clear, so the length of every page must not depend on values."""

    def modules(one):
        manifest = manifest_of(one)
        out = []
        for part in manifest.parts:
            raw, at = (one.directory / part.path).read_bytes(), 4
            end = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
            while at < end:
                length = int.from_bytes(raw[at : at + 4], "little")
                out.append(length)
                at += 4 + length
            assert at == end
        return out

    frames = data(5), data(50).assign(bmi=None)
    few, many = (modules(seal(CARD, frame, tmp_path / str(len(frame)), KEY)) for frame in frames)
    assert few == many


def test_no_plaintext_no_compression_no_statistics_no_dictionary(sealed):
    manifest = manifest_of(sealed)
    keys = keys_of(sealed, manifest)
    for part in manifest.parts:
        raw = (sealed.directory / part.path).read_bytes()
        assert raw[:4] == raw[-4:] == b"PARE"
        assert b"patient" not in raw
        assert b"P0" * 2 not in raw
        opened = capsule.open_part(manifest, part, raw, keys)
        properties = create_decryption_properties(opened.key, aad_prefix=opened.aad)
        group = pq.ParquetFile(io.BytesIO(raw), decryption_properties=properties).metadata.row_group(0)
        for index in range(group.num_columns):
            column = group.column(index)
            assert column.compression == "UNCOMPRESSED"
            assert not column.is_stats_set
            assert "DICTIONARY" not in "".join(column.encodings)


def test_every_part_and_capsule_has_its_own_key(tmp_path, sealed):
    other = seal(CARD, data(), tmp_path / "again", KEY)
    keys = [keys_of(one) for one in (sealed, other)]
    used = [key for bundle in keys for key in bundle.keys.values()]
    assert len(used) == len(set(used)) == 6
    assert sealed.data_key != other.data_key
    assert keys[0].salt != keys[1].salt
    commitments = [part.commitment for one in (sealed, other) for part in manifest_of(one).parts]
    assert len(set(commitments)) == 6  # salted: equal data do not commit to equal values


def test_nothing_appears_when_sealing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "_encrypt", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        seal(CARD, data(), tmp_path / "capsule", KEY)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_capsule_is_never_overwritten(tmp_path, sealed):
    with pytest.raises(RefusedError, match=r"seal\.exists"):
        seal(CARD, data(), sealed.directory, KEY)
    assert read_capsule(sealed)["age"][0] == 30


def test_a_reference_table_is_sealed_and_looked_up_by_its_key(tmp_path):
    columns = (CARD.column("sex"), Column("share", "int", 1, "Share", low="0", high="100", step="1"))
    card = msgspec.structs.replace(CARD, unit="none", key=("sex",), columns=columns, rows_per_unit=1)
    frame = pd.DataFrame({"sex": ["f", "m", "m", "x"], "share": [51, 49, 12, 3]})
    one = seal(card, frame, tmp_path / "reference", KEY)
    assert one.report.rows_over_limit == 1
    assert one.report.columns["sex"].unknown_category == 1
    engine, codes = Engine(), msgspec.structs.replace(card, name="codes")
    people = pa.table({name: pa.array(data()[name].tolist()) for name in ("patient", "sex")})
    narrow = msgspec.structs.replace(CARD, columns=(CARD.column("patient"), CARD.column("sex")))
    engine.load(CARD.name, narrow, people, b"k")
    engine.load("codes", codes, pa.table(read_capsule(one, card)), b"k")
    looked = a.Lookup(a.Table(CARD.name), ("sex",), a.Reference("codes", ("sex",), ("share",)), ("share",))
    plan = a.VectorSum(looked, (a.Count("n", a.Col("share")), a.Count("rows")), "1", ("sex",))
    found = engine.run(analyse(plan, {CARD.name: narrow, "codes": codes})).values
    assert sum(found[::2]) == sum(found[1::2]) == len(data())


# What the provider is told ---------------------------------------------------------------------------


def test_report(tmp_path):
    frame = data(40)
    frame.loc[0, "age"] = 200
    frame.loc[1, "age"] = -1
    frame.loc[2, "bmi"] = float("inf")
    frame.loc[3, "day"] = pd.Timestamp("1999-01-01")
    frame["patient"] = [None, "  p1 ", "P1", "p1", *[f"Q{n}" for n in range(36)]]
    frame["extra"] = 1
    report = seal(CARD, frame, tmp_path / "capsule", KEY).report
    assert (report.rows, report.null_keys, report.rows_over_limit, report.left_out) == (40, 1, 1, ("extra",))
    assert report.columns["age"].out_of_bounds == 2
    assert report.columns["day"].out_of_bounds == 1
    assert report.columns["sex"].unknown_category == 1
    assert report.columns["bmi"].unreadable == 1
    assert report.columns["bmi"].null == 21


def test_csv_and_parquet_files(tmp_path):
    frame = data(6).assign(age=["31", "x", "33", "34.0", "", "36"])
    frame.to_csv(tmp_path / "visits.csv", index=False)
    frame.to_parquet(tmp_path / "visits.parquet")
    for name in ("visits.csv", "visits.parquet"):
        one = seal(CARD, tmp_path / name, tmp_path / f"capsule-{name}", KEY)
        assert read_capsule(one)["age"][:6] == [31, None, 33, 34, None, 36], name
        assert one.report.columns["age"].unreadable >= 1


@pytest.mark.parametrize("suffix", ["csv", "parquet", "frame"])
def test_an_empty_text_is_no_value_and_rows_without_a_key_are_nobody(tmp_path, suffix):
    frame = data(6).assign(patient=["P1", "", "  ", "", "007", "NA"], sex=["f", "", "m", "NA", "f", "m"])
    frame.to_csv(tmp_path / "visits.csv", index=False)
    frame.to_parquet(tmp_path / "visits.parquet")
    one = seal(CARD, frame if suffix == "frame" else tmp_path / f"visits.{suffix}", tmp_path / "capsule", KEY)
    columns = read_capsule(one)
    assert columns["patient"][:6] == ["P1", None, None, None, "007", "NA"]
    assert columns["sex"][:6] == ["f", None, "m", "(other)", "f", "m"]
    assert (one.report.null_keys, one.report.rows_over_limit) == (3, 0)
    assert (one.report.columns["sex"].null, one.report.columns["sex"].unreadable) == (1, 0)


def test_a_key_of_digits_in_a_csv_keeps_its_zeros(tmp_path):
    data(4).assign(patient=["007", "7", "", "08"]).to_csv(tmp_path / "visits.csv", index=False)
    one = seal(CARD, tmp_path / "visits.csv", tmp_path / "capsule", KEY)
    assert read_capsule(one)["patient"][:4] == ["007", "7", None, "08"]


def test_categoricals_and_large_strings(tmp_path):
    frame = data(6)
    frame["sex"] = frame["sex"].astype("category")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(0, "patient", table["patient"].cast(pa.large_string()))
    one = seal(CARD, table, tmp_path / "capsule", KEY)
    assert read_capsule(one)["sex"][:3] == ["f", "m", "(other)"]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (data().drop(columns="age"), RefusedError),
        (data(65), RefusedError),
        ("no-such-file.csv", MalformedError),
        (42, MalformedError),
        (data().assign(day=[[1]] * 7), MalformedError),
    ],
    ids=["missing column", "more rows than the class", "no file", "no table", "nested"],
)
def test_data_that_cannot_be_sealed(tmp_path, frame, kind):
    with pytest.raises(kind) as caught:
        seal(CARD, frame, tmp_path / "capsule", KEY)
    assert caught.value.code.startswith("seal.")
    assert not (tmp_path / "capsule").exists()


def test_a_card_with_errors_is_not_sealed_under(tmp_path):
    bad = msgspec.structs.replace(CARD, columns=(*CARD.columns, Column("note", "string", 2, "free text")))
    with pytest.raises(ContractError, match=r"card\.domain"):
        seal(bad, data(), tmp_path / "capsule", KEY)


# What a host can try ---------------------------------------------------------------------------------


def test_any_flipped_bit_in_any_part_is_found(sealed):
    manifest = manifest_of(sealed)
    keys = keys_of(sealed, manifest)
    for part in manifest.parts:
        good = (sealed.directory / part.path).read_bytes()
        capsule.open_part(manifest, part, good, keys)
        for at in {0, 3, 4, len(good) // 3, len(good) // 2, *range(len(good) - 60, len(good))}:
            bad = bytearray(good)
            bad[at] ^= 1
            with pytest.raises(TrustError, match=r"capsule\.part"):
                capsule.open_part(manifest, part, bytes(bad), keys)
        for bad in (b"", good[:-1], good + b"\0"):
            with pytest.raises(TrustError, match=r"capsule\.part"):
                capsule.open_part(manifest, part, bad, keys)


def test_parts_cannot_change_places(tmp_path, sealed):
    other = seal(CARD, data(9), tmp_path / "other", KEY)
    manifest, foreign = manifest_of(sealed), manifest_of(other)
    keys = keys_of(sealed, manifest)
    first, second, _ = manifest.parts
    with pytest.raises(TrustError):
        capsule.open_part(manifest, first, (sealed.directory / second.path).read_bytes(), keys)
    with pytest.raises(TrustError):
        capsule.open_part(manifest, first, (other.directory / first.path).read_bytes(), keys)
    for alien in (foreign, msgspec.structs.replace(foreign, sealed=manifest.sealed)):
        with pytest.raises(TrustError, match=r"capsule\.key"):
            keys_of(sealed, alien)


def changed(manifest, field):
    if field == "card":
        tables = tuple(msgspec.structs.replace(one, card="sha256:x") for one in manifest.tables)
        return msgspec.structs.replace(manifest, tables=tables)
    if field == "table":
        tables = tuple(msgspec.structs.replace(one, name="x") for one in manifest.tables)
        return msgspec.structs.replace(manifest, tables=tables)
    return msgspec.structs.replace(manifest, capsule="x") if field == "capsule" else manifest


@pytest.mark.parametrize("field", ["capsule", "card", "table", "group", "range"])
def test_the_aad_names_the_place_of_a_part(sealed, field):
    """Even with the right key, a part opens only as the part it was sealed as."""
    manifest = manifest_of(sealed)
    part = manifest.parts[0]
    raw = (sealed.directory / part.path).read_bytes()
    right = capsule.open_part(manifest, part, raw, keys_of(sealed, manifest))
    moved = capsule.part_aad(
        changed(manifest, field),
        msgspec.structs.replace(part, **{field: {"table": "x"}.get(field, 7)}) if hasattr(part, field) else part,
    )
    assert moved != right.aad
    for aad in (moved, None):
        with pytest.raises(OSError, match=r"AAD|decryption"):
            pq.read_table(
                io.BytesIO(raw), decryption_properties=create_decryption_properties(right.key, aad_prefix=aad)
            )


def test_the_wrong_data_key(sealed):
    with pytest.raises(TrustError, match=r"capsule\.key"):
        keys_of(sealed._replace(data_key=bytes(32)))
    with pytest.raises(TrustError, match=r"capsule\.key"):
        capsule_keys.check_secret(bytes(32), manifest_of(sealed), CARD.name)


def test_the_keys_are_tied_to_the_very_ciphertexts(sealed):
    """A provider who edits a part must seal again: old keys do not open a manifest with other parts."""
    manifest = manifest_of(sealed)
    first, *others = manifest.parts
    edited = msgspec.structs.replace(manifest, parts=(capsule.sized(first, b"other", commitment=""), *others))
    with pytest.raises(TrustError, match=r"capsule\.key"):
        keys_of(sealed, edited)
    secret = capsule_keys.table_secret(sealed.data_key, CARD.name)
    capsule_keys.check_secret(secret, manifest, CARD.name)
    with pytest.raises(TrustError, match=r"capsule\.key"):
        capsule_keys.check_secret(secret, edited, CARD.name)


@pytest.mark.parametrize("sealed_text", ["", "AAAA", "not base64!", base64.b64encode(bytes(200)).decode()])
def test_a_damaged_key_section(sealed, sealed_text):
    manifest = manifest_of(sealed)
    boxes = tuple(msgspec.structs.replace(box, box=sealed_text) for box in manifest.sealed)
    with pytest.raises(TrustError, match=r"capsule\.key"):
        keys_of(sealed, msgspec.structs.replace(manifest, sealed=boxes))


def variants():
    plain = pa.table({"a": [1, 2, 3]})
    yield "plaintext", {}
    key = bytes(32)
    yield "AES_GCM_CTR", {"encryption_properties": create_encryption_properties(
        key, aad_prefix=b"x", store_aad_prefix=False, encryption_algorithm="AES_GCM_CTR_V1")}  # fmt: skip
    yield "stored AAD", {"encryption_properties": create_encryption_properties(key, aad_prefix=b"x")}
    yield "no AAD", {"encryption_properties": create_encryption_properties(key)}
    yield "plain footer", {"encryption_properties": create_encryption_properties(
        key, aad_prefix=b"x", store_aad_prefix=False, plaintext_footer=True)}  # fmt: skip
    del plain


@pytest.mark.parametrize(("name", "options"), list(variants()), ids=[name for name, _ in variants()])
def test_only_uniform_aes_gcm_without_stored_prefix_is_opened(sealed, name, options):
    """A provider's own mistake (or a host with the provider's key) cannot lower the protection of a part."""
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), out, **options)
    manifest = manifest_of(sealed)
    part = capsule.sized(manifest.parts[0], out.getvalue(), commitment="")
    keys = keys_of(sealed, manifest)
    with pytest.raises(TrustError, match="AES-GCM"):
        capsule.open_part(manifest, part, out.getvalue(), keys)


def test_manifests_cannot_be_swapped_or_edited(tmp_path, sealed):
    other = seal(CARD, data(9), tmp_path / "other", KEY)
    with pytest.raises(TrustError, match=r"capsule\.manifest"):
        manifest_of(other, pinned=sealed.manifest_digest)
    document = msgspec.json.decode((sealed.directory / "manifest.json").read_bytes(), type=envelope.Envelope)
    edited = canonical.encode(msgspec.structs.replace(manifest_of(sealed), lineage=("sha256:" + "0" * 64,)))
    with pytest.raises(SignatureError):
        capsule.open_manifest(msgspec.structs.replace(document, payload=base64.b64encode(edited).decode()), KEY.did)
    stranger = SigningKey.generate()
    with pytest.raises(SignatureError):
        capsule.open_manifest(document, stranger.did)
    with pytest.raises(SignatureError):  # a stranger's signature under a manifest that names the provider
        capsule.open_manifest(capsule.seal_manifest(manifest_of(sealed), stranger), stranger.did)


def test_a_capsule_of_another_card(sealed):
    manifest = manifest_of(sealed)
    with pytest.raises(TrustError, match=r"capsule\.card"):
        capsule.check_card(manifest, CARD, "sha256:" + "0" * 64)
    with pytest.raises(TrustError, match=r"capsule\.card"):
        capsule.check_card(manifest, msgspec.structs.replace(CARD, name="clinic.other"), sealed.card_digest)
    fewer = msgspec.structs.replace(CARD, columns=CARD.columns[:-1])
    with pytest.raises(TrustError, match=r"capsule\.card"):
        capsule.check_card(manifest, fewer, sealed.card_digest)


def broken(manifest: Manifest):
    first, second, third = manifest.parts
    (table,), (box, *boxes) = manifest.tables, manifest.sealed
    replace = msgspec.structs.replace
    yield replace(manifest, parts=())
    yield replace(manifest, parts=(first,))
    yield replace(manifest, parts=(first, first, second, third))
    yield replace(manifest, parts=(first, replace(second, rows=32), third))
    yield replace(manifest, parts=(first, replace(second, columns=first.columns), third))
    yield replace(manifest, parts=(first, replace(second, path="../../etc/passwd"), third))
    yield replace(manifest, parts=(first, second, replace(third, range=1, path="part-0-2-1.parquet")))
    yield replace(manifest, tables=(replace(table, rows=65),))
    yield replace(
        manifest, tables=(replace(table, rows=0),), parts=tuple(replace(part, rows=0) for part in manifest.parts)
    )
    yield replace(manifest, tables=())
    yield replace(manifest, tables=(table, table))
    yield replace(manifest, tables=(table, replace(table, name="clinic.other")))
    yield replace(manifest, parts=(first, second, replace(third, table="clinic.other")))
    yield replace(manifest, sealed=tuple(boxes))
    yield replace(manifest, sealed=(box, box, *boxes))


@pytest.mark.parametrize("case", range(15))
def test_parts_that_do_not_make_whole_tables(sealed, case):
    bad = list(broken(manifest_of(sealed)))[case]
    with pytest.raises(MalformedError, match=r"capsule\.layout"):
        capsule.open_manifest(capsule.seal_manifest(bad, KEY), KEY.did)


def test_a_capsule_of_the_former_format_is_refused_with_what_to_do(sealed):
    document = envelope.seal("application/vnd.cloister.manifest.v1+json", canonical.encode({"version": 1}), KEY)
    with pytest.raises(TrustError, match=r"capsule\.version") as refused:
        capsule.open_manifest(document, KEY.did)
    assert "seals the table again" in refused.value.next_step


@pytest.mark.parametrize("change", [b" ", b"\n"])
def test_a_second_spelling_of_a_manifest(sealed, change):
    body = canonical.encode(manifest_of(sealed)) + change
    with pytest.raises(CloisterError, match=r"document\.canonical"):
        capsule.open_manifest(envelope.seal(MANIFEST_TYPE, body, KEY), KEY.did)


@pytest.mark.parametrize("moment", ["1969-12-31T23:59:59.5", "1951-03-04T00:00:00.1", "2023-05-06T23:59:59.9"])
def test_a_time_is_of_its_own_day(moment):
    """Arrow cuts fractions of a second towards 1970."""
    column = Column("day", "date", 2, "When", low="1900-01-01", high="2024-12-31")
    values = pa.chunked_array([pa.array([datetime.fromisoformat(moment)], pa.timestamp("us"))])
    (found,) = tables._conform(column, values, False)[0].to_pylist()
    assert found.isoformat() == moment[:10]


def test_a_number_that_no_column_can_hold_is_said_without_it(tmp_path):
    with pytest.raises(MalformedError, match=r"seal\.format") as refused:
        tables.read(pd.DataFrame({"x": [10**30, 1]}))
    assert "1000" not in str(refused.value)
