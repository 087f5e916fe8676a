"""Bytes of an export -> raw records, or one clear error about the file as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.mapping import FileMapping, mapping_for, personal_paths
from b2b_pipeline.files.reading import NOT_AN_ADDRESS, read_records

LEADS = """
match: "leads*.csv"
tables: {lead: {columns: {email: E-mail, created_at: {from: Created, date: "%Y-%m-%d"}, company: Company}}}
"""
HEADER = "Created,E-mail,Company\n"


def mapping(**read: Any) -> FileMapping:
    return FileMapping.model_validate(yaml.safe_load(LEADS) | {"read": read})


def refused(content: bytes, **read: Any) -> str:
    with pytest.raises(ContractError) as error:
        read_records(content, mapping(**read))
    return str(error.value)


def test_cells_stay_text_as_received_and_each_row_knows_its_line() -> None:
    records = read_records(
        b'Created,E-mail,Company\n\n2026-01-05, ida@holm.example ,"Two\nlines"\n2026-01-06,,x\n', mapping()
    )
    assert records == [
        {"Created": "2026-01-05", "E-mail": " ida@holm.example ", "Company": "Two\nlines", "_row": "3"},
        {"Created": "2026-01-06", "E-mail": None, "Company": "x", "_row": "5"},
    ]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("cp1252", "cp1252"),
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "cp1252"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_are_seen_or_declared(encoding: str, declared: str | None, delimiter: str) -> None:
    text = (
        delimiter.join(["Created", "E-mail", "Company"])
        + "\r\n"
        + delimiter.join(["2026-01-05", "a@b.example", "Müller"])
    )
    [record] = read_records(text.encode(encoding), mapping(encoding=declared))
    assert record["Company"] == "Müller"


@pytest.mark.parametrize("header_row", [None, 4])
def test_a_header_below_a_title_is_found_by_its_names(header_row: int | None) -> None:
    content = b"All leads,,\nexported by Anna,,\n\n" + HEADER.encode() + b"2026-01-05,,Acme\n"
    assert read_records(content, mapping(header_row=header_row))[0]["Company"] == "Acme"


@pytest.mark.parametrize(
    ("content", "read", "says"),
    [
        (b"", {}, "the file is empty"),
        (b"\xef\xbb\xbf \r\n", {}, "the file is empty"),
        (HEADER.encode(), {}, "a header (line 1) and no rows"),
        (
            b"Created,Email,Company\n1,2,3\n",
            {},
            "column 'E-mail' is missing (did you mean 'Email'?). The file has 'Created', 'Email'",
        ),
        (b"a,b\n1,2\n", {}, "no header in the first 50 rows: expected the columns 'E-mail', 'Created', 'Company'"),
        (HEADER.encode() + b"1,2,3\n", {"header_row": 2}, "no header in line 2"),
        (b"Created,E-mail,Company,Company\n1,2,3,4\n", {}, "column names appear twice: Company"),
        ((HEADER + "2026-01-05,,Müller\n").encode("cp1252"), {}, "line 2: byte 0xfc is not utf-8"),
        ((HEADER + "2026-01-05,,Müller\n").encode(), {"encoding": "cp1252"}, "the file is UTF-8, not cp1252"),
        (HEADER.encode() + b'2026-01-05,,"Acme\n2026-01-06,,Cut', {}, "line 2: the row cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_says_why(content: bytes, read: dict[str, Any], says: str) -> None:
    assert says in refused(content, **read)


def test_a_row_with_the_wrong_number_of_cells_is_marked_and_trailing_empty_ones_are_not() -> None:
    good, short, long = read_records(HEADER.encode() + b"2026-01-05,,Acme,,\n2026-01-06\n1,2,3,4\n", mapping())
    assert "_problem" not in good
    assert short["_problem"] == "the row has 1 cells, the header 3"
    assert long["_problem"] == "the row has 4 cells, the header 3"


def test_nulls_and_nonsense_in_an_e_mail_column_are_nobodys_identity() -> None:
    content = HEADER.encode() + b"d,N/A,x\nd,h1:Ida Holm,x\nd,unknown,x\nd,Ida@Holm.example,x\n"
    assert [record["E-mail"] for record in read_records(content, mapping())] == [
        None,
        NOT_AN_ADDRESS,
        NOT_AN_ADDRESS,
        "Ida@Holm.example",
    ]


def test_column_names_can_neither_hide_personal_data_nor_pose_as_ours() -> None:
    dotted = FileMapping.model_validate(
        {
            "match": "x",
            "personal": ["Full.Name"],
            "tables": {"lead": {"columns": {"email": "E.Mail", "created_at": {"from": "Day", "date": "%Y"}}}},
        }
    )
    [record] = read_records(b"E.Mail,Full.Name,Day,_excluded_by,_row\na@b.example,Ida,2026,x,9\n", dotted)
    assert record == {
        "E_Mail": "a@b.example",
        "Full_Name": "Ida",
        "Day": "2026",
        "excluded_by": "x",
        "row": "9",
        "_row": "2",
    }
    assert personal_paths(dotted) == ("E_Mail", "Full_Name")


def test_hostile_content_is_text() -> None:
    hostile = [
        '=HYPERLINK("http://x.example")',
        "<script>alert(1)</script>",
        "Robert'); drop table lead;--",
        "a\0b",
        "x" * 1_000_000,
    ]
    lines = "".join('2026-01-05,,"' + cell.replace('"', '""') + '"\n' for cell in hostile)
    assert [record["Company"] for record in read_records((HEADER + lines).encode(), mapping())] == hostile


def test_a_file_that_two_mappings_claim_is_refused() -> None:
    files = {"a": mapping(), "b": mapping()}
    assert mapping_for("costs.csv", files) is None
    assert mapping_for("LEADS_2026.CSV", {"a": mapping()}) == "a"
    with pytest.raises(ContractError, match=r"leads\.csv matches several mappings: a, b"):
        mapping_for("leads.csv", files)
