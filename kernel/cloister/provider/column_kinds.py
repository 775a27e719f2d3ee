"""What a column probably holds, by its name and by how its texts look: a first guess at its tier, never the last word.

Tiers are the sensitivity 1 to 5 of the PBoC draft (article 9); which kind belongs to which is a judgement of ours, on
the safe side: lowering a tier is the provider's decision, with a reason. Names are matched in English, German and
Chinese. Looking at how texts look never puts a value into a card; it can only raise a tier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Tier = Literal[1, 2, 3, 4, 5]
_MOST_LOOKED_AT = 1000
_ENOUGH = 0.8


class Kind(NamedTuple):
    """A kind of content: its name, tier, whether it is personal information, and by which names it goes."""

    name: str
    tier: Tier
    personal: bool
    names: re.Pattern[str]
    why: str


def _kind(name: str, tier: Tier, why: str, *words: str, personal: bool = True) -> Kind:
    # A word counts where it stands alone in a_name, aName or a-name; Chinese has no such gaps.
    latin = "|".join(word for word in words if word.isascii())
    chinese = "|".join(word for word in words if not word.isascii())
    pattern = rf"(?:^|_)(?:{latin})s?(?:_|$)" + (f"|{chinese}" if chinese else "")
    return Kind(name, tier, personal, re.compile(pattern), why)


# The first that fits counts, so the most sensitive come first.
KINDS = (
    _kind(
        "authentication secret", 5, "whoever has it can act as the person",
        "password", "passwort", "passwd", "pwd", "pin", "cvv", "cvc", "otp", "token", "secret", "fingerprint", "iris",
        "face_template", "biometric", "密码", "口令", "指纹", "虹膜", "人脸", "验证码",
    ),
    _kind(
        "identity number", 4, "names one person across every register",
        "ssn", "social_security(?:_number)?", "passport(?:_no|_number)?", "id_card(?:_no|_number)?", "id_no",
        "id_number", "national_id", "identity(?:_card)?(?:_no|_number)?", "ausweis(?:nummer)?", "tax_id", "steuer_id",
        "driver_licen[cs]e(?:_no|_number)?", "身份证", "证件号", "护照", "社保号", "驾驶证",
    ),
    _kind(
        "account or card number", 4, "names one account",
        "account", "account_(?:no|number|id)", "acct(?:_no)?", "iban", "konto(?:nummer)?", "card_(?:no|number)",
        "credit_card", "bank_account", "账号", "帐号", "账户", "卡号", "银行卡",
    ),
    _kind(
        "phone number", 4, "reaches one person",
        "phone(?:_no|_number)?", "mobile(?:_no|_number)?", "telephone", "tel", "telefon", "fax", "cell(?:_phone)?",
        "手机", "电话", "联系方式",
    ),
    _kind(
        "electronic address", 4, "reaches one person or machine",
        "e?_?mail(?:_address)?", "ip(?:_address|_addr)?", "mac_address", "imei", "imsi", "device_id", "wechat", "qq",
        "邮箱", "微信",
    ),
    _kind(
        "name of a person", 4, "names the person",
        "^name$", "(?:first|last|full|given|family|sur|user|patient|customer|client|employee)_?name", "vorname",
        "nachname", "姓名", "名字",
    ),
    _kind(
        "postal address or place", 4, "finds the person, or nearly",
        "address", "addr", "street", "adresse", "strasse", "home", "geo", "latitude", "longitude", "lat", "lon", "lng",
        "gps", "地址", "住址", "经度", "纬度",
    ),
    _kind(
        "health", 3, "sensitive personal information; above tier 3 no aggregate of it is released",
        "diagnos[ie]s", "dx", "icd(?:_?10|_?9)?(?:_code)?", "disease", "illness", "symptom", "medication", "drug",
        "treatment", "surgery", "blood(?:_type|_pressure)?", "hiv", "bmi", "allerg(?:y|ie)", "pregnan(?:t|cy)",
        "glucose", "hba1c", "cholesterol", "诊断", "疾病", "病史", "用药", "手术", "血型", "血压", "病",
    ),
    _kind(
        "other special category", 3, "sensitive personal information",
        "race", "ethnic(?:ity)?", "religion", "political(?:_party)?", "union_member", "sexual_orientation", "criminal",
        "民族", "种族", "宗教", "政治面貌", "犯罪",
    ),
    _kind(
        "money of a person", 3, "says how well off the person is",
        "income", "salary", "wage", "balance", "credit_(?:score|limit)", "debt", "loan(?:_amount)?", "gehalt",
        "收入", "工资", "余额", "贷款", "信用",
    ),
    _kind(
        "date of birth", 3, "with place and sex it singles out most people",
        "birth(?:_?day|_?date)?", "date_of_birth", "dob", "born", "geburtsdatum", "出生", "生日",
    ),
    _kind(
        "postcode", 3, "with date of birth and sex it singles out most people",
        "zip(?:_?code)?", "post(?:al)?_?code", "plz", "邮编",
    ),
    _kind(
        "person's attribute", 2, "common to many persons",
        "age", "sex", "gender", "alter", "geschlecht", "年龄", "性别",
    ),
    _kind(
        "category of things", 2, "says nothing about a person by itself",
        "currency", "unit_of_measure", "product(?:_type|_category)?", "station(?:_type)?", "ward", "region",
        "币种", "品类", "地区", personal=False,
    ),
)  # fmt: skip
_BY_NAME = {kind.name: kind for kind in KINDS}


def by_name(column: str) -> Kind | None:
    """Return the kind that a column's name suggests."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    name = re.sub(r"[^0-9a-z一-鿿]+", "_", spaced.lower()).strip("_")
    return next((kind for kind in KINDS if kind.names.search(name)), None)


