"""Plain text as a PDF: A4 pages, Courier, headings in bold. Enough for a report, and no dependency.

The fonts are of those that every reader has; they hold the characters of Windows-1252. Others are shown as `?`, and
counted, so that the caller can say so.
"""

from __future__ import annotations

import textwrap
import zlib
from datetime import UTC, datetime
from typing import Final

WIDTH, HEIGHT, MARGIN = 595, 842, 56  # points: A4 with 2 cm
SIZE, LEADING = 10, 13
HEADING: Final = 14
COLUMNS: Final = int((WIDTH - 2 * MARGIN) / (SIZE * 0.6))  # each character of Courier is 0.6 of its size wide
LINES: Final = (HEIGHT - 2 * MARGIN) // LEADING


def render(text: str, title: str = "") -> tuple[bytes, int]:
    """Return the file, and the number of characters that could not be shown."""
    lines, replaced = [], 0
    for line in ([f"# {title}", ""] if title else []) + text.expandtabs(4).splitlines():
        heading = line.startswith("#")
        shown = line.lstrip("#").strip() if heading else line
        raw = shown.encode("cp1252", "replace")
        replaced += sum(1 for char in shown if char != "?" and char.encode("cp1252", "replace") == b"?")
        columns = int(COLUMNS * SIZE / HEADING) if heading else COLUMNS
        wrapped = textwrap.wrap(raw.decode("cp1252"), columns, drop_whitespace=False, replace_whitespace=False)
        lines += [(piece, heading) for piece in wrapped or [""]]
    pages = [lines[at : at + LINES] for at in range(0, len(lines), LINES)] or [[]]
    return _file([_content(page, n + 1, len(pages)) for n, page in enumerate(pages)], title), replaced


def _content(lines: list[tuple[str, bool]], number: int, total: int) -> bytes:
    out = [b"BT", f"{LEADING} TL {MARGIN} {HEIGHT - MARGIN} Td".encode()]
    for text, heading in lines:
        font = f"/F2 {HEADING} Tf" if heading else f"/F1 {SIZE} Tf"
        out.append(font.encode() + b" " + _string(text) + b" Tj T*")
    out += [b"ET", b"BT", f"/F1 8 Tf {WIDTH / 2 - 15} {MARGIN / 2} Td".encode()]
    out += [_string(f"{number} / {total}") + b" Tj", b"ET"]
    return b"\n".join(out)


def _string(text: str) -> bytes:
    raw = text.encode("cp1252", "replace")
    return b"(" + raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)").replace(b"\r", b"\\r") + b")"


def _file(contents: list[bytes], title: str) -> bytes:
    """Return the file.

    Objects 1 to 5 are catalog, page tree, two fonts and information. Then come two objects for each page: the page
    itself, and its content.
    """
    first = 6
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(contents)))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    created = datetime.now(UTC).strftime("(D:%Y%m%d%H%M%SZ)")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        font.format("Courier").encode(),
        font.format("Courier-Bold").encode(),
        b"<< /Title " + _string(title) + f" /Producer (kubiya-worker) /CreationDate {created} >>".encode(),
    ]
    for n, content in enumerate(contents):
        packed = zlib.compress(content)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {first + 2 * n + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>".encode()
        )
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(head + packed + b"\nendstream")
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)
