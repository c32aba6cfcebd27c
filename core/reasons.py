"""What each reason of failure means to the person who uploaded the file, and what they can do."""

from collections.abc import Mapping
from types import MappingProxyType

from core.domain import Reason

ADVICE: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.UNSUPPORTED: "This kind of file cannot be read yet. Save it as PDF, DOCX, PPTX, XLSX, CSV, HTML, "
        "Markdown, plain text or EML and upload that.",
        Reason.ENCRYPTED: "The file is protected by a password. Save a copy without the password and upload that.",
        Reason.EMPTY: "The file has no content. Check that the right file was saved, and upload it again.",
        Reason.CORRUPT: "The file is damaged or not what its name says. Open it in its own program, save it anew and "
        "upload that copy.",
        Reason.TOO_LARGE: "The file is larger than this server accepts. Split it, or ask the operator to raise the "
        "limit.",
        Reason.NO_TEXT: "No text was found, as in a scan or a picture. Run text recognition (OCR) over it and upload "
        "the result.",
        Reason.PARSER_TIMEOUT: "Reading the file took longer than allowed. Split it into smaller files, or ask the "
        "operator to raise the time limit.",
        Reason.PARSER_OOM: "Reading the file needed more memory than allowed. Split it into smaller files, or ask the "
        "operator to raise the memory limit.",
        Reason.PARSER_CRASHED: "The program that reads this kind of file stopped working on it. Save it anew, or in "
        "another format, and upload that copy.",
        Reason.OUTPUT_TOO_LARGE: "The file unfolds into more text than allowed. Split it into smaller files and upload "
        "those.",
        Reason.NOT_A_FILE: "This is not a regular file (but, say, a device or a pipe). Upload the file that holds the "
        "content.",
        Reason.SYMLINK: "This is a symbolic link, and links are not followed. Upload the file that it points to.",
        Reason.DUPLICATE_NAME: "The file was left out: an earlier one of the same command has its name in this source. "
        "Rename this one, or upload it under another source.",
        Reason.UNREADABLE: "The file could not be opened for reading. Check its permissions and upload it again.",
        Reason.EMBEDDER_FAILED: "The embedding model failed on this document. Retry it; if it fails again, tell the "
        "operator.",
        Reason.INDEX_FAILED: "The search index did not take this document. Retry it; if it fails again, tell the "
        "operator.",
        Reason.INTERNAL: "Something went wrong on the server's side, not with your file. Retry it; if it fails again, "
        "tell the operator.",
    }
)


def explain(reason: Reason, detail: str | None = None) -> str:
    """Return the sentence for the uploader, followed in brackets by what was seen of this very file."""
    return f"{ADVICE[reason]} ({detail})" if detail else ADVICE[reason]
