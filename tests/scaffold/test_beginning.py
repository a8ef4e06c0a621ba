"""A file in another encoding, or without a header, is refused in a line that says what to do: nobody can guess it."""

import random
from pathlib import Path

import pytest

from polyglossa.errors import DataError
from polyglossa.scaffold.look import look

WORDS = {
    "cp1252": ("Größe", "Überweisung", "für", "Gebühr", "möglich", "Straße", "wählen", "Konto", "später", "können"),
    "cp1251": ("перевод", "счёт", "карта", "банк", "почему", "деньги", "комиссия", "сколько", "заявка", "можно"),
    "gb18030": (
        "为什么我的银行卡不能使用",
        "如何申请新的信用卡",
        "转账需要多长时间",
        "手续费是多少",
        "我忘记了密码怎么办",
    ),
    "shift_jis": (
        "カードが使えないのはなぜですか",
        "送金の手数料はいくらですか",
        "口座を開設したいのですが",
        "暗証番号を忘れました",
    ),
}


def sentences(encoding: str, count: int, words: int = 6) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS[encoding], k=words)) for _ in range(count)]


@pytest.mark.parametrize("encoding", WORDS)
def test_an_encoding_that_is_not_unicodes_is_named_with_what_it_reads(tmp_path: Path, encoding: str) -> None:
    asked, answered = sentences(encoding, 120), sentences(encoding, 120, 12)
    rows = [f"{one},{other}" for one, other in zip(asked, answered, strict=True)]
    path = tmp_path / "faq.csv"
    path.write_text("\n".join(["question,answer", *rows]), encoding=encoding)
    with pytest.raises(DataError, match=r"120 of its first 121 lines are no UTF-8.*iconv -f \S+ -t UTF-8") as error:
        look([path])
    assert WORDS[encoding][0][:3] in str(error.value) or rows[0][:20] in str(error.value)


def test_a_few_broken_lines_are_rows_to_refuse_and_not_an_encoding(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_bytes(b"question,answer\n" + "wie groß ist es,sehr groß\n".encode() * 300 + b"gr\xf6\xdfe,ja\n")
    assert look([path])[0].rows in (300, 301)


@pytest.mark.parametrize(
    "rows",
    [
        [f"How long does transfer {i} take?\tIt takes {i} days until the money is there." for i in range(50)],
        [f"Why was I charged twice, case {i}?\tfees" for i in range(30)] + ["Where is my card?\tcards"] * 20,
        ["转账需要多长时间,为什么这么慢?\t一般需要两到三个工作日,节假日会更慢。"] * 20,
    ],
    ids=["pairs", "labels", "han"],
)
def test_a_table_without_a_header_is_refused(tmp_path: Path, rows: list[str]) -> None:
    path = tmp_path / "faq.tsv"
    path.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"its first line .* is a row like the others.*Put a line of 2 names above it"):
        look([path])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Timestamp\tHow satisfied are you with our product?", "2026-01-0{}\tquite satisfied, thank you {}"),
        ("customer_question_text\tanswer_given_by_support", "why {}?\tbecause of {}"),
        ("question\tanswer", "why {}?\tbecause of {}"),
        ("text\tlabel", "why {}?\tlabel"),
    ],
)
def test_long_names_are_names(tmp_path: Path, header: str, row: str) -> None:
    path = tmp_path / "form.tsv"
    path.write_text("\n".join([header, *(row.format(i, i) for i in range(30))]))
    assert list(look([path])[0].columns) == header.split("\t")