def by_look(texts: Iterable[str]) -> Kind | None:
    """Return the kind that most of a column's texts look like: a number that identifies, or an electronic address."""
    looked = [text.strip() for text, _ in zip(texts, range(_MOST_LOOKED_AT), strict=False) if text.strip()]
    for name, looks in _LOOKS:
        if looked and sum(looks(text) for text in looked) >= _ENOUGH * len(looked):
            return _BY_NAME[name]
    return None


def _resident_id(text: str) -> bool:
    """A Chinese resident identity number: GB 11643, with its check character (ISO 7064 MOD 11-2)."""
    if not re.fullmatch(r"[1-9]\d{5}(18|19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])\d{3}[\dXx]", text):
        return False
    total = sum((10 if sign in "Xx" else int(sign)) * pow(2, 17 - place, 11) for place, sign in enumerate(text))
    return total % 11 == 1


def _social_security(text: str) -> bool:
    return re.fullmatch(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}", text) is not None


def _payment_card(text: str) -> bool:
    """A payment card's number: 13 to 19 digits with the check digit of ISO/IEC 7812 (Luhn)."""
    digits = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"[2-6]\d{12,18}", digits):
        return False
    doubled = (int(sign) * (1 + place % 2) for place, sign in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _iban(text: str) -> bool:
    """An IBAN (ISO 13616) with its check digits (ISO 7064 MOD 97-10)."""
    plain = text.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", plain):
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _phone(text: str) -> bool:
    plain = re.sub(r"[ ()/.-]", "", text)
    return re.fullmatch(r"(\+86)?1[3-9]\d{9}|\+\d{8,15}|\(?\d{3}\)?-\d{3}-\d{4}", plain) is not None or (
        re.fullmatch(r"\(?\d{3}\)?[ -]\d{3}-\d{4}", text) is not None
    )


def _electronic(text: str) -> bool:
    mail = re.fullmatch(r"[^@\s]{1,64}@[^@\s]+\.[^@\s.]{2,}", text)
    return mail is not None or re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", text) is not None


_LOOKS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("identity number", _resident_id),
    ("identity number", _social_security),
    ("account or card number", _payment_card),
    ("account or card number", _iban),
    ("phone number", _phone),
    ("electronic address", _electronic),
)
