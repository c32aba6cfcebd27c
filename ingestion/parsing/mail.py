"""Mail: subject, who and when, the body; attachments are named, not read."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder, clean_line
from ingestion.parsing.encodings import decode
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.plain import add_plain
from ingestion.parsing.web import add_html

_SHOWN = ("From", "To", "Cc", "Date")
_SEALED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")


def parse_mail(data: bytes) -> ParsedDocument:
    """Return a mail's subject, who, when and body; raise `ParseFailed`: `encrypted`, `corrupt` or `no_text`."""
    message = _message(data)
    if message.get_content_type() in _SEALED:
        raise ParseFailed(Reason.ENCRYPTED, "the mail's body is encrypted")
    builder = TextBuilder()
    subject = _header(message, "Subject")
    builder.add(ElementKind.TITLE, subject)
    builder.add(
        ElementKind.PARAGRAPH,
        "\n".join(f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))),
    )
    before = builder.blocks
    _add_body(builder, message)
    for name in _attachments(message):
        builder.notes.append(f"attachment not ingested: {name}")
    if builder.blocks == before and not subject:
        raise ParseFailed(Reason.NO_TEXT, "the mail has neither a subject nor a readable body")
    return builder.build(title=subject or None, language=detect_language(builder.sample))


def _message(data: bytes) -> EmailMessage:
    if data.startswith(_WIDE_MARKS) or b"\x00" in data[:1000]:
        data = (decode(data) or "").lstrip("\ufeff").encode("utf-8", errors="replace")
    return message_from_bytes(data.lstrip(), policy=policy.default)


def _header(message: EmailMessage, name: str) -> str:
    """Return a header as text; a broken one as it stands."""
    try:
        value = message.get(name)
    except (ValueError, TypeError, IndexError, AttributeError, LookupError):
        value = next((raw for key, raw in message.raw_items() if key.lower() == name.lower()), "")
    return clean_line(str(value or ""))


def _add_body(builder: TextBuilder, message: EmailMessage) -> None:
    """Add the readable parts: of alternatives the plain one, unless it is empty."""
    for part in _bodies(message):
        text = _content(part)
        if part.get_content_type() == "text/html":
            add_html(builder, text) if text.strip() else None
        else:
            add_plain(builder, text)


def _bodies(message: EmailMessage) -> list[EmailMessage]:
    kind = message.get_content_type()
    if kind == "multipart/alternative":
        choices = [bodies for part in _parts(message) if (bodies := _bodies(part))]
        plain = [bodies for bodies in choices if all(body.get_content_type() != "text/html" for body in bodies)]
        return (plain or choices or [[]])[0]
    if message.is_multipart():
        return [body for part in _parts(message) for body in _bodies(part)]
    if _is_attachment(message) or not kind.startswith("text/") or kind == "text/calendar":
        return []
    return [message] if _content(message).strip() else []


def _parts(message: EmailMessage) -> list[EmailMessage]:
    payload = message.get_payload()
    return [cast("EmailMessage", part) for part in payload] if isinstance(payload, list) else []


def _is_attachment(part: EmailMessage) -> bool:
    try:
        return part.get_content_disposition() == "attachment"
    except (ValueError, TypeError, IndexError, AttributeError):
        return False


def _content(part: EmailMessage) -> str:
    """Return the decoded text of a part, whatever its declared character set is worth."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return str(part.get_payload())
    charset = part.get_content_charset()
    if charset is not None:
        try:
            return payload.decode(charset)
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(payload) or payload.decode("latin-1")


def _attachments(message: EmailMessage) -> list[str]:
    """Return the names of what is attached or shown inline but is no text of the mail itself."""
    names = []
    for part in message.walk():
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            continue
        if _is_attachment(part) or not part.get_content_type().startswith(("text/", "multipart/")):
            names.append(clean_line(str(part.get_filename() or part.get_content_type())))
    return names
