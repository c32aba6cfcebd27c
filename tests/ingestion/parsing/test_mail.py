from email.message import EmailMessage

import pytest

from core.domain import ElementKind, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.mail import parse_mail


def _mail() -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = "Größe der Räume"
    mail["From"] = "Ann Example <ann@example.org>"
    mail["To"] = "bob@example.org"
    mail["Date"] = "Fri, 16 Dec 2022 17:04:16 -0500"
    mail.set_content("Dear Bob,\n\nthe rooms are 20 m² each.\n")
    return mail


def test_subject_correspondents_date_and_body_are_the_text() -> None:
    parsed = parse_mail(bytes(_mail()))
    assert parsed.title == "Größe der Räume"
    assert parsed.elements[0].kind is ElementKind.TITLE
    for wanted in ("From: Ann Example <ann@example.org>", "To: bob@example.org", "Dear Bob,", "20 m²", "16 Dec 2022"):
        assert wanted in parsed.text
    assert faults(parsed) == []


def test_of_alternatives_the_plain_one_is_read_and_html_when_alone() -> None:
    mail = _mail()
    mail.add_alternative("<p>Dear <b>Bob</b>, in HTML</p>", subtype="html")
    assert "in HTML" not in parse_mail(bytes(mail)).text
    alone = EmailMessage()
    alone["Subject"] = "x"
    alone.set_content("<h1>Rooms</h1><p>They are large enough.</p>", subtype="html")
    assert "They are large enough." in parse_mail(bytes(alone)).text


def test_attachments_are_named_not_read() -> None:
    mail = _mail()
    mail.add_attachment(b"secret numbers", maintype="application", subtype="pdf", filename="plan.pdf")
    parsed = parse_mail(bytes(mail))
    assert parsed.notes == ("attachment not ingested: plan.pdf",)
    assert "secret numbers" not in parsed.text


def test_a_wide_encoded_file_is_read() -> None:
    assert "20 m²" in parse_mail(bytes(_mail()).decode("utf-8").encode("utf-16")).text


def test_a_wrong_character_set_does_not_lose_the_body() -> None:
    data = (
        b"Subject: x\nContent-Type: text/plain; charset=klingon\nContent-Transfer-Encoding: 8bit\n\n"
        + "Gruß".encode("cp1252")
    )
    assert "Gru" in parse_mail(data).text


def test_encrypted_and_hollow_mails_have_a_reason() -> None:
    sealed = b"From: a@b.example\nContent-Type: multipart/encrypted; boundary=x\n\n--x\n\nsecret\n--x--\n"
    hollow = b"From: a@b.example\n\n"
    for data, reason in ((sealed, Reason.ENCRYPTED), (hollow, Reason.NO_TEXT)):
        with pytest.raises(ParseFailed) as caught:
            parse_mail(data)
        assert caught.value.reason is reason
